// The CUDA executor: one thread block runs one part of one rank's plan.
//
// Two roles. The block's first thread is the *leader*: it walks the lanes of the plan, raises and awaits counters, and turns every step that moves
// data into a Work in shared memory. All threads, the leader among them, perform the Work between two block barriers. So control is
// sequential code like the host interpreter's (collectives/executors/host), and every thread is there when bytes move.
//
// Protocol: as the host's. Counters are raised to base + count + 1; a line's tag is stored before its counter; packets carry the tag as flag;
// scratch is claimed and retired by positions. What the block's threads have stored is ordered before the leader's next publish by the
// block barrier; what the leader has observed is visible to all threads after the next one.
//
// Ranks of other nodes have no window here. What is for them goes as triggers to this rank's progress code (transports/cuda_ipc/fifo.h), and
// what they send it writes to this rank's inboxes and network slots, in pinned memory. The leader stages a put like any copy and posts its
// trigger when all threads have performed it; progress code is awaited only for room, which it makes whatever kernels do.
//
// Giving up. Everybody who polls looks at the clock every kPollsPerLook polls, and then at the rank's abort word (device memory; set by any rank
// that gives up), the host's abort word (pinned memory, rarely) and the deadline. The first block of a rank that gives up writes the fault to
// pinned memory and tells the other ranks; kernels started later find the abort word set and end at once.
#pragma once

#include "collectives/executors/cuda/arithmetic.h"
#include "collectives/executors/cuda/block.h"
#include "collectives/executors/cuda/device_packet.h"
#include "collectives/executors/cuda/launch.h"
#include "collectives/executors/cuda/moves.h"
#include "collectives/executors/cuda/sync.h"
#include "collectives/executors/cuda/trigger.h"
#include "collectives/plan/cursor.h"
#include "collectives/plan/pool.h"
#include "collectives/plan/program.h"
#include "transports/tag.h"

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

// ---- giving up ---------------------------------------------------------------------------------------------------------

/// The words of a fault behind its state.
inline constexpr int kFaultWords = sizeof(DeviceFault) / sizeof(uint64_t);

/// Leaves the fault with every rank of the node, which then gives up for the same reason.
TUTTI_DEVICE inline void tell_all(Shared& shared, const DeviceFault& fault) {
  const auto me = static_cast<uint32_t>(shared.rank.rank);
  const auto* words = reinterpret_cast<const uint64_t*>(&fault);
  for (int r = 0; r < shared.rank.ranks; ++r) {
    if (!shared.maps(r)) continue;
    auto* room = reinterpret_cast<uint64_t*>(shared.rank.layout.fault(shared.window(r), me));
    for (int i = 1; i < kFaultWords; ++i) store(room + i, load(words + i));
    publish(&shared.rank.layout.control(shared.window(r))->abort, 1 + uint64_t{me}, shared.rank.scope);
  }
}

/// Takes over what another rank has given up for. False where it was its host that said so, without a reason.
TUTTI_DEVICE inline bool adopt_fault(Shared& shared, int from) {
  const DeviceLayout& layout = shared.rank.layout;
  observe(&layout.control(shared.own_window())->abort, shared.rank.scope);
  const auto* room =
      reinterpret_cast<const uint64_t*>(layout.fault(shared.own_window(), static_cast<uint32_t>(from)));
  if (load(room + 1) == 0) return false;
  DeviceFault& fault = shared.rank.words->fault;
  auto* words = reinterpret_cast<uint64_t*>(&fault);
  for (int i = 1; i < kFaultWords; ++i) store(words + i, load(room + i));
  publish(&fault.state, 1, Scope::system);
  return true;
}

