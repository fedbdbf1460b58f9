// Named shared memory, whose name is gone as soon as both have it.
#include "benchmarks/shared_line.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "core/clock.h"

namespace tutti::bench {
namespace {

constexpr size_t kBytes = 4096;

std::string path_of(uint64_t name) {
  return fmt::format("/tutti-bench-{:016x}", name);
}

}  // namespace

SharedLine::SharedLine(World& world) : world_(world) {
  if (world.size() < 2 || !world.one_clock()) return;
  uint64_t name = 0;
  if (world.rank() == 0) {
    if (::getrandom(&name, sizeof name, 0) != static_cast<ssize_t>(sizeof name)) name = now_ns();
    create(name);
  }
  world.broadcast(std::span<uint64_t>(&name, 1), 0);
  if (world.rank() == 1) open(name);
  const bool missing = world.any(world.rank() < 2 && line_ == nullptr);
  if (world.rank() == 0) ::shm_unlink(path_of(name).c_str());
  if (missing && line_ != nullptr) ::munmap(std::exchange(line_, nullptr), kBytes);
}

SharedLine::~SharedLine() {
  if (line_ != nullptr) ::munmap(line_, kBytes);
}

void SharedLine::map(int fd) {
  if (fd < 0) return;
  void* memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (memory != MAP_FAILED) line_ = static_cast<std::atomic<uint64_t>*>(memory);
}

/// New memory is all zero, which is a counter at 0.
void SharedLine::create(uint64_t name) {
  const int fd = ::shm_open(path_of(name).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0 && ::ftruncate(fd, kBytes) != 0) {
    ::close(fd);
    return;
  }
  map(fd);
}

void SharedLine::open(uint64_t name) {
  map(::shm_open(path_of(name).c_str(), O_RDWR | O_CLOEXEC, 0));
}

bool SharedLine::wait_for(uint64_t value) const {
  constexpr uint64_t kLimitNs = 2'000'000'000;
  constexpr int kSpins = 128;
  const uint64_t start = now_ns();
  while (now_ns() - start < kLimitNs) {
    for (int i = 0; i < kSpins; ++i) {
      if (line_->load(std::memory_order_acquire) >= value) return true;
    }
    sched_yield();  // the other may be waiting for this core
  }
  return false;
}

std::optional<double> SharedLine::round_trips(bool first) {
  constexpr int kTrips = 10;
  const uint64_t start = now_ns();
  for (int i = 0; i < kTrips; ++i) {
    count_ += 2;
    if (first) line_->store(count_ - 1, std::memory_order_release);
    if (!wait_for(first ? count_ : count_ - 1)) return std::nullopt;
    if (!first) line_->store(count_, std::memory_order_release);
  }
  return static_cast<double>(now_ns() - start) / kTrips;
}

std::optional<double> SharedLine::one_way_ns() {
  constexpr int kBatches = 500;
  world_.barrier();
  bool failed = false;
  double best = 1e9;
  for (int i = 0; i < kBatches && line_ != nullptr && !failed; ++i) {
    const std::optional<double> one = round_trips(world_.rank() == 0);
    failed = !one;
    best = std::min(best, one.value_or(best));
  }
  if (failed) ::munmap(std::exchange(line_, nullptr), kBytes);
  const bool measured = !world_.any(failed) && world_.any(line_ != nullptr);
  // Rank 0's is everybody's: the others are smaller.
  const double mine = world_.rank() == 0 && line_ != nullptr ? best / 2 : 0;
  const double agreed = world_.max(mine);
  if (!measured) return std::nullopt;
  return agreed;
}

}  // namespace tutti::bench
