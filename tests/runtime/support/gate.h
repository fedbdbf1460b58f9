// A meeting of ranks that does not use what is tested: nobody passes before all have come. For tests whose next step ends
// operations on all ranks, those of slower ranks included.
#pragma once

#include <sched.h>

#include <atomic>

#include "core/clock.h"
#include "tests/runtime/support/expect.h"

/// `arrived` starts at 0, is shared by all, and serves for one meeting.
inline void meet_at(std::atomic<int>& arrived, int ranks) {
  arrived.fetch_add(1, std::memory_order_acq_rel);
  const uint64_t start = tutti::now_ns();
  while (arrived.load(std::memory_order_acquire) < ranks) {
    expect(tutti::now_ns() - start < 60'000'000'000, "only {} of {} ranks have come", arrived.load(), ranks);
    sched_yield();
  }
}
