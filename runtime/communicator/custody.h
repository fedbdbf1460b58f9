// Who may touch the transports of a communicator: its rank, for as long as it is in a call; else the control thread, now and then, where
// what was posted still has to be looked after (PortTransport::look_after). Whoever is not the rank gives way: it tries, and never waits.
#pragma once

#include <sched.h>

#include <atomic>

#include "core/sync.h"

namespace tutti {

/// For std::unique_lock.
class Custody {
 public:
  bool try_lock() { return !taken_.exchange(true, std::memory_order_acquire); }

  /// Waits for the other one, which has it for microseconds at a time; on a crowded machine it may have been put off its core meanwhile.
  void lock() {
    for (int turn = 0; !try_lock(); ++turn) {
      if (turn < kTurns) {
        cpu_relax();
      } else {
        sched_yield();
      }
    }
  }

  void unlock() { taken_.store(false, std::memory_order_release); }

 private:
  static constexpr int kTurns = 1000;
  std::atomic<bool> taken_ = false;
};

}  // namespace tutti
