// The memory through which records travel, and the bounce buffers by which slices leave that lie in no registered memory.
//
//   mailbox[ranks] | outbox[ranks] | bounce buffers              a mailbox, an outbox: kRecords records of record_bytes()
//
// Peers may write the mailboxes, and cards read the rest; neither does more.
//
// A *mailbox* is written by one peer's card; record number n lies at n modulo kRecords. The peer writes no record before this rank has applied
// the one kRecords earlier, and said so. An outbox holds the records of this rank for one peer until they have arrived there; a place is
// used again by the same rule, and then what was in it has.
//
// A record has room for a put that is sent with it. The more ranks there are, the smaller it is: so that all mailboxes together stay small.
//
// A slice in memory that is not registered is copied to a bounce buffer, and is free again at once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "transports/shm/window.h"
#include "transports/verbs/record.h"

namespace tutti::verbs {

inline constexpr uint64_t kRecords = 64;

/// What one record takes in a job of so many ranks: between 256 bytes and 4 KiB of data with a header.
constexpr size_t record_bytes(int ranks) {
  constexpr size_t kLeast = 256;
  constexpr size_t kMost = 4096 + 128;
  constexpr size_t kAll = size_t{4} << 20;  // for all mailboxes and outboxes
  constexpr size_t kLine = 64;
  const size_t share = kAll / (2 * static_cast<size_t>(ranks) * kRecords) / kLine * kLine;
  return std::clamp(share, kLeast, kMost);
}

class MailMemory {
 public:
  static constexpr size_t kBounceBytes = 64 * 1024;
  static constexpr int kNoBounce = -1;

  MailMemory(int rank, int ranks);

  /// What it takes in a job of so many ranks.
  static constexpr size_t bytes_for(int ranks) { return bounces_at(ranks) + kBounces * kBounceBytes; }

  /// What a peer has written, and what this rank writes to a peer.
  const std::byte* inbox(int peer, uint64_t number) const { return data() + place(peer, number); }
  std::byte* outbox(int peer, uint64_t number) const { return data() + place(ranks_ + peer, number); }
  /// Where record `number` of rank `sender` lies, from the beginning of this memory: the same on all ranks.
  size_t place(int sender, uint64_t number) const {
    return (static_cast<size_t>(sender) * kRecords + number % kRecords) * record_bytes_;
  }
  /// The largest put that a record carries itself.
  size_t most_embedded() const { return record_bytes_ - kMostHeader; }

  /// What peers may write, and what cards may read.
  std::span<std::byte> mailboxes() const { return {data(), outboxes_at(ranks_)}; }
  std::span<const std::byte> outgoing() const {
    return {data() + outboxes_at(ranks_), bytes_for(ranks_) - outboxes_at(ranks_)};
  }

  /// kNoBounce: all are in use.
  int take_bounce();
  void give_bounce(int bounce) { free_.push_back(bounce); }
  std::byte* bounce(int index) const {
    return data() + bounces_at(ranks_) + static_cast<size_t>(index) * kBounceBytes;
  }

 private:
  static constexpr int kBounces = 32;

  static constexpr size_t outboxes_at(int ranks) {
    return static_cast<size_t>(ranks) * kRecords * record_bytes(ranks);
  }
  /// On a page of its own.
  static constexpr size_t bounces_at(int ranks) {
    constexpr size_t kPage = 4096;
    return (2 * outboxes_at(ranks) + kPage - 1) / kPage * kPage;
  }

  std::byte* data() const { return mapping_.data(); }

  int ranks_;
  size_t record_bytes_;
  shm::Mapping mapping_;
  std::vector<int> free_;
};

}  // namespace tutti::verbs
