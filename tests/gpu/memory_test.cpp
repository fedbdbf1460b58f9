// What a pointer is, memory that Tutti makes, and which memory an address stands for; all in one process.
#include "transports/cuda_ipc/memory.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/gpu/support/allocations.h"
#include "tests/gpu/support/copies.h"
#include "tests/gpu/support/driver.h"
#include "transports/cuda_ipc/sharing.h"

using namespace tutti;
using namespace tutti::cuda;

namespace {

const void* as_pointer(CUdeviceptr address) {
  return reinterpret_cast<const void*>(address);
}

PointerInfo inspect_at(CUdeviceptr address) {
  return inspect(*Device::open(0), as_pointer(address));
}

void check_host(const void* pointer) {
  const PointerInfo info = inspect(*Device::open(0), pointer);
  CHECK(info.result == CUDA_SUCCESS);
  CHECK(info.kind == MemoryKind::host);
  CHECK(info.device == -1);
  CHECK(info.base == 0);
  CHECK(info.size == 0);
  CHECK(info.buffer_id == 0);
}

/// What the call throws must be of this kind and name this.
void check_refused(const std::function<void()>& call, Result code, const std::string& part) {
  CAPTURE(part);
  try {
    call();
    FAIL_CHECK("no error");
  } catch (const Error& error) {
    CHECK(name_of(error.code()) == name_of(code));
    INFO(error.what());
    CHECK(std::string(error.what()).find(part) != std::string::npos);
  }
}

size_t free_bytes(const Device& device) {
  const ContextGuard context(device);
  size_t free = 0, all = 0;
  device.driver().check(device.driver().cuMemGetInfo(&free, &all), "cuMemGetInfo");
  return free;
}

CUcontext current_context() {
  CUcontext context = nullptr;
  REQUIRE(Driver::get().cuCtxGetCurrent(&context) == CUDA_SUCCESS);
  return context;
}

constexpr size_t kBytes = 100'000;

}  // namespace

TEST_CASE("pageable memory is host memory") {
  if (skipped()) return;
  const DevicePtr device = Device::open(0);
  const std::vector<uint8_t> heap(kBytes);
  const int on_stack = 0;
  check_host(heap.data());
  check_host(heap.data() + kBytes - 1);
  check_host(&on_stack);
  check_host(&kBytes);
  check_host(nullptr);
}

TEST_CASE("memory of a device is known with its allocation, from any address in it") {
  if (skipped()) return;
  const DevicePtr device = Device::open(0);
  const Allocation memory(device, kBytes);
  for (const size_t offset : {size_t{0}, size_t{1}, kBytes / 2, kBytes - 1}) {
    const PointerInfo info = inspect_at(memory.address() + offset);
    CHECK(info.result == CUDA_SUCCESS);
    CHECK(info.kind == MemoryKind::device);
    CHECK(info.device == 0);
    CHECK(info.base == memory.address());
    CHECK(info.size >= kBytes);
    CHECK(info.buffer_id != 0);
    CHECK(info.buffer_id == inspect_at(memory.address()).buffer_id);
  }
}

TEST_CASE("memory is known to belong to its device") {
  if (skipped()) return;
  for (const DeviceFacts& facts : list_devices().devices) {
    const DevicePtr device = Device::open(facts.ordinal);
    const DeviceMemory own(device, kBytes);
    const Allocation other(device, kBytes);
    CHECK(inspect_at(own.address()).device == facts.ordinal);
    CHECK(inspect_at(other.address()).device == facts.ordinal);
  }
}

TEST_CASE("asking what a pointer is needs no context") {
  if (skipped()) return;
  const DevicePtr device = Device::open(0);
  const Allocation memory(device, kBytes);
  REQUIRE(current_context() == nullptr);
  CHECK(inspect_at(memory.address()).kind == MemoryKind::device);
  CHECK(current_context() == nullptr);
}