/// Writes why this rank gives up, unless another block was first, and tells the others.
TUTTI_DEVICE_CALL inline void report_fault(Shared& shared, FaultKind kind, int peer) {
  raise_flag(&shared.failed);
  if (!claim_first(&shared.rank.layout.control(shared.own_window())->claim)) return;
  if (kind == FaultKind::aborted && peer >= 0 && adopt_fault(shared, peer)) return;
  DeviceFault& fault = shared.rank.words->fault;
  fault.reporter = shared.rank.rank;
  const plan::Cursor& cursor = shared.lanes[shared.current_lane].cursor;
  fault.kind = kind;
  fault.peer = peer;
  fault.part = shared.part;
  fault.step = cursor.step_index();
  fault.slice = static_cast<uint32_t>(cursor.slice());
  fault.epoch = shared.state.epoch;
  fault.call = shared.arguments->call;
  fault.count = shared.arguments->count;
  if (kind == FaultKind::mismatch && !shared.maps(peer)) {
    const DeviceInbox& theirs = shared.rank.network.inboxes[peer];
    fault.peer_epoch = load(&theirs.latest_epoch);
    fault.peer_call = load(&theirs.latest_call);
    fault.peer_count = load(&theirs.latest_count);
  } else if (kind == FaultKind::mismatch) {
    const DeviceRetired* theirs = shared.rank.layout.retired_line(shared.window(peer), shared.part);
    fault.peer_epoch = load(&theirs->epoch);
    fault.peer_call = load(&theirs->call);
    fault.peer_count = load(&theirs->count);
  }
  publish(&fault.state, 1, Scope::system);
  tell_all(shared, fault);
}

/// The patience of one thread in one wait: looks up from polling at a gated rate.
class Patience {
 public:
  TUTTI_DEVICE_INLINE explicit Patience(Shared& shared) : shared_(shared) {}

  /// After each poll in vain. False: give up.
  TUTTI_DEVICE_INLINE bool keep_waiting(int peer) {
    relax();
    if (++polls_ % kPollsPerLook != 0) return true;
    return look_around(peer);
  }

 private:
  static constexpr uint32_t kPollsPerLook = 64;
  static constexpr uint64_t kHostLookNs = 100'000;

  TUTTI_DEVICE_CALL bool look_around(int peer) {
    if (is_raised(&shared_.failed)) return false;
    const uint64_t told = load(&shared_.rank.layout.control(shared_.own_window())->abort);
    if (told != 0) {
      report_fault(shared_, FaultKind::aborted, static_cast<int>(told) - 1);
      return false;
    }
    if (differs(peer)) {
      report_fault(shared_, FaultKind::mismatch, peer);
      return false;
    }
    const uint64_t waited = device_now_ns() - shared_.arrival;
    if (waited > shared_.arguments->timeout_ns) {
      report_fault(shared_, FaultKind::timeout, peer);
      return false;
    }
    if (waited < next_host_look_) return true;
    next_host_look_ = waited + kHostLookNs;
    if (load(&shared_.rank.words->abort) == 0) return true;
    report_fault(shared_, FaultKind::aborted, -1);
    return false;
  }

  /// True where the peer's operation of the same epoch is another one: then what is awaited may never come.
  TUTTI_DEVICE_INLINE bool differs(int peer) const {
    if (!shared_.maps(peer)) return false;
    const uint64_t theirs = load(&shared_.rank.layout.retired_line(shared_.window(peer), shared_.part)->tag);
    return theirs != shared_.tag && is_same_epoch(theirs, shared_.tag);
  }

  Shared& shared_;
  uint64_t next_host_look_ = 0;
  uint32_t polls_ = 0;
};

/// How threads that poll packets wait (moves.h).
class PacketSpin {
 public:
  TUTTI_DEVICE_INLINE PacketSpin(Shared& shared, const plan::Location* sources)
      : shared_(shared), sources_(sources), patience_(shared) {}

  /// `flag` is what the packet of operand `source` carries so far.
  TUTTI_DEVICE_INLINE bool keep_waiting(uint64_t flag, int source) {
    const int peer = sources_[source].rank;
    if (flag != 0 && is_same_epoch(flag, shared_.tag)) {
      report_fault(shared_, FaultKind::mismatch, peer);
      return false;
    }
    return patience_.keep_waiting(peer);
  }

