// What the threads of a block share while they run one part of one rank's plan (interpreter.h).
#pragma once

#include "collectives/executors/cuda/block.h"
#include "collectives/executors/cuda/launch.h"
#include "collectives/executors/cuda/moves.h"
#include "collectives/plan/cursor.h"
#include "collectives/plan/pool.h"
#include "collectives/plan/program.h"

namespace tutti::cuda {

/// Programs up to this size are copied to shared memory first.
inline constexpr uint32_t kSharedProgram = 16 * 1024;

enum class WorkKind : uint32_t { copy, reduce, put_packets, reduce_packets, done };

/// What all threads do next.
struct Work {
  WorkKind kind;
  uint32_t sources;
  uint32_t destinations;
  uint32_t divisor;
  uint64_t count;  // copy and packets: bytes; reduce: elements
  void* dst[kMostDeviceRanks];
  const void* src[kMostDeviceRanks];
  PacketSource operands[kMostDeviceRanks];
};

/// A put to another node whose bytes are being staged; none: no bytes.
struct StagedPut {
  uint32_t peer;
  uint64_t bytes;
  uint64_t offset;  // in the peer's slots
  uint64_t end;     // position in the staging ring
};

struct DeviceLane {
  plan::Cursor cursor;
  bool at_barrier;
};

/// All that the threads of a block share: one operation of one part of one rank. In shared memory, so that the leader's calls hand on one
/// pointer.
struct Shared {
  alignas(16) std::byte program_room[kSharedProgram];
  plan::Program program;
  const RankArguments* arguments;
  plan::Binding binding;
  Work work;
  DeviceLane lanes[kDeviceLanes];
  DeviceRank rank;                            // a copy that is near
  const std::byte* inputs[kMostDeviceRanks];  // of peers, in direct plans
  std::byte* outputs[kMostDeviceRanks];
  PartState state;
  StagedPut put;
  plan::Extent slots;
  plan::Extent packets;
  uint64_t base;
  uint64_t tag;
  uint64_t arrival;
  uint64_t last_dependency;
  uint32_t part;
  uint32_t current_lane;  // whose step is the Work
  volatile unsigned failed;

  TUTTI_DEVICE_INLINE std::byte* own_window() const { return rank.windows[rank.rank]; }
  TUTTI_DEVICE_INLINE std::byte* window(int peer) const { return rank.windows[peer]; }
  /// True where the peer is on this node.
  TUTTI_DEVICE_INLINE bool maps(int peer) const { return rank.windows[peer] != nullptr; }
};
}  // namespace tutti::cuda
