// Agrees on a start and waits.
#include "benchmarks/schedule.h"

#include <sched.h>

#include <span>

#include "core/clock.h"

namespace tutti::bench {

Schedule::Schedule(World& world, double calls_per_second)
    : interval_(static_cast<double>(ns_to_ticks(1'000'000'000)) / calls_per_second) {
  constexpr uint64_t kAheadNs = 100'000;  // all ranks know the start by then
  world.barrier();
  start_ = ticks() + ns_to_ticks(kAheadNs);
  if (world.one_clock()) world.max(std::span<uint64_t>(&start_, 1));
}

void wait_until(uint64_t tick) {
  while (ticks() < tick) sched_yield();
}

}  // namespace tutti::bench