 private:
  Shared& shared_;
  const plan::Location* sources_;
  Patience patience_;
};

// ---- the leader -----------------------------------------------------------------------------------------------------------

class Leader {
 public:
  TUTTI_DEVICE_INLINE explicit Leader(Shared& shared) : shared_(shared), patience_(shared) {}

  /// Takes the operation's place in epochs, ticks and scratch.
  TUTTI_DEVICE_CALL void begin() {
    shared_.arrival = device_now_ns();
    shared_.last_dependency = shared_.arrival;
    shared_.failed = 0;
    shared_.current_lane = 0;
    PartState& state = shared_.state;
    const DeviceLayout& layout = shared_.rank.layout;
    plan::Ring slots(layout.slots_bytes, state.slots_position);
    plan::Ring packets(layout.packets_bytes, state.packets_position);
    shared_.slots = shared_.binding.slots_need != 0 ? slots.take(shared_.binding.slots_need) : plan::Extent{};
    shared_.packets =
        shared_.binding.packets_need != 0 ? packets.take(shared_.binding.packets_need) : plan::Extent{};
    state.slots_position = slots.position();
    state.packets_position = packets.position();
    shared_.base = state.ticks;
    state.ticks += shared_.binding.ticks;
    ++state.epoch;
    state.history = extend_history(state.history, shared_.arguments->call, shared_.arguments->count);
    shared_.tag = make_tag(state.epoch, state.history);
    DeviceRetired* line = layout.retired_line(shared_.own_window(), shared_.part);
    store(&line->tag, shared_.tag);
    store(&line->epoch, state.epoch);
    store(&line->call, shared_.arguments->call);
    store(&line->count, shared_.arguments->count);
    const uint32_t lanes = shared_.program.header().lanes;
    for (uint32_t i = 0; i < lanes; ++i) {
      shared_.lanes[i].cursor = plan::Cursor(shared_.program.lane(i), shared_.binding.slices);
      shared_.lanes[i].at_barrier = false;
    }
    const uint64_t told = load(&shared_.rank.layout.control(shared_.own_window())->abort);
    if (told != 0) report_fault(shared_, FaultKind::aborted, static_cast<int>(told) - 1);
    shared_.put.bytes = 0;
    if (shared_.program.has_ports()) announce();
  }

  /// Says that this rank has come to `stage` of renewing its packets, and waits for all others to do so.
  TUTTI_DEVICE_CALL void renew(uint64_t stage) {
    const uint64_t value = 2 * (shared_.state.epoch >> 32) - 2 + stage;
    const DeviceLayout& layout = shared_.rank.layout;
    publish(&layout.retired_line(shared_.own_window(), shared_.part)->renewal, value, shared_.rank.scope);
    for (int peer = 0; peer < shared_.rank.ranks; ++peer) {
      if (!shared_.maps(peer)) continue;
      const uint64_t* theirs = &layout.retired_line(shared_.window(peer), shared_.part)->renewal;
      while (observe(theirs, shared_.rank.scope) < value) {
        if (!patience_.keep_waiting(peer)) return;
      }
    }
  }

  /// Runs control steps until there is work for all threads, the operation is done, or it has failed.
  TUTTI_DEVICE_CALL void next() {
    const uint32_t lanes = shared_.program.header().lanes;
    while (!is_raised(&shared_.failed)) {
      bool all_done = true;
      int blocked_by = -1;
      for (uint32_t i = 0; i < lanes; ++i) {
        shared_.current_lane = i;
        DeviceLane& lane = shared_.lanes[i];
        while (!lane.cursor.done()) {
          const Outcome outcome = execute(lane, blocked_by);
          if (outcome == Outcome::work) return;
          if (outcome == Outcome::blocked) break;
          lane.cursor.advance();
        }
        all_done = all_done && lane.cursor.done();
      }
      if (all_done) break;
      if (blocked_by >= 0 && !patience_.keep_waiting(blocked_by)) break;
    }
    shared_.work.kind = WorkKind::done;
  }

