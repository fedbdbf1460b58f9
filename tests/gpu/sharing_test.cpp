// Memory of one process used by another. Both are forked from the test, which itself never starts CUDA.
#include "transports/cuda_ipc/sharing.h"

#include <fcntl.h>

#include <cstdio>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/gpu/support/allocations.h"
#include "tests/gpu/support/copies.h"
#include "tests/gpu/support/passing.h"
#include "tests/process/support/forked.h"

using namespace tutti;
using namespace tutti::cuda;

namespace {

/// Asked in a process of its own. Prints the line that ctest reads.
bool skipped_by_processes() {
  static const std::string missing = [] {
    Shared<char> why(1024);
    Forked probe;
    probe.start([&] {
      const DeviceList list = list_devices();
      if (list.devices.empty()) std::snprintf(why.data(), 1024, "no CUDA device: %s", list.why_none.c_str());
    });
    probe.expect_all_good();
    return std::string(why.data());
  }();
  if (!missing.empty()) std::printf("SKIPPED: %s\n", missing.c_str());
  return !missing.empty();
}

/// Runs the owner of some memory and its user.
void run(const std::function<void(Passing&, const DevicePtr&)>& owner,
         const std::function<void(Passing&, const DevicePtr&)>& user) {
  Passing passing;
  Forked processes;
  processes.start([&] {
    passing.keep(0);
    owner(passing, Device::open(0));
  });
  processes.start([&] {
    passing.keep(1);
    user(passing, Device::open(0));
  });
  passing.keep_none();
  processes.expect_all_good();
}

void send_memory(Passing& passing, const Device& device, CUdeviceptr at, size_t bytes) {
  const Exported exported = export_memory(device, at, bytes);
  passing.send(0, exported.bytes, exported.descriptors);
}

Imported receive_memory(Passing& passing, const DevicePtr& device) {
  const Passing::Received received = passing.receive(1);
  return {device, received.bytes, received.descriptors, "rank 0"};
}

void expect_bytes(const Device& device, CUdeviceptr at, const std::vector<uint8_t>& wanted,
                  const char* what) {
  expect(download(device, at, wanted.size()) == wanted, "{}: other bytes than expected", what);
}

/// Importing must fail, with a text that names all parts.
void expect_refused(const DevicePtr& device, const std::string& bytes,
                    const std::vector<Descriptor>& descriptors, std::initializer_list<const char*> parts) {
  try {
    const Imported imported(device, bytes, descriptors, "rank 0");
  } catch (const Error& error) {
    expect(error.code() == Result::system_error, "'{}' has the code '{}'", error.what(),
           name_of(error.code()));
    for (const char* part : parts) {
      expect(std::string(error.what()).find(part) != std::string::npos, "'{}' does not name '{}'",
             error.what(), part);
    }
    return;
  }
  expect(false, "memory was imported that should have been refused: {}", *parts.begin());
}

/// The user reads what the owner has written, and the owner what the user has.
void check_both_ways(size_t offset, size_t bytes, size_t whole, bool virtual_memory) {
  run(
      [=](Passing& passing, const DevicePtr& device) {
        std::optional<Allocation> allocated;
        std::optional<DeviceMemory> own;
        if (virtual_memory) {
          own.emplace(device, whole);
        } else {
          allocated.emplace(device, whole);
        }
        const CUdeviceptr base = virtual_memory ? own->address() : allocated->address();
        upload(*device, base, pattern(whole, 1));
        send_memory(passing, *device, base + offset, bytes);
        passing.expect_word(0, "written");
        std::vector<uint8_t> wanted = pattern(whole, 1);
        const std::vector<uint8_t> theirs = pattern(bytes, 2);
        std::copy(theirs.begin(), theirs.end(), wanted.begin() + static_cast<ptrdiff_t>(offset));
        expect_bytes(*device, base, wanted, "what the user has written");
        passing.send(0, "seen");
        passing.expect_word(0, "dropped");
      },
      [=](Passing& passing, const DevicePtr& device) {
        Imported memory = receive_memory(passing, device);
        expect(memory.size() == bytes, "{} bytes, expected {}", memory.size(), bytes);
        const std::vector<uint8_t> all = pattern(whole, 1);
        const auto first = all.begin() + static_cast<ptrdiff_t>(offset);
        expect_bytes(*device, memory.address(), {first, first + static_cast<ptrdiff_t>(bytes)},
                     "what the owner has written");
        upload(*device, memory.address(), pattern(bytes, 2));
        passing.send(1, "written");
        passing.expect_word(1, "seen");
        memory.reset();
        passing.send(1, "dropped");
      });
}

}  // namespace

