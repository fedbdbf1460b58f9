// How a rank sleeps and how its peers wake it.
//
// A rank that has waited long announces itself in a bit map that all ranks of the node share, looks once more whether
// what it waits for has come, and sleeps in epoll on its eventfd (and on the descriptors of port transports). A peer that
// raises a counter looks at the bit map - one load of a line that hardly ever changes - and writes the eventfd of
// those it sees. That look is not ordered after the raise, which would cost a full fence on every signal; so a
// wake-up can be missed, and every sleep ends by itself after kLongestSleepNs.
#pragma once

#include <cstdint>
#include <span>

#include "core/descriptor.h"
#include "core/poller.h"
#include "core/sync.h"

namespace tutti {

inline constexpr uint64_t kLongestSleepNs = 1'000'000;
inline constexpr int kMaxLocalRanks = 1024;

/// One bit per local rank; in shared memory.
struct alignas(kCacheLine) SleeperMap {
  std::atomic<uint64_t> words[kMaxLocalRanks / 64];

  bool sleeping(int rank) const {
    return (words[rank / 64].load(std::memory_order_relaxed) >> (rank % 64) & 1) != 0;
  }
};

class Sleeper {
 public:
  Sleeper() = default;
  /// `wake_descriptor` is this rank's eventfd; it and the pollers stay the caller's.
  Sleeper(SleeperMap* map, int rank, int wake_descriptor, std::span<Poller* const> pollers);

  /// Sleeps until woken, or `longest_ns` at most. `ready` is asked once after the announcement.
  template <typename Ready>
  void sleep(uint64_t longest_ns, Ready&& ready) {
    announce();
    if (!ready() && arm()) block(longest_ns < kLongestSleepNs ? longest_ns : kLongestSleepNs);
    withdraw();
  }

  static Descriptor make_wake_descriptor();
  static void wake(int wake_descriptor);

 private:
  void announce();
  void withdraw();
  bool arm() const;
  void block(uint64_t longest_ns);

  SleeperMap* map_ = nullptr;
  int rank_ = 0;
  int wake_descriptor_ = -1;
  std::span<Poller* const> pollers_;
  Descriptor epoll_;
};

}  // namespace tutti
