// The memory through which records travel, and the chunks by which slices leave that lie in no registered memory.
//
//   Mailbox[ranks] | Outbox[ranks] | chunks
//
// A *mailbox* is written by one peer's card; record number n lies at n modulo kRecords. The peer writes no record before this rank has applied
// the one kRecords earlier, and said so: that is the peer's *credit*. An outbox holds the records of this rank for one peer until they have
// arrived there; one is used again only when the credit for it has come, and then it has.
//
// A slice in memory that is not registered is copied to a chunk, and is free again at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/sync.h"
#include "transports/port_frame.h"
#include "transports/shm/window.h"

namespace tutti::verbs {

inline constexpr uint64_t kRecords = 64;
inline constexpr size_t kRecordBytes = 256;
/// What a record carries itself: the smallest puts.
inline constexpr size_t kEmbedded = kRecordBytes - sizeof(PortFrame);

struct Record {
  PortFrame frame;
  std::byte data[kEmbedded];
};
static_assert(sizeof(Record) == kRecordBytes);

struct alignas(kCacheLine) Mailbox {
  Record records[kRecords];
  Record& at(uint64_t number) { return records[number % kRecords]; }
};

class MailMemory {
 public:
  static constexpr size_t kChunkBytes = 64 * 1024;
  static constexpr int kNoChunk = -1;

  MailMemory(int rank, int ranks);

  Mailbox& inbox(int peer) { return boxes()[peer]; }
  Mailbox& outbox(int peer) { return boxes()[ranks_ + peer]; }
  std::byte* data() const { return mapping_.data(); }
  size_t bytes() const { return bytes_; }

  /// kNoChunk: all are in use.
  int take_chunk();
  void give_chunk(int chunk) { free_.push_back(chunk); }
  std::byte* chunk(int index) const { return data() + chunks_at_ + static_cast<size_t>(index) * kChunkBytes; }

 private:
  static constexpr int kChunks = 32;
  Mailbox* boxes() const { return reinterpret_cast<Mailbox*>(data()); }

  int ranks_;
  size_t chunks_at_;
  size_t bytes_;
  shm::Mapping mapping_;
  std::vector<int> free_;
};

}  // namespace tutti::verbs
