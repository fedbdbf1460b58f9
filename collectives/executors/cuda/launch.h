// What the host and a kernel tell each other: the kernel's parameters, the state a rank keeps on its device, and the words in pinned memory.
//
// Parameters hold only what is the same in every replay of a graph: buffers, sizes, the plan. Everything that advances from operation to
// operation (epoch, ticks, places in scratch, history) lies in PartState in device memory and is advanced by the kernel itself.
#pragma once

#include <cstddef>
#include <cstdint>

#include "collectives/executors/cuda/sync.h"
#include "collectives/plan/binding.h"
#include "transports/cuda_ipc/fifo.h"
#include "transports/cuda_ipc/window.h"

namespace tutti::cuda {

/// Ranks that may take part in a device communicator; sources and destinations of a step are as many at most.
inline constexpr int kMostDeviceRanks = 64;
/// Ranks that one launch can run.
inline constexpr int kLaunchRanks = 8;
/// Lanes that a plan may have.
inline constexpr uint32_t kDeviceLanes = 8;
/// Threads of a block on a GPU (any number gives the same result), and blocks that each multiprocessor must be able to hold at a time: 128
/// registers for each thread, so that nothing is spilled.
inline constexpr unsigned kBlockThreads = 256;
inline constexpr unsigned kBlocksPerMultiprocessor = 2;
inline constexpr unsigned kStamps = 256;

/// Where one part of one rank stands; only the kernel writes it. 128 bytes.
struct alignas(64) PartState {
  uint64_t epoch;    // of the latest operation
  uint64_t ticks;    // base of all counters
  uint64_t history;  // transports/tag.h
  uint64_t slots_position;
  uint64_t packets_position;
  uint64_t known_slots;  // what every rank of the node is known to have retired
  uint64_t known_packets;
  uint64_t posted;    // triggers, of which
  uint64_t consumed;  // so many are known to have been taken
  uint64_t staged;    // position in the staging ring
  uint64_t freed;     // up to which nothing needs it any more, as far as is known
  uint64_t unused[5];
};
static_assert(sizeof(PartState) == 128);

/// What the network has brought from one rank of another node, in pinned memory: an Inbox (transports/port.h) as the device sees it.
struct alignas(64) DeviceInbox {
  DeviceLine line;
  uint64_t granted;
  uint64_t unused[3];
  uint64_t latest_epoch;  // what the peer was doing when it last signalled
  uint64_t latest_count;
  uint64_t latest_call;
  uint64_t latest_signature;
};
static_assert(sizeof(DeviceInbox) == 128);

/// How a rank reaches ranks of other nodes: all of it in pinned memory, but for `granted`. A rank that has such a network works on one part.
struct DeviceNetwork {
  Trigger* triggers;  // null: all ranks are on one node
  uint64_t capacity;
  FifoFeedback* feedback;
  std::byte* staging;
  uint64_t staging_bytes;
  DeviceInbox* inboxes;                // by rank
  uint64_t* granted;                   // by rank, in device memory: what it has been told that it may write
  std::byte* slots[kMostDeviceRanks];  // by rank: network slots (plan/program.h), of ranks of this node
};

enum class FaultKind : uint32_t { none, timeout, mismatch, aborted };

/// Why a kernel gave up.
struct alignas(128) DeviceFault {
  uint64_t state;  // 1 once the rest is there
  FaultKind kind;
  int32_t peer;  // awaited; mismatch: whose call differs; aborted: who said so, -1: the host
  uint32_t part;
  uint32_t step;
  uint32_t slice;
  int32_t reporter;  // the rank that found it
  uint64_t epoch;
  // mismatch: what both were asked to do; the peer's epoch differs where it is ahead and no longer knows
  uint64_t call;
  uint64_t count;
  uint64_t peer_epoch;
  uint64_t peer_call;
  uint64_t peer_count;
};
static_assert(sizeof(DeviceFault) == kFaultRoom);

/// One operation of one rank by the GPU's clock, in ns.
struct DeviceStamp {
  uint64_t epoch;            // stored last
  uint64_t arrival;          // the kernel began
  uint64_t last_dependency;  // the last thing it waited for was there
  uint64_t exit;
};

/// Pinned host memory of one rank.
struct HostWords {
  alignas(64) uint64_t abort;  // the host asks the rank's kernels to give up
  DeviceFault fault;
};

/// What does not change during a communicator's life; in device memory.
struct alignas(16) DeviceRank {
  int32_t rank;
  int32_t ranks;
  Scope scope;
  uint32_t unused;
  DeviceLayout layout;
  PartState* states;    // by part
  DeviceStamp* stamps;  // kStamps of them, of part 0, by epoch modulo
  HostWords* words;
  std::byte* windows[kMostDeviceRanks];  // by rank; null: on another node
  DeviceNetwork network;
  const uint64_t* registered;  // [registration][rank]: where that buffer is here; null: loans are addresses
};

// A loan tells peers where a buffer is that they may use in place. Inside one process it is the address. Between processes, where each has
// mapped it elsewhere, it names a registration and how far into it.
inline constexpr uint64_t kNoLoan = ~uint64_t{0};
inline constexpr int kLoanOffsetBits = 48;
constexpr uint64_t loan_of(uint64_t registration, uint64_t offset) {
  return registration << kLoanOffsetBits | offset;
}

/// One operation of one rank.
struct RankArguments {
  DeviceRank* rank;
  const std::byte* program;
  const std::byte* input;
  std::byte* output;
  plan::Binding part;   // of every part but the last
  plan::Binding last;   // of the last part
  uint64_t part_bytes;  // from one part to the next in input and output
  uint64_t call;        // for the signature
  uint64_t count;
  uint64_t timeout_ns;
  uint32_t program_bytes;
  uint32_t parts;
  uint32_t first_block;  // of the launch
  uint32_t divisor;
  uint32_t direct;  // the plan reaches into peers' buffers
  uint64_t input_loan;
  uint64_t output_loan;
};

struct Launch {
  uint32_t ranks;
  RankArguments rank[kLaunchRanks];
};
static_assert(sizeof(Launch) <= 4096, "what a kernel may have as parameters on every driver");

}  // namespace tutti::cuda
