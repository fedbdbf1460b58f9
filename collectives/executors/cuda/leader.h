// The first thread of a block: walks the lanes of the plan, and turns every step that moves data into a Work for all threads.
//
// Protocol: as the host interpreter's (collectives/executors/host). Counters are raised to base + count + 1; a line's tag is stored before its
// counter; packets carry the tag as flag; scratch is claimed and retired by positions. What the block's threads have stored is ordered before the
// leader's next publish by the block barrier; what the leader has observed is visible to all threads after the next one.
//
// Ranks of other nodes have no window here. What is for them goes as triggers to this rank's progress code (transports/cuda_ipc/fifo.h), and
// what they send it writes to this rank's inboxes and network slots, in pinned memory. The leader stages a put like any copy and posts its
// trigger when all threads have performed it; progress code is awaited only for room, which it makes whatever kernels do.
#pragma once

#include "collectives/executors/cuda/block_state.h"
#include "collectives/executors/cuda/giving_up.h"
#include "collectives/executors/cuda/sync.h"
#include "collectives/executors/cuda/trigger.h"
#include "transports/tag.h"

namespace tutti::cuda {

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
      store(&line->input, shared_.arguments->input_loan);
      store(&line->output, shared_.arguments->output_loan);
    }
    publish(&line->counters[step.channel.index], value, shared_.rank.scope);
    return Outcome::passed;
  }

  /// Where that loan of a peer is here.
  TUTTI_DEVICE_INLINE std::byte* lent(int peer, uint64_t loan) const {
    const uint64_t* registered = shared_.rank.registered;
    if (registered == nullptr) return reinterpret_cast<std::byte*>(loan);
    if (loan == kNoLoan) return nullptr;
    const uint64_t row = loan >> kLoanOffsetBits;
    const uint64_t offset = loan & ((uint64_t{1} << kLoanOffsetBits) - 1);
    return reinterpret_cast<std::byte*>(
               load(&registered[row * static_cast<uint64_t>(shared_.rank.ranks) + peer])) +
           offset;
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
      shared_.inputs[peer] = lent(peer, load(&line->input));
      shared_.outputs[peer] = lent(peer, load(&line->output));
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
}  // namespace tutti::cuda
