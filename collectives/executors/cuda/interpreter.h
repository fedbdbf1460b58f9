// The CUDA executor: one thread block runs one part of one rank's plan.
//
// Two roles. The block's first thread is the *leader* (leader.h): it does the control. All threads, the leader among them, perform what it finds
// to do, between two block barriers. So control is sequential code like the host interpreter's, and every thread is there when bytes move.
#pragma once

#include "collectives/executors/cuda/arithmetic.h"
#include "collectives/executors/cuda/leader.h"
#include "collectives/executors/cuda/moves.h"

namespace tutti::cuda {

TUTTI_DEVICE_INLINE void perform_copy(const Block block, Shared& shared) {
  const Work& work = shared.work;
  copy(block, CopyJob{work.dst, static_cast<int>(work.destinations), work.src[0]}, work.count);
}

template <typename Arithmetic>
TUTTI_DEVICE_INLINE void perform_reduce(const Block block, Shared& shared) {
  const Work& work = shared.work;
  reduce<Arithmetic>(
      block,
      Operands{work.dst, static_cast<int>(work.destinations), work.src, static_cast<int>(work.sources)},
      work.count, work.divisor);
}

TUTTI_DEVICE_INLINE void perform_put_packets(const Block block, Shared& shared) {
  const Work& work = shared.work;
  put_packets(block, static_cast<DevicePacket*>(work.dst[0]), work.src[0], work.count, shared.tag);
}

template <typename Arithmetic>
TUTTI_DEVICE_INLINE void perform_reduce_packets(const Block block, Shared& shared) {
  const Work& work = shared.work;
  const plan::Step& step = shared.lanes[shared.current_lane].cursor.step();
  PacketSpin spin(shared, shared.program.srcs(step));
  reduce_packets<Arithmetic>(block,
                             PacketOperands{work.dst[0], work.operands, static_cast<int>(work.sources)},
                             work.count, shared.tag, work.divisor, spin);
}

template <typename Arithmetic>
TUTTI_DEVICE_INLINE void perform(const Block& block, Shared& shared) {
  switch (shared.work.kind) {
    case WorkKind::copy:
      return perform_copy(block, shared);
    case WorkKind::reduce:
      return perform_reduce<Arithmetic>(block, shared);
    case WorkKind::put_packets:
      return perform_put_packets(block, shared);
    case WorkKind::reduce_packets:
      return perform_reduce_packets<Arithmetic>(block, shared);
    case WorkKind::done:
      return;
  }
}

/// True where this operation's epoch makes old packets look new, unless they are cleared first.
TUTTI_DEVICE_INLINE bool must_renew(const Shared& shared) {
  return (shared.state.epoch & 0xffffffff) == 0;
}

/// All flags of this rank's packets of this part become 0, which is no operation's.
TUTTI_DEVICE inline void clear_packets(const Block& block, Shared& shared) {
  const DeviceLayout& layout = shared.rank.layout;
  auto* packets = reinterpret_cast<DevicePacket*>(layout.packets_of(shared.own_window(), shared.part));
  for (uint64_t i = block.thread(); i < layout.packets_bytes / sizeof(DevicePacket); i += block.threads()) {
    store(&packets[i].flag, 0);
  }
}

/// Copies to shared memory; both sides and the size are multiples of 8.
TUTTI_DEVICE_INLINE void bring(const Block& block, void* to, const void* from, size_t bytes) {
  for (size_t i = block.thread(); i < bytes / 8; i += block.threads()) {
    static_cast<uint64_t*>(to)[i] = static_cast<const uint64_t*>(from)[i];
  }
}

/// Brings what this part will look at again and again into shared memory.
TUTTI_DEVICE_INLINE void fetch(const Block& block, const RankArguments& arguments, uint32_t part,
                               Shared& shared) {
  bring(block, &shared.rank, arguments.rank, sizeof(DeviceRank));
  bring(block, &shared.state, arguments.rank->states + part, sizeof(PartState));
  const bool fits = arguments.program_bytes <= kSharedProgram;
  if (fits) bring(block, shared.program_room, arguments.program, arguments.program_bytes);
  if (!block.is_leader()) return;
  shared.arguments = &arguments;
  shared.binding = part + 1 == arguments.parts ? arguments.last : arguments.part;
  shared.program = plan::Program(fits ? shared.program_room : arguments.program);
  shared.part = part;
}

/// What every thread of a block does; `block_index` within the launch.
template <typename Arithmetic>
TUTTI_DEVICE_INLINE void run_block(const Block& block, const Launch& launch, uint32_t block_index,
                                   Shared& shared) {
  uint32_t index = 0;
  while (index + 1 < launch.ranks && block_index >= launch.rank[index + 1].first_block) ++index;
  fetch(block, launch.rank[index], block_index - launch.rank[index].first_block, shared);
  block.sync();
  Leader leader(shared);
  if (block.is_leader()) leader.begin();
  block.sync();
  if (must_renew(shared)) {
    if (block.is_leader()) leader.renew(1);
    block.sync();
    clear_packets(block, shared);
    block.sync();
    if (block.is_leader()) leader.renew(2);
  }
  for (;;) {
    if (block.is_leader()) leader.next();
    block.sync();
    if (shared.work.kind == WorkKind::done) break;
    perform<Arithmetic>(block, shared);
    block.sync();
    if (block.is_leader()) leader.performed();
  }
  if (block.is_leader()) leader.end();
}
}  // namespace tutti::cuda