TEST_CASE("pinned memory is zero, and devices reach it") {
  if (skipped()) return;
  const DevicePtr device = Device::open(0);
  const PinnedMemory memory(device, kBytes);
  CHECK(memory.size() == kBytes);
  auto* const bytes = memory.as<uint8_t>();
  CHECK(std::all_of(bytes, bytes + kBytes, [](uint8_t byte) { return byte == 0; }));
  const PointerInfo info = inspect(*Device::open(0), bytes + 77);
  CHECK(info.kind == MemoryKind::pinned);
  CHECK(info.base == reinterpret_cast<CUdeviceptr>(bytes));
  CHECK(info.size >= kBytes);
  CHECK(device_address(*device, bytes) == memory.device_address());

  const std::vector<uint8_t> data = pattern(kBytes, 1);
  std::copy(data.begin(), data.end(), bytes);
  CHECK(download(*device, memory.device_address(), kBytes) == data);
}

TEST_CASE("registered memory is pinned as long as it is registered") {
  if (skipped()) return;
  const DevicePtr device = Device::open(0);
  alignas(4096) static uint8_t bytes[8192];
  std::optional<HostRegistration> registration(std::in_place, device, bytes, sizeof bytes);
  CHECK(inspect(*Device::open(0), bytes + 5).kind == MemoryKind::pinned);
  bytes[5] = 42;
  CHECK(download(*device, registration->device_address() + 5, 1) == std::vector<uint8_t>{42});
  HostRegistration moved = std::move(*registration);
  registration.reset();
  CHECK(inspect(*Device::open(0), bytes).kind == MemoryKind::pinned);
  check_refused([&] { const HostRegistration twice(device, bytes, sizeof bytes); }, Result::system_error,
                "cuMemHostRegister of 8192 bytes");
  moved.reset();
  check_host(bytes);
}

TEST_CASE("device memory can be used, cleared, and moved") {
  if (skipped()) return;
  const DevicePtr device = Device::open(0);
  DeviceMemory memory(device, kBytes);
  CHECK(memory.size() == kBytes);
  CHECK(memory.device() == device);
  CHECK(memory.as() == as_pointer(memory.address()));
  std::vector<uint8_t> data = pattern(kBytes, 2);
  upload(*device, memory.address(), data);
  CHECK(download(*device, memory.address(), kBytes) == data);

  memory.clear(1000, 500);
  std::fill_n(data.begin() + 1000, 500, uint8_t{0});
  CHECK(download(*device, memory.address(), kBytes) == data);
  check_refused([&] { memory.clear(kBytes - 1, 2); }, Result::internal_error, "were to be cleared");
  check_refused([&] { memory.clear(SIZE_MAX, 2); }, Result::internal_error, "were to be cleared");

  const CUdeviceptr address = memory.address();
  DeviceMemory other = std::move(memory);
  CHECK(other.address() == address);
  CHECK(other.size() == kBytes);
  other.clear();
  CHECK(download(*device, address, kBytes) == std::vector<uint8_t>(kBytes, 0));
  other = DeviceMemory(device, 1);
  CHECK(other.size() == 1);
  other.reset();
  CHECK_FALSE(other);
}

TEST_CASE("memory goes back to the device when its owner ends") {
  if (skipped()) return;
  const DevicePtr device = Device::open(0);
  { const DeviceMemory first(device, size_t{64} << 20); }
  const size_t before = free_bytes(*device);
  for (int i = 0; i < 100; ++i) const DeviceMemory memory(device, size_t{64} << 20);
  CHECK(free_bytes(*device) + (size_t{64} << 20) > before);
}

TEST_CASE("impossible sizes are refused") {
  if (skipped()) return;
  const DevicePtr device = Device::open(0);
  check_refused([&] { const DeviceMemory none(device, 0); }, Result::invalid_argument, "0 bytes");
  check_refused([&] { const PinnedMemory none(device, 0); }, Result::invalid_argument, "0 bytes");
  check_refused([&] { const DeviceMemory wraps(device, SIZE_MAX); }, Result::invalid_argument, "too many");
  const size_t too_much = device->facts().memory_bytes + (size_t{1} << 30);
  check_refused([&] { const DeviceMemory all(device, too_much); }, Result::system_error,
                "CUDA_ERROR_OUT_OF_MEMORY (out of memory)");
  // The device is as usable as before.
  const DeviceMemory memory(device, kBytes);
  memory.clear();
}