  /// The Work of next() has been performed.
  TUTTI_DEVICE_INLINE void performed() {
    if (shared_.work.kind == WorkKind::reduce_packets) shared_.last_dependency = device_now_ns();
    if (shared_.put.bytes != 0) post_put();
    shared_.lanes[shared_.current_lane].cursor.advance();
  }

  /// After the last step of all lanes.
  TUTTI_DEVICE_CALL void end() {
    if (!is_raised(&shared_.failed)) {
      DeviceRetired* line = shared_.rank.layout.retired_line(shared_.own_window(), shared_.part);
      if (shared_.binding.slots_need != 0) publish(&line->slots, shared_.slots.end, shared_.rank.scope);
      if (shared_.binding.packets_need != 0) publish(&line->packets, shared_.packets.end, shared_.rank.scope);
    }
    shared_.rank.states[shared_.part] = shared_.state;
    if (shared_.part != 0) return;
    DeviceStamp& stamp = shared_.rank.stamps[shared_.state.epoch % kStamps];
    store(&stamp.arrival, shared_.arrival);
    store(&stamp.last_dependency, shared_.last_dependency);
    store(&stamp.exit, device_now_ns());
    publish(&stamp.epoch, shared_.state.epoch, Scope::device);
  }

 private:
  enum class Outcome : uint32_t { passed, blocked, work };

  TUTTI_DEVICE_INLINE Outcome execute(DeviceLane& lane, int& blocked_by) {
    const plan::Step& step = lane.cursor.step();
    const int64_t round = lane.cursor.round();
    const int64_t slice = lane.cursor.slice();
    switch (step.kind) {
      case plan::StepKind::claim:
        return claim(blocked_by);
      case plan::StepKind::copy:
      case plan::StepKind::put:
        return copy(step, round, slice, blocked_by);
      case plan::StepKind::reduce:
        return reduce(step, round, slice);
      case plan::StepKind::signal:
        return signal(step, round, slice);
      case plan::StepKind::wait:
        return wait(step, round, slice, blocked_by);
      case plan::StepKind::put_packets:
      case plan::StepKind::copy_packets:
      case plan::StepKind::reduce_packets:
        return move_packets(step);
      case plan::StepKind::barrier:
        return barrier(lane);
      case plan::StepKind::flush:
        return Outcome::passed;
    }
    return Outcome::passed;
  }

  TUTTI_DEVICE std::byte* address(const plan::Location& location, int64_t round, int64_t slice) const {
    const uint64_t offset = shared_.binding.offset(location, round, slice);
    const DeviceLayout& layout = shared_.rank.layout;
    const bool own = location.rank == shared_.rank.rank;
    const uint64_t begin = uint64_t{shared_.part} * shared_.arguments->part_bytes;
    switch (location.space) {
      case plan::Space::input: {
        const std::byte* input = own ? shared_.arguments->input : shared_.inputs[location.rank];
        return const_cast<std::byte*>(input) + begin +
               offset;  // NOLINT(cppcoreguidelines-pro-type-const-cast)
      }
      case plan::Space::output:
        return (own ? shared_.arguments->output : shared_.outputs[location.rank]) + begin + offset;
      case plan::Space::slots:
        if ((location.rank & plan::kInNetwork) != 0)
          return shared_.rank.network.slots[location.rank ^ plan::kInNetwork] + shared_.slots.offset + offset;
        return layout.slots_of(shared_.window(location.rank), shared_.part) + shared_.slots.offset + offset;
      case plan::Space::packets:
        return layout.packets_of(shared_.window(location.rank), shared_.part) + shared_.packets.offset +
               offset;
    }
    return nullptr;
  }

