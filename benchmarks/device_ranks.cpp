// Who is on which device, and what it has there.
#include "benchmarks/device_ranks.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "benchmarks/verify.h"
#include "core/clock.h"
#include "core/units.h"

namespace tutti::bench {
namespace {

constexpr size_t kLargestElement = 8;
/// Where the user does not say; above Tutti's own limit where he does, so that its error comes first.
constexpr uint64_t kLimitNs = 120'000'000'000;
constexpr uint64_t kGraceNs = 10'000'000'000;

}  // namespace

DeviceRanks::DeviceRanks(const Options& options, uint64_t largest)
    : limit_ns_(options.timeout_ns == 0 ? kLimitNs : static_cast<uint64_t>(options.timeout_ns) + kGraceNs) {
  const DeviceOptions& wanted = *options.device;
  const size_t message = std::max<size_t>(largest, 1);
  const size_t tape = message + static_cast<size_t>(kPeriod) * kLargestElement;
  const size_t each = (options.has_out_of_place() ? 2 * message : message) + tape;
  const auto from = options.registered ? gpu::Memory::From::tutti : gpu::Memory::From::driver;
  for (const int ordinal : wanted.devices) {
    devices_.push_back(std::make_unique<gpu::Device>(ordinal));
    const gpu::Device& device = *devices_.back();
    const size_t needed = each * static_cast<size_t>(wanted.ranks_per_gpu);
    if (needed > device.free_bytes()) {
      throw UsageError(fmt::format(
          "--maxbytes: messages of {} take {} MiB with {} ranks on device {}, and {} MiB are free",
          format_size(largest), needed >> 20, wanted.ranks_per_gpu, ordinal, device.free_bytes() >> 20));
    }
    for (int i = 0; i < wanted.ranks_per_gpu; ++i) {
      if (!wanted.one_stream || streams_.empty()) streams_.push_back(std::make_unique<gpu::Stream>());
      places_.push_back({.device = &device,
                         .stream = streams_.back()->get(),
                         .send = gpu::Memory(device, options.has_out_of_place() ? message : 0, from),
                         .recv = gpu::Memory(device, message, from),
                         .tape = gpu::Memory(device, tape),
                         .settled = std::make_unique<gpu::Event>()});
    }
  }
}

std::vector<int> DeviceRanks::ordinals() const {
  std::vector<int> ordinals;
  for (const Place& place : places_) ordinals.push_back(place.device->ordinal());
  return ordinals;
}

void DeviceRanks::await(const gpu::Event& event, std::string_view what) const {
  const uint64_t start = now_ns();
  while (!event.reached()) {
    if (now_ns() - start > limit_ns_) {
      fmt::print(stderr, "{}: the device has not finished after {} s\n", what, limit_ns_ / 1'000'000'000);
      std::fflush(nullptr);
      std::_Exit(1);
    }
    sched_yield();
  }
}

void DeviceRanks::settle(const std::string& what) const {
  for (const Place& place : places_) {
    place.device->make_current();
    place.settled->record(place.stream);
  }
  for (const Place& place : places_) {
    place.device->make_current();
    await(*place.settled, what);
  }
}

void DeviceRanks::settle(int rank, const char* what) const {
  const Place& place = places_[static_cast<size_t>(rank)];
  place.device->make_current();
  place.settled->record(place.stream);
  await(*place.settled, what);
}

double DeviceRanks::copy_bandwidth() const {
  constexpr size_t kFirst = size_t{64} << 20;  // what a slow device copies; a fast one gets more
  constexpr size_t kMost = size_t{1} << 30;
  constexpr double kTooShortNs = 1e6;
  constexpr int kCopies = 5;
  const gpu::Driver& driver = gpu::Driver::get();
  const gpu::Device& device = *devices_.front();
  const gpu::Stream stream;
  const gpu::Event start;
  const gpu::Event end;
  double best = 0;
  for (size_t bytes = kFirst;; bytes = kMost) {
    if (2 * bytes > device.free_bytes()) return best;
    const gpu::Memory from(device, bytes);
    const gpu::Memory to(device, bytes);
    double shortest = 0;
    for (int i = 0; i < kCopies; ++i) {
      start.record(stream.get());
      driver.check(driver.cuMemcpyDtoDAsync(to.address(), from.address(), bytes, stream.get()),
                   "cuMemcpyDtoDAsync");
      end.record(stream.get());
      await(end, "measuring the bandwidth of copies");
      const double ns = end.since(start);
      if (i == 0 || ns < shortest) shortest = ns;
    }
    if (shortest > 0) best = std::max(best, 2.0 * static_cast<double>(bytes) / shortest);
    if (bytes == kMost || shortest > kTooShortNs) return best;
  }
}

}  // namespace tutti::bench