TEST_CASE("no call leaves another context behind") {
  if (skipped()) return;
  REQUIRE(current_context() == nullptr);
  {
    const DevicePtr device = Device::open(0);
    const DeviceMemory memory(device, kBytes);
    const PinnedMemory pinned(device, kBytes);
    memory.clear();
    CHECK(identify(*device, memory.address(), kBytes).pieces == 1);
    CHECK(device_address(*device, pinned.as()) != 0);
    CHECK(current_context() == nullptr);
  }
  CHECK(current_context() == nullptr);
}

TEST_CASE("memory of a device is usable on its peers") {
  if (skipped()) return;
  if (list_devices().devices.size() < 2) return;
  const DevicePtr first = Device::open(0);
  const DevicePtr second = Device::open(1);
  if (!second->can_access(*first)) return;
  const std::vector<DevicePtr> peers = {second, first};
  const DeviceMemory memory(first, kBytes, peers);
  const std::vector<uint8_t> data = pattern(kBytes, 3);
  upload(*second, memory.address(), data);
  CHECK(download(*first, memory.address(), kBytes) == data);
}

TEST_CASE("freed and allocated again at the same address is another buffer") {
  if (skipped()) return;
  const DevicePtr device = Device::open(0);
  const auto compare = [&](auto make) {
    std::vector<std::pair<CUdeviceptr, uint64_t>> seen;
    std::vector<RangeIdentity> identities;
    int same_address = 0;
    for (int i = 0; i < 8; ++i) {
      const auto memory = make();
      const PointerInfo info = inspect_at(memory.address() + 7);
      const RangeIdentity identity = identify(*device, memory.address(), kBytes);
      CHECK(identity == identify(*device, memory.address(), kBytes));
      for (const auto& [address, id] : seen) {
        CHECK(id != info.buffer_id);
        same_address += address == memory.address() ? 1 : 0;
      }
      for (const RangeIdentity& other : identities) CHECK_FALSE(other == identity);
      seen.emplace_back(memory.address(), info.buffer_id);
      identities.push_back(identity);
    }
    if (same_address == 0) WARN("no address was used twice: the interesting case did not occur");
  };
  compare([&] { return Allocation(device, kBytes); });
  compare([&] { return DeviceMemory(device, kBytes); });
}

TEST_CASE("a range of several chunks is identified by all of them") {
  if (skipped()) return;
  const DevicePtr device = Device::open(0);
  if (!device->facts().virtual_memory || !device->facts().posix_handles) return;
  Segments segments(device, 4);
  const size_t chunk = segments.chunk_bytes();
  const CUdeviceptr at = segments.address() + chunk / 2;

  const RangeIdentity within = identify(*device, at, chunk / 4);
  CHECK(within.pieces == 1);
  CHECK(within.base == segments.address());
  CHECK(within.bytes == chunk);
  const RangeIdentity three = identify(*device, at, 2 * chunk);
  CHECK(three.pieces == 3);
  CHECK(three.bytes == 3 * chunk);
  CHECK(identify(*device, at, chunk / 2).pieces == 1);
  CHECK(identify(*device, at, chunk / 2 + 1).pieces == 2);
  CHECK(identify(*device, segments.address(), 4 * chunk).pieces == 4);

  // A chunk in the middle is exchanged.
  segments.unmap(1);
  check_refused([&] { identify(*device, at, 2 * chunk); }, Result::invalid_argument, "");
  CHECK(identify(*device, at, chunk / 4) == within);
  segments.map(1);
  CHECK(identify(*device, at, chunk / 4) == within);
  CHECK_FALSE(identify(*device, at, 2 * chunk) == three);
}