  TUTTI_DEVICE Outcome copy(const plan::Step& step, int64_t round, int64_t slice, int& blocked_by) {
    const uint64_t bytes =
        shared_.binding.length(step.extent.at(round, slice), slice) * shared_.binding.element;
    if (bytes == 0) return Outcome::passed;
    Work& work = shared_.work;
    work.kind = WorkKind::copy;
    work.count = bytes;
    work.src[0] = address(shared_.program.srcs(step)[0], round, slice);
    work.destinations = 0;
    for (uint32_t i = 0; i < step.dsts; ++i) {
      const plan::Location& location = shared_.program.dsts(step)[i];
      std::byte* to = is_remote(location)
                          ? stage(location, bytes, shared_.binding.offset(location, round, slice))
                          : address(location, round, slice);
      if (to == nullptr) {
        blocked_by = location.rank;
        return Outcome::blocked;
      }
      if (to != work.src[0]) work.dst[work.destinations++] = to;  // else in place
    }
    return work.destinations == 0 ? Outcome::passed : Outcome::work;
  }

  TUTTI_DEVICE Outcome reduce(const plan::Step& step, int64_t round, int64_t slice) {
    const uint64_t count = shared_.binding.length(step.extent.at(round, slice), slice);
    if (count == 0) return Outcome::passed;
    Work& work = shared_.work;
    work.kind = WorkKind::reduce;
    work.count = count;
    work.divisor = step.final ? shared_.arguments->divisor : 0;
    work.sources = step.srcs;
    work.destinations = step.dsts;
    for (uint32_t i = 0; i < step.srcs; ++i)
      work.src[i] = address(shared_.program.srcs(step)[i], round, slice);
    for (uint32_t i = 0; i < step.dsts; ++i)
      work.dst[i] = address(shared_.program.dsts(step)[i], round, slice);
    return Outcome::work;
  }

  TUTTI_DEVICE Outcome move_packets(const plan::Step& step) {
    Work& work = shared_.work;
    const plan::Location* srcs = shared_.program.srcs(step);
    work.kind = step.kind == plan::StepKind::put_packets ? WorkKind::put_packets : WorkKind::reduce_packets;
    work.count = shared_.binding.bytes();
    work.divisor = step.final ? shared_.arguments->divisor : 0;
    work.sources = step.srcs;
    work.dst[0] = address(shared_.program.dsts(step)[0], 0, 0);
    if (work.kind == WorkKind::put_packets) {
      work.src[0] = address(srcs[0], 0, 0);
      return Outcome::work;
    }
    for (uint32_t i = 0; i < step.srcs; ++i) {
      const std::byte* at = address(srcs[i], 0, 0);
      const bool lines = srcs[i].space == plan::Space::packets;
      work.operands[i].lines = lines ? reinterpret_cast<const DevicePacket*>(at) : nullptr;
      work.operands[i].plain = lines ? nullptr : at;
    }
    return Outcome::work;
  }

  TUTTI_DEVICE_INLINE DeviceLine* line_of(const plan::Channel& channel, bool raise) const {
    const DeviceLayout& layout = shared_.rank.layout;
    const auto me = static_cast<uint32_t>(shared_.rank.rank);
    if (channel.kind == plan::ChannelKind::pair) {
      if (!shared_.maps(channel.peer)) return &shared_.rank.network.inboxes[channel.peer].line;
      return raise ? layout.pair(shared_.window(channel.peer), shared_.part, me)
                   : layout.pair(shared_.own_window(), shared_.part, channel.peer);
    }
    return layout.board(raise ? shared_.own_window() : shared_.window(channel.peer), shared_.part);
  }

