// Ranks for tests of port transports: threads or forked processes, each with a transport of its own and a port to every other.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/error.h"
#include "transports/port.h"

namespace port_test {

inline constexpr int kMaxRanks = 4;
inline constexpr uint64_t kSecond = 1'000'000'000;

enum class Mode { threads, processes };

/// Memory that all ranks of a test see, whatever they are.
struct Shared {
  struct Entry {
    std::atomic<uint32_t> bytes;
    std::array<char, 4000> text;
  };
  std::array<Entry, kMaxRanks> addresses;
  std::array<Entry, kMaxRanks> failures;
  std::array<std::atomic<uint64_t>, kMaxRanks> phase;
  std::array<std::atomic<int>, 16> flags;
};

template <typename... Args>
void expect(bool holds, fmt::format_string<Args...> format, Args&&... args) {
  if (!holds)
    tutti::raise(tutti::Result::internal_error, "{}", fmt::format(format, std::forward<Args>(args)...));
}

/// Makes the transport of a rank over its slots.
using Maker =
    std::function<std::unique_ptr<tutti::PortTransport>(int rank, int ranks, std::span<std::byte> slots)>;

/// One rank: a transport and what belongs to it.
class Rank {
 public:
  Rank(Shared& shared, int rank, int ranks, const Maker& maker, size_t slots_bytes, bool opens = true);

  int rank() const { return rank_; }
  int ranks() const { return ranks_; }
  tutti::PortTransport& transport() { return *transport_; }
  tutti::Port& port(int peer) { return *ports_[static_cast<size_t>(peer)]; }
  tutti::Inbox& inbox(int peer) { return inboxes_[static_cast<size_t>(peer)]; }
  std::vector<std::byte>& slots() { return slots_; }
  void open(int peer);
  std::string address_of(int peer) const;

  /// Advances until `condition` holds; throws after `limit_ns`, or when a peer fails.
  void until(const std::function<bool()>& condition, const char* what, uint64_t limit_ns = 20 * kSecond);
  /// All ranks are here; advances meanwhile.
  void meet();
  /// Ends in good order: the others may still need to be advanced to receive what was sent.
  void leave() { transport_.reset(); }

 private:
  Shared& shared_;
  const int rank_;
  const int ranks_;
  uint64_t phase_ = 0;
  std::vector<std::byte> slots_;
  std::vector<tutti::Inbox> inboxes_;
  std::vector<tutti::Port*> ports_;
  std::unique_ptr<tutti::PortTransport> transport_;  // the first to go
};

/// Runs body(shared, rank) for each rank; returns what the ranks threw, and how processes ended that did not end well.
/// `killed`: a rank whose process is to be killed by a signal.
std::string run(Mode mode, int ranks, const std::function<void(Shared&, int)>& body, int killed = -1);

/// Bytes that depend on `seed` and their place.
void fill(std::byte* bytes, size_t count, uint64_t seed);
/// Place of the first byte that is not what fill() wrote; `count`: none.
size_t first_wrong(const std::byte* bytes, size_t count, uint64_t seed);

}  // namespace port_test