TEST_CASE("what is no range of device memory is refused") {
  if (skipped()) return;
  const DevicePtr device = Device::open(0);
  const Allocation memory(device, kBytes);
  const PinnedMemory pinned(device, kBytes);
  std::vector<uint8_t> heap(kBytes);
  const size_t whole = inspect_at(memory.address()).size;
  const auto refused = [&](CUdeviceptr at, size_t bytes, const std::string& part) {
    check_refused([&] { identify(*device, at, bytes); }, Result::invalid_argument, part);
    check_refused([&] { export_memory(*device, at, bytes); }, Result::invalid_argument, part);
  };
  refused(memory.address(), 0, "0 bytes");
  refused(memory.address() + 1, SIZE_MAX, "not a range");
  refused(pinned.device_address(), kBytes, "is pinned memory");
  refused(reinterpret_cast<CUdeviceptr>(heap.data()), kBytes, "is host memory");
  check_refused([&] { export_memory(*device, memory.address() + 1, whole); }, Result::invalid_argument, "");
}

TEST_CASE("how memory can be shared follows from how it was made") {
  if (skipped()) return;
  const DevicePtr device = Device::open(0);
  const Allocation allocated(device, kBytes);
  const PinnedMemory pinned(device, kBytes);
  const int on_stack = 0;
  CHECK(sharing_of(*device, allocated.address()) == HandleKind::ipc);
  CHECK(sharing_of(*device, pinned.device_address()) == HandleKind::none);
  CHECK(sharing_of(*device, reinterpret_cast<CUdeviceptr>(&on_stack)) == HandleKind::none);
  if (!device->facts().virtual_memory || !device->facts().posix_handles) return;
  const DeviceMemory own(device, kBytes);
  CHECK(sharing_of(*device, own.address()) == HandleKind::posix);
  const Segments closed(device, 1, CU_MEM_HANDLE_TYPE_NONE);
  CHECK(sharing_of(*device, closed.address()) == HandleKind::none);
  check_refused([&] { export_memory(*device, closed.address(), 1); }, Result::unsupported,
                "cannot be shared with other processes");
}

TEST_CASE("an allocation of this process is used by its pointer, not imported") {
  if (skipped()) return;
  const DevicePtr device = Device::open(0);
  const Allocation memory(device, kBytes);
  const Exported exported = export_memory(*device, memory.address(), kBytes);
  CHECK(exported.descriptors.empty());
  check_refused([&] { const Imported own(device, exported.bytes, exported.descriptors, "rank 0"); },
                Result::invalid_usage, "memory of rank 0 cannot be mapped: it belongs to this process");
}

TEST_CASE("chunks are mapped one behind the other, and outlive their owner") {
  if (skipped()) return;
  const DevicePtr device = Device::open(0);
  if (!device->facts().virtual_memory || !device->facts().posix_handles) return;
  std::optional<Segments> segments(std::in_place, device, 3);
  const size_t chunk = segments->chunk_bytes();
  const size_t bytes = chunk + 100;
  const size_t offset = chunk - 50;
  const std::vector<uint8_t> data = pattern(bytes, 4);
  upload(*device, segments->address() + offset, data);

  Imported imported;
  CHECK_FALSE(imported);
  {
    const Exported exported = export_memory(*device, segments->address() + offset, bytes);
    CHECK(exported.descriptors.size() == 3);
    imported = Imported(device, exported.bytes, exported.descriptors, "rank 1");
  }
  CHECK(imported.size() == bytes);
  CHECK(imported.address() != segments->address() + offset);
  CHECK(download(*device, imported.address(), bytes) == data);
  const std::vector<uint8_t> back = pattern(bytes, 5);
  upload(*device, imported.address(), back);
  CHECK(download(*device, segments->address() + offset, bytes) == back);

  segments.reset();
  const Imported copy = imported;
  imported.reset();
  CHECK_FALSE(imported);
  CHECK(download(*device, copy.address(), bytes) == back);
}
