// The wait loop: the only place where a rank waits for others.
//
// The ladder. A wait first spins, because a peer that runs answers within a few hundred nanoseconds; then it yields its
// core, because with more ranks than cores the awaited rank may need just this one; then it sleeps, so that waiting
// for a late peer costs no core. How long it spins adapts: a wait that ends while spinning doubles the budget up to its
// limit, one that had to go further halves it down to a floor, so ranks that share cores soon yield at once.
//
// Every turn asks `attempt` (which polls, and runs whatever else the rank can do meanwhile); port transports are advanced
// every turn that is not the fastest spin; `check` is asked at a gated rate, and says whether to go on: that is
// where abort, deadline and lost peers are looked at. Nothing here allocates; spinning makes no system call.
#pragma once

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <span>

#include "core/clock.h"
#include "core/error.h"
#include "core/poller.h"
#include "core/sleeper.h"
#include "core/sync.h"

namespace tutti {

class WaitLoop {
 public:
  struct Settings {
    int fast_turns = 64;                  // attempts before the clock is looked at for the first time
    uint64_t spin_ns = 200'000;           // longest spin before the first yield; 0: yield at once
    uint64_t spin_floor_ns = 50'000;      // shortest that it adapts to
    uint64_t sleep_after_ns = 2'000'000;  // of yielding, before the first sleep
  };

  WaitLoop() = default;
  WaitLoop(const Settings& settings, Sleeper* sleeper, std::span<Poller* const> pollers)
      : fast_turns_(settings.fast_turns),
        sleeper_(sleeper),
        pollers_(pollers),
        spin_limit_(ns_to_ticks(settings.spin_ns)),
        spin_floor_(std::min(ns_to_ticks(settings.spin_floor_ns), spin_limit_)),
        sleep_after_(ns_to_ticks(settings.sleep_after_ns)),
        check_interval_(ns_to_ticks(kCheckIntervalNs)),
        budget_(spin_limit_) {}

  /// Returns success once attempt() is true, or whatever else `check(waited_ticks)` returns. `limit` bounds this wait in
  /// ticks: in_progress is returned when it passes.
  template <typename Attempt, typename Check>
  Result run(Attempt&& attempt, Check&& check, uint64_t limit = UINT64_MAX) {
    for (int turn = 0; turn < fast_turns_; ++turn) {
      if (attempt()) return Result::success;
    }
    return climb(attempt, check, limit);
  }

 private:
  static constexpr int kTurnsPerLook = 16;
  static constexpr uint64_t kCheckIntervalNs = 200'000;

  template <typename Attempt, typename Check>
  Result climb(Attempt& attempt, Check& check, uint64_t limit) {
    const uint64_t start = ticks();
    uint64_t waited = 0;
    while (waited < budget_ && waited < limit) {
      advance_pollers();
      for (int turn = 0; turn < kTurnsPerLook; ++turn) {
        if (attempt()) {
          budget_ = std::min(budget_ * 2, spin_limit_);
          return Result::success;
        }
        cpu_relax();
      }
      waited = ticks() - start;
    }

    budget_ = std::max(budget_ / 2, spin_floor_);
    uint64_t next_check = check_interval_;
    for (;;) {
      if (waited >= next_check) {
        const Result verdict = check(waited);
        if (verdict != Result::success) return verdict;
        next_check = waited + check_interval_;
      }
      if (waited >= limit) return Result::in_progress;
      if (waited < budget_ + sleep_after_ || sleeper_ == nullptr) {
        sched_yield();
      } else {
        sleeper_->sleep(kLongestSleepNs, attempt);
      }
      advance_pollers();
      if (attempt()) return Result::success;
      waited = ticks() - start;
    }
  }

  void advance_pollers() {
    for (Poller* poller : pollers_) poller->advance();
  }

  int fast_turns_ = 1;
  Sleeper* sleeper_ = nullptr;
  std::span<Poller* const> pollers_;
  uint64_t spin_limit_ = 0;
  uint64_t spin_floor_ = 0;
  uint64_t sleep_after_ = 0;
  uint64_t check_interval_ = 0;
  uint64_t budget_ = 0;
};

}  // namespace tutti
