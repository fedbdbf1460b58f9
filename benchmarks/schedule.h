// When calls are due that come at a fixed rate.
//
// Fixed: a call that took too long does not move the ones after it. They are late then, and their times, counted from when they were due,
// include that wait, as they would for whoever asked for them. (Timing them from their own start instead would leave out
// just the samples that a stall spoils: coordinated omission.)
#pragma once

#include <cstdint>

#include "benchmarks/launcher.h"

namespace tutti::bench {

class Schedule {
 public:
  /// Collective. The first call is due soon on all ranks: at the same moment where they have one clock.
  Schedule(World& world, double calls_per_second);

  /// In ticks.
  uint64_t due(int64_t call) const {
    return start_ + static_cast<uint64_t>(static_cast<double>(call) * interval_);
  }

 private:
  uint64_t start_;
  double interval_;
};

/// Returns at that tick, or at once where it is past; lets others run meanwhile.
void wait_until(uint64_t tick);

}  // namespace tutti::bench