  TUTTI_DEVICE_INLINE Outcome signal(const plan::Step& step, int64_t round, int64_t slice) {
    const uint64_t value = shared_.base + static_cast<uint64_t>(step.count.at(round, slice)) + 1;
    if (!shared_.maps(step.channel.peer)) {
      post(TriggerKind::signal, step.channel.peer, step.channel.index, value);
      return Outcome::passed;
    }
    DeviceLine* line = line_of(step.channel, true);
    store(&line->tag, shared_.tag);
    if (shared_.arguments->direct != 0 && step.channel.kind == plan::ChannelKind::board) {
      store(&line->input, reinterpret_cast<uint64_t>(shared_.arguments->input));
      store(&line->output, reinterpret_cast<uint64_t>(shared_.arguments->output));
    }
    publish(&line->counters[step.channel.index], value, shared_.rank.scope);
    return Outcome::passed;
  }

  TUTTI_DEVICE_INLINE Outcome wait(const plan::Step& step, int64_t round, int64_t slice, int& blocked_by) {
    const int64_t raises = step.count.at(round, slice) + 1 -
                           (step.credit ? static_cast<int64_t>(shared_.program.header().credits) : 0);
    if (raises <= 0) return Outcome::passed;
    const DeviceLine* line = line_of(step.channel, false);
    const int peer = step.channel.peer;
    const uint64_t value = shared_.base + static_cast<uint64_t>(raises);
    const Scope scope = shared_.maps(peer) ? shared_.rank.scope : Scope::system;
    if (observe(&line->counters[step.channel.index], scope) < value) {
      blocked_by = peer;
      return Outcome::blocked;
    }
    shared_.last_dependency = device_now_ns();
    const uint64_t tag = load(&line->tag);
    if (tag != shared_.tag && (is_same_epoch(tag, shared_.tag) || is_older(tag, shared_.tag))) {
      report_fault(shared_, FaultKind::mismatch, peer);
      return Outcome::blocked;
    }
    if (shared_.arguments->direct != 0 && step.channel.kind == plan::ChannelKind::board) {
      shared_.inputs[peer] = reinterpret_cast<const std::byte*>(load(&line->input));
      shared_.outputs[peer] = reinterpret_cast<std::byte*>(load(&line->output));
    }
    return Outcome::passed;
  }

  TUTTI_DEVICE Outcome claim(int& blocked_by) {
    const PartState& state = shared_.state;
    const bool known =
        shared_.slots.required <= state.known_slots && shared_.packets.required <= state.known_packets;
    if (const int behind = known ? -1 : look_at_retired(); behind >= 0) {
      blocked_by = behind;
      return Outcome::blocked;
    }
    if (shared_.binding.slots_need == 0 || !shared_.program.has_ports()) return Outcome::passed;
    return claim_from_network(blocked_by);
  }

  /// Notes what all ranks of the node have retired; one that has not retired enough, or -1.
  TUTTI_DEVICE_CALL int look_at_retired() {
    int behind = -1;
    uint64_t slots = UINT64_MAX;
    uint64_t packets = UINT64_MAX;
    for (int peer = 0; peer < shared_.rank.ranks; ++peer) {
      if (!shared_.maps(peer)) continue;
      const DeviceRetired* line = shared_.rank.layout.retired_line(shared_.window(peer), shared_.part);
      const uint64_t their_slots = observe(&line->slots, shared_.rank.scope);
      const uint64_t their_packets = observe(&line->packets, shared_.rank.scope);
      if (their_slots < shared_.slots.required || their_packets < shared_.packets.required) behind = peer;
      slots = their_slots < slots ? their_slots : slots;
      packets = their_packets < packets ? their_packets : packets;
    }
    shared_.state.known_slots = slots;
    shared_.state.known_packets = packets;
    return behind;
  }

  TUTTI_DEVICE Outcome barrier(DeviceLane& lane) {
    lane.at_barrier = true;
    const uint32_t lanes = shared_.program.header().lanes;
    for (uint32_t i = 0; i < lanes; ++i) {
      if (!shared_.lanes[i].at_barrier && !shared_.lanes[i].cursor.done()) return Outcome::blocked;
    }
    for (uint32_t i = 0; i < lanes; ++i) {
      // The others stand at the same barrier and pass it on their next turn.
      if (&shared_.lanes[i] != &lane && shared_.lanes[i].at_barrier) shared_.lanes[i].cursor.advance();
      shared_.lanes[i].at_barrier = false;
    }
    return Outcome::passed;
  }

