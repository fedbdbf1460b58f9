// Who may touch the transports of a communicator: its rank, for as long as it is in a call; else the control thread, now and then, where
// what was posted still has to be looked after (PortTransport::look_after). Whoever is not the rank gives way: it tries, and never waits.
#pragma once

#include <sched.h>

#include <atomic>
#include <thread>

#include "core/sync.h"

namespace tutti {

/// For std::unique_lock. Who has it may take it again: an error is found, and acted upon, inside a wait as well as outside.
class Custody {
 public:
  bool try_lock() {
    if (taken_.exchange(true, std::memory_order_acquire)) return false;
    owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
    depth_ = 1;
    return true;
  }

  /// Waits for the other one, which has it for microseconds at a time; on a crowded machine it may have been put off its core meanwhile.
  void lock() {
    if (owner_.load(std::memory_order_relaxed) == std::this_thread::get_id()) {
      ++depth_;
      return;
    }
    for (int turn = 0; !try_lock(); ++turn) {
      if (turn < kTurns) {
        cpu_relax();
      } else {
        sched_yield();
      }
    }
  }

  void unlock() {
    if (--depth_ != 0) return;
    owner_.store({}, std::memory_order_relaxed);
    taken_.store(false, std::memory_order_release);
  }

 private:
  static constexpr int kTurns = 1000;
  std::atomic<bool> taken_ = false;
  std::atomic<std::thread::id> owner_;  // nobody, where it is not taken
  int depth_ = 0;                       // how often the owner has taken it
};

}  // namespace tutti
