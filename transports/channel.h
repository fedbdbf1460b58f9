// Channels of mapped memory: what one rank's window looks like to itself and to its peers.
//
// A *window* is memory of one rank that its peers may read and write. On a memory transport it is mapped by all of them, so
// a put is a store and a signal is a release store. These structures are the byte maps of a window's control part; they
// are plain data, valid wherever the window is mapped. Each line has one writer, and everything in it is written by that
// writer: a line is never fought over.
#pragma once

#include <cstdint>

#include <cstddef>

#include "core/abort.h"
#include "core/sleeper.h"
#include "core/sync.h"

namespace tutti {

/// Which operation a counter was last raised in: epoch (high 32 bits) and signature (low 32 bits), as in a packet's flag.
/// Written before the counter by the same writer into the same line, so checking it costs the reader nothing.
using Tag = std::atomic<uint64_t>;

/// Of each ordered pair of ranks.
inline constexpr size_t kPairCounters = 2;

/// In the receiver's window, one for each peer, written by that peer: 64 bytes of state per ordered pair of ranks.
struct alignas(kCacheLine) PairLine {
  Counter counters[kPairCounters];
  Tag tag;
  uint64_t unused[5];
};
static_assert(sizeof(PairLine) == kCacheLine);

/// In its writer's window, read by all peers. In a direct plan (collectives/plan/plan.h) a raise also lends the writer's buffers of the
/// operation: the addresses and then `lent` are stored before the counter is published.
struct alignas(kCacheLine) BoardLine {
  Counter counters[2];
  Tag tag;
  Tag lent;  // of which operation `input` and `output` are; kWithdrawn where the rank gave the operation up
  std::atomic<uint64_t> input;
  std::atomic<uint64_t> output;
  uint64_t unused[2];
};
inline constexpr uint64_t kWithdrawn = UINT64_MAX;
static_assert(sizeof(BoardLine) == kCacheLine);

/// Up to where this rank is finished with scratch (collectives/plan/pool.h), and with renewing packets; read by all.
struct alignas(kCacheLine) RetiredLine {
  Counter slots;
  Counter packets;
  Counter renewal;
  Counter closed;  // 1 once the rank has destroyed its communicator
  Counter
      alive;  // when it last looked around while waiting, in ns of the monotonic clock; not written while all is fast
  Counter touching;  // 1 while this rank reads or writes buffers that peers have lent
  Counter finished;  // the epoch of its latest complete operation
  uint64_t unused[1];
};
static_assert(sizeof(RetiredLine) == kCacheLine);

/// What this rank called in its latest epochs, for error messages only. `epoch` is stored last, and 0 while the record
/// changes; a reader that finds the same epoch before and after has read one record.
struct alignas(32) Announcement {
  std::atomic<uint64_t> epoch;
  std::atomic<uint64_t> count;
  std::atomic<uint64_t> call;  // collective, type, op, root: runtime/communicator/signature.h
  std::atomic<uint64_t> signature;
};
inline constexpr int kAnnouncements = 64;

/// What all ranks of a node share; rank 0's is the one that counts.
struct NodeControl {
  AbortState abort;
  SleeperMap sleepers;
};

/// The control part at the start of a window; pair lines, packets and slots follow (transports/shm/window.h).
struct WindowHeader {
  NodeControl node;
  BoardLine board;
  RetiredLine retired;
  alignas(kCacheLine) Announcement announcements[kAnnouncements];
};

}  // namespace tutti