TEST_CASE("an allocation is used by another process, from any offset") {
  if (skipped_by_processes()) return;
  check_both_ways(0, 100'000, 100'000, false);
  check_both_ways(777, 1234, 100'000, false);
  check_both_ways(99'999, 1, 100'000, false);
  check_both_ways(5, 3'000'000, 5'000'000, false);
}

TEST_CASE("Tutti's own memory is used by another process, from any offset") {
  if (skipped_by_processes()) return;
  check_both_ways(0, 100'000, 100'000, true);
  check_both_ways(777, 1234, 100'000, true);
  check_both_ways(5, 3'000'000, 5'000'000, true);
}

TEST_CASE("an expandable segment is used by another process, and outlives its owner") {
  if (skipped_by_processes()) return;
  run(
      [](Passing& passing, const DevicePtr& device) {
        if (!device->facts().virtual_memory || !device->facts().posix_handles) {
          passing.send(0, "not here");
          return;
        }
        passing.send(0, "here");
        std::optional<Segments> segments(std::in_place, device, 4);
        const size_t bytes = 2 * segments->chunk_bytes() + 10;
        const CUdeviceptr at = segments->address() + segments->chunk_bytes() - 5;
        upload(*device, at, pattern(bytes, 3));
        send_memory(passing, *device, at, bytes);
        passing.expect_word(0, "mapped");
        segments.reset();
        passing.send(0, "gone");
      },
      [](Passing& passing, const DevicePtr& device) {
        if (passing.receive(1).bytes == "not here") return;
        const Imported memory = receive_memory(passing, device);
        passing.send(1, "mapped");
        passing.expect_word(1, "gone");
        expect_bytes(*device, memory.address(), pattern(memory.size(), 3),
                     "memory whose owner has dropped it");
      });
}

TEST_CASE("an allocation that is imported several times is open once") {
  if (skipped_by_processes()) return;
  constexpr size_t kBytes = 100'000;
  run(
      [](Passing& passing, const DevicePtr& device) {
        const Allocation memory(device, kBytes);
        const Allocation other(device, kBytes);
        upload(*device, memory.address(), pattern(kBytes, 4));
        upload(*device, other.address(), pattern(kBytes, 5));
        send_memory(passing, *device, memory.address(), kBytes);
        send_memory(passing, *device, memory.address() + 512, 1000);
        send_memory(passing, *device, other.address(), kBytes);
        passing.expect_word(0, "done");
      },
      [](Passing& passing, const DevicePtr& device) {
        const Passing::Received received = passing.receive(1);
        const auto open = [&] { return Imported(device, received.bytes, received.descriptors, "rank 0"); };
        Imported first = open();
        Imported second = open();
        const Imported part = receive_memory(passing, device);
        const Imported other = receive_memory(passing, device);
        expect(first.address() == second.address(), "the same memory is at two addresses");
        expect(part.address() == first.address() + 512, "a part of it is elsewhere");
        expect(other.address() != first.address(), "other memory is at the same address");
        first.reset();
        second.reset();
        const std::vector<uint8_t> data = pattern(kBytes, 4);
        expect_bytes(*device, part.address(), {data.begin() + 512, data.begin() + 1512},
                     "the part that is left");
        expect_bytes(*device, other.address(), pattern(kBytes, 5), "other memory");
        // Closed by all and opened again.
        const Imported again = open();
        expect_bytes(*device, again.address(), data, "memory opened again");
        passing.send(1, "done");
      });
}

TEST_CASE("memory freed and allocated again at its address is imported anew") {
  if (skipped_by_processes()) return;
  constexpr size_t kBytes = 100'000;
  constexpr uint32_t kRounds = 4;
  run(
      [](Passing& passing, const DevicePtr& device) {
        for (uint32_t round = 0; round < kRounds; ++round) {
          const Allocation memory(device, kBytes);
          upload(*device, memory.address(), pattern(kBytes, 10 + round));
          send_memory(passing, *device, memory.address(), kBytes);
          passing.expect_word(0, "dropped");
        }
      },
      [](Passing& passing, const DevicePtr& device) {
        for (uint32_t round = 0; round < kRounds; ++round) {
          {
            const Imported memory = receive_memory(passing, device);
            expect_bytes(*device, memory.address(), pattern(kBytes, 10 + round), "the memory of this round");
          }
          passing.send(1, "dropped");
        }
      });
}

TEST_CASE("damaged and forged memory is refused, and harms nothing") {
  if (skipped_by_processes()) return;
  constexpr size_t kBytes = 100'000;
  run(
      [](Passing& passing, const DevicePtr& device) {
        const Allocation memory(device, kBytes);
        upload(*device, memory.address(), pattern(kBytes, 6));
        send_memory(passing, *device, memory.address(), kBytes);
        passing.expect_word(0, "done");
      },
      [](Passing& passing, const DevicePtr& device) {
        const Passing::Received received = passing.receive(1);
        const SharedRange good = unpack(received.bytes, 0, "rank 0");
        std::string damaged = received.bytes;
        damaged[50] = static_cast<char>(damaged[50] + 1);
        expect_refused(device, damaged, {}, {"what rank 0 has sent as its memory is not usable"});
        expect_refused(device, "", {}, {"0 bytes; expected"});

        SharedRange forged = good;
        forged.pieces[0].handle.fill(0x5a);
        expect_refused(device, pack(forged), {}, {"memory of rank 0 cannot be mapped", "cuIpcOpenMemHandle"});
        forged.pieces[0].kind = HandleKind::fabric;
        expect_refused(device, pack(forged), {}, {"rank 0"});

        // A descriptor of something else, and none at all.
        forged.pieces[0] = {.size = size_t{2} << 20, .id = 1, .kind = HandleKind::posix, .handle = {}};
        forged.offset = 0;
        std::vector<Descriptor> descriptors;
        descriptors.emplace_back(open("/dev/null", O_RDWR | O_CLOEXEC));
        expect_refused(device, pack(forged), descriptors, {"rank 0", "cuMemImportFromShareableHandle"});
        descriptors[0].reset();
        expect_refused(device, pack(forged), descriptors, {"rank 0", "cuMemImportFromShareableHandle"});

        const Imported memory(device, received.bytes, received.descriptors, "rank 0");
        expect_bytes(*device, memory.address(), pattern(kBytes, 6), "the undamaged memory");
        passing.send(1, "done");
      });
}

TEST_CASE("a size that is larger than the memory is refused") {
  if (skipped_by_processes()) return;
  run(
      [](Passing& passing, const DevicePtr& device) {
        const Allocation memory(device, 1000);
        const DeviceMemory own(device, 1000);
        send_memory(passing, *device, memory.address(), 1000);
        send_memory(passing, *device, own.address(), 1000);
        passing.expect_word(0, "done");
      },
      [](Passing& passing, const DevicePtr& device) {
        for (int i = 0; i < 2; ++i) {
          const Passing::Received received = passing.receive(1);
          SharedRange forged = unpack(received.bytes, received.descriptors.size(), "rank 0");
          forged.pieces[0].size = size_t{1} << 30;
          forged.bytes = size_t{1} << 30;
          expect_refused(device, pack(forged), received.descriptors, {"rank 0"});
        }
        passing.send(1, "done");
      });
}