  // ---- to and from other nodes

  TUTTI_DEVICE_INLINE bool is_remote(const plan::Location& to) const {
    return to.space == plan::Space::slots && (to.rank & plan::kInNetwork) == 0 && !shared_.maps(to.rank);
  }

  /// Posts a trigger. Nothing, where the rank gives up.
  TUTTI_DEVICE_CALL void post(TriggerKind kind, uint32_t peer, uint64_t detail, uint64_t value) {
    const DeviceNetwork& network = shared_.rank.network;
    PartState& state = shared_.state;
    while (!try_post(network.triggers, network.capacity, *network.feedback, state.posted, state.consumed,
                     kind, peer, detail, value)) {
      if (!patience_.keep_waiting(static_cast<int>(peer))) return;
    }
  }

  TUTTI_DEVICE_CALL void announce() {
    const auto post_one = [this](Announced field, uint64_t value) {
      post(TriggerKind::announce, 0, static_cast<uint64_t>(field), value);
    };
    post_one(Announced::tag, shared_.tag);
    post_one(Announced::epoch, shared_.state.epoch);
    post_one(Announced::call, shared_.arguments->call);
    post_one(Announced::count, shared_.arguments->count);
  }

  /// Where the bytes of a put are to be staged, and remembers the put; null where there is no room.
  TUTTI_DEVICE_CALL std::byte* stage(const plan::Location& to, uint64_t bytes, uint64_t offset) {
    const DeviceNetwork& network = shared_.rank.network;
    PartState& state = shared_.state;
    const StagingPiece piece = next_piece(state.staged, bytes, network.staging_bytes);
    if (piece.end - state.freed > network.staging_bytes)
      state.freed = observe(&network.feedback->freed, Scope::system);
    if (piece.end - state.freed > network.staging_bytes) return nullptr;
    shared_.put.peer = to.rank;
    shared_.put.bytes = bytes;
    shared_.put.offset = shared_.slots.offset + offset;
    shared_.put.end = piece.end;
    return network.staging + piece.offset;
  }

  TUTTI_DEVICE_CALL void post_put() {
    const StagedPut& put = shared_.put;
    post(TriggerKind::put, put.peer, put.bytes, put.offset);
    shared_.state.staged = put.end;
    shared_.put.bytes = 0;
  }

  /// Lets those write that may put to this rank, and waits to be let. As the host's interpreter does.
  TUTTI_DEVICE_CALL Outcome claim_from_network(int& blocked_by) {
    const DeviceNetwork& network = shared_.rank.network;
    const plan::ProgramHeader& header = shared_.program.header();
    for (uint32_t i = 0; i < header.port_sources; ++i) {
      const uint16_t peer = shared_.program.port_sources()[i];
      const uint64_t granted = network.granted[peer];
      const bool soon = granted + shared_.rank.layout.slots_bytes / 2 < shared_.slots.end;
      if (!soon && granted >= shared_.slots.required) continue;
      static_cast<void>(look_at_retired());
      if (shared_.state.known_slots <= granted) continue;
      network.granted[peer] = shared_.state.known_slots;
      post(TriggerKind::grant, peer, 0, shared_.state.known_slots);
    }
    for (uint32_t i = 0; i < header.port_targets; ++i) {
      const uint16_t peer = shared_.program.port_targets()[i];
      if (observe(&network.inboxes[peer].granted, Scope::system) >= shared_.slots.required) continue;
      blocked_by = peer;
      return Outcome::blocked;
    }
    return Outcome::passed;
  }

  Shared& shared_;
  Patience patience_;
};

// ---- all threads --------------------------------------------------------------------------------------------------------

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
