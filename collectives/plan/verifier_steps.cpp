// One step of one lane: what it awaits, which bytes it touches on whose behalf, and what they hold afterwards.
#include <fmt/format.h>

#include <algorithm>

#include "collectives/plan/verifier_run.h"
#include "transports/packet.h"

namespace tutti::plan {

Verification::Turn Verification::turn_of(uint32_t rank, uint32_t lane) {
  RankRun& run = runs_[rank];
  LaneRun& self = run.lanes[lane];
  const Operation& operation = operations_[run.operation];
  return {rank,
          lane,
          run,
          self,
          *operation.plans[rank],
          operation.binding,
          self.cursor.step(),
          self.cursor.round(),
          self.cursor.slice()};
}

bool Verification::act(uint32_t rank, uint32_t lane) {
  Turn turn = turn_of(rank, lane);
  bool done = true;
  switch (turn.step.kind) {
    case StepKind::claim:
      done = claim(turn);
      break;
    case StepKind::signal:
      signal(turn);
      break;
    case StepKind::wait:
      done = wait(turn);
      break;
    case StepKind::flush:
      flush(turn);
      break;
    case StepKind::barrier:
      done = barrier(turn);
      break;
    case StepKind::copy:
    case StepKind::put:
    case StepKind::reduce:
      move(turn);
      break;
    case StepKind::put_packets:
    case StepKind::copy_packets:
    case StepKind::reduce_packets:
      done = move_packets(turn);
      break;
  }
  if (done) turn.self.cursor.advance();
  return done;
}

uint32_t Verification::new_event(uint32_t rank, uint32_t lane, uint32_t step, int64_t round, int64_t slice) {
  events_.push_back({runs_[rank].operation, rank, lane, step, round, slice});
  return static_cast<uint32_t>(events_.size() - 1);
}

Accessor Verification::accessor(const LaneRun& lane, uint32_t event) const {
  return {lane.component, lane.component, lane.clock[lane.component], lane.clock.data(), event};
}

// A put sees what its lane has seen, but the lane does not see the put until it has signalled the peer. Between nodes
// nothing orders two puts with each other: each has a tick of its own.
Verification::Posted Verification::post(const Turn& turn, uint32_t peer, uint32_t event) {
  const uint32_t component = engine(turn.rank, turn.lane, peer);
  const Tick* const clock = turn.self.clock.data();
  if (turn.plan.mapped(static_cast<int>(turn.rank), static_cast<int>(peer))) {
    const Accessor both{component, component, engine_ticks_[component], clock, event};
    return {both, both};
  }
  const Tick tick = ++engine_ticks_[component];
  return {{kNobody, leaving(component), tick, clock, event},
          {kNobody, arriving(component), tick, clock, event}};
}

// ---- signal, wait, barrier

void Verification::signal(Turn& turn) {
  const Channel& channel = turn.step.channel;
  const bool pair = channel.kind == ChannelKind::pair;
  const int64_t count = turn.step.count.at(turn.round, turn.slice);
  if (channel.peer >= ranks_ || channel.index >= (pair ? kPairChannels : kBoardChannels)) {
    report(Fault::counter, turn, "names a channel that does not exist");
    return;
  }
  if (!pair && channel.peer != turn.rank) {
    report(Fault::counter, turn,
           fmt::format("raises the board of rank {}, whose only writer is that rank", channel.peer));
    return;
  }
  ChannelCounter& counter = pair ? counters_.pair(turn.rank, channel.peer, channel.index)
                                 : counters_.board(turn.rank, channel.index);
  if (counter.operation != turn.run.operation) {
    counter.operation = turn.run.operation;
    counter.lane = turn.lane;
    counter.raises = 0;
  }
  if (counter.lane != turn.lane) {
    report(Fault::counter, turn, fmt::format("raises a channel that lane {} raises too", counter.lane));
    return;
  }
  if (count != counter.raises) {
    report(Fault::counter, turn,
           fmt::format("raises {} {} towards rank {} for the {}th time, but with count {}",
                       pair ? "pair channel" : "board", channel.index, channel.peer, counter.raises, count));
    return;
  }
  if (static_cast<uint64_t>(count) >= turn.binding.ticks) {
    report(Fault::counter, turn,
           fmt::format("raise {} is beyond the {} of the operation", count, turn.binding.ticks));
    return;
  }
  ++counter.raises;
  counter.value = placing_[turn.run.operation].base + static_cast<uint64_t>(count) + 1;
  const uint32_t put = pair ? engine(turn.rank, turn.lane, channel.peer) : kNobody;
  const bool ported = put != kNobody && !turn.plan.mapped(static_cast<int>(turn.rank), channel.peer);
  if (put != kNobody && !ported) turn.self.clock[put] = engine_ticks_[put]++;
  const Snapshots::Id released = ported ? carrying(turn.self, put) : snapshots_.take(turn.self.clock);
  counter.history.push_back({counter.value, released, turn.run.operation});
  Lent& lent = lent_[turn.run.operation][turn.rank];
  if (!pair && turn.plan.direct && lent.component == kNobody) {
    lent = {turn.self.component, turn.self.clock[turn.self.component]};
  }
  release(turn.self);
}

// The raise that a wait is about; false where there is none to wait for.
bool Verification::awaited(const Turn& turn, int64_t& count) const {
  count = turn.step.count.at(turn.round, turn.slice);
  if (turn.step.credit) count -= turn.plan.credits;
  return !(turn.step.credit && count < 0);
}

ChannelCounter& Verification::counter_of_wait(const Turn& turn) {
  const Channel& channel = turn.step.channel;
  return channel.kind == ChannelKind::pair ? counters_.pair(channel.peer, turn.rank, channel.index)
                                           : counters_.board(channel.peer, channel.index);
}

bool Verification::wait(Turn& turn) {
  const Channel& channel = turn.step.channel;
  const bool pair = channel.kind == ChannelKind::pair;
  if (channel.peer >= ranks_ || channel.index >= (pair ? kPairChannels : kBoardChannels)) {
    report(Fault::counter, turn, "names a channel that does not exist");
    return true;
  }
  int64_t count = 0;
  if (!awaited(turn, count)) return true;
  if (count < 0 || static_cast<uint64_t>(count) >= turn.binding.ticks) {
    report(Fault::counter, turn,
           fmt::format("awaits raise {}, but the operation has raises [0, {})", count, turn.binding.ticks));
    return true;
  }
  ChannelCounter& counter = counter_of_wait(turn);
  const uint64_t value = placing_[turn.run.operation].base + static_cast<uint64_t>(count) + 1;
  if (counter.value < value) return false;
  const auto from = counter.history.begin() + static_cast<std::ptrdiff_t>(counter.forgotten);
  const auto raise = std::lower_bound(from, counter.history.end(), value,
                                      [](const Raise& r, uint64_t wanted) { return r.value < wanted; });
  if (raise->operation != turn.run.operation) {
    // A raise of this operation was never made; only what the peer does in a later one lets this rank go on.
    report(
        Fault::counter, turn,
        fmt::format("raise {} of rank {} comes only in operation {}", count, channel.peer, raise->operation));
  }
  join(turn.self.clock, snapshots_.at(raise->released));
  // A pair channel has one reader; if that is one lane, it has seen all that these raises released.
  if (pair && most_lanes_ == 1) {
    const auto end = static_cast<size_t>(raise - counter.history.begin());
    while (counter.forgotten < end) snapshots_.give_back(counter.history[counter.forgotten++].released);
  }
  return true;
}

bool Verification::barrier(Turn& turn) {
  RankRun& run = turn.run;
  LaneRun& self = turn.self;
  if (!self.at_barrier) {
    self.at_barrier = true;
    self.awaited = run.barriers + 1;
    join(run.barrier_clock, self.clock.data());
    release(self);
    if (++run.arrived == turn.plan.lanes.size()) {
      ++run.barriers;
      run.arrived = 0;
      run.released = run.barrier_clock;
    }
  }
  if (run.barriers < self.awaited) return false;
  join(self.clock, run.released.data());
  self.at_barrier = false;
  return true;
}

// ---- copy, put, reduce

void Verification::move(Turn& turn) {
  const int64_t chunk = turn.step.extent.at(turn.round, turn.slice);
  if (chunk < 0 || chunk >= turn.plan.chunks) {
    report(Fault::location, turn, fmt::format("extent is chunk {} of {}", chunk, turn.plan.chunks));
    return;
  }
  const uint64_t bytes = turn.binding.length(chunk, turn.slice) * turn.binding.element;
  if (bytes == 0) return;
  dst_ranges_.clear();
  src_ranges_.clear();
  for (const bool to : {true, false}) {
    for (const Location& location : to ? turn.plan.dsts(turn.step) : turn.plan.srcs(turn.step)) {
      Range range;
      if (!resolve(turn, location, bytes, range)) return;
      (to ? dst_ranges_ : src_ranges_).push_back(range);
    }
  }
  if (!disjoint(turn, dst_ranges_, src_ranges_)) return;

  const uint32_t event =
      new_event(turn.rank, turn.lane, turn.self.cursor.step_index(), turn.round, turn.slice);
  const Accessor lane = accessor(turn.self, event);
  const bool posted = turn.step.kind == StepKind::put;
  if (posted && dst_ranges_.back().location->rank == turn.rank) {
    report(Fault::location, turn, "the last destination of a put must be a peer's window");
    return;
  }
  const Posted put = posted ? post(turn, dst_ranges_.back().location->rank, event) : Posted{lane, lane};
  for (const Range& range : src_ranges_) {
    if (!posted || dst_ranges_.size() > 1) read(range, lane, turn);
    if (posted) read(range, put.reads, turn);
  }
  fold_cells(turn, src_ranges_);
  for (const Range& range : dst_ranges_) {
    if (turn.step.kind == StepKind::copy && range.cells == src_ranges_[0].cells) continue;  // in place
    write(range, &range == &dst_ranges_.back() ? put.writes : lane, turn);
    for (size_t i = 0; i < folded_.size(); ++i) range.cells[i].value = folded_[i];
  }
}

void Verification::fold_cells(Turn& turn, std::span<const Range> srcs) {
  const bool reduces = turn.step.kind == StepKind::reduce;
  bool complained = false;
  folded_.clear();
  for (size_t i = 0; i < srcs[0].bytes / grain_; ++i) {
    Value sum = take(srcs[0].cells[i].value, turn, *srcs[0].location, complained);
    for (size_t k = 1; k < srcs.size(); ++k) {
      const Value next = take(srcs[k].cells[i].value, turn, *srcs[k].location, complained);
      if (next.index != sum.index && !complained) {
        report(Fault::data, turn,
               fmt::format("folds bytes {} and {} together", sum.index * grain_, next.index * grain_));
        complained = true;
      }
      sum.expression = values_.fold(sum.expression, next.expression);
    }
    if (reduces) {
      sum.expression = turn.step.final ? values_.final(sum.expression) : values_.rounded(sum.expression);
    }
    folded_.push_back(sum);
  }
}

// What a step reads must have been stored by this operation.
Value Verification::take(const Value& value, Turn& turn, const Location& from, bool& complained) {
  if (!complained && (value.expression == kUndefined || value.operation != turn.run.operation)) {
    complained = true;
    report(Fault::data, turn,
           value.expression == kUndefined
               ? fmt::format("reads undefined data in memory of rank {}", from.rank)
               : fmt::format("reads stale data of operation {} in memory of rank {}", value.operation,
                             from.rank));
  }
  return {value.expression, value.index, turn.run.operation};
}

bool Verification::resolve(Turn& turn, const Location& location, uint64_t bytes, Range& range) {
  const int64_t index = location.index.at(turn.round, turn.slice);
  const Binding& binding = turn.binding;
  if (location.rank >= ranks_) {
    report(Fault::location, turn, fmt::format("rank {} does not exist", location.rank));
    return false;
  }
  if (location.space == Space::packets) {
    report(Fault::location, turn, "packets are only for packet steps");
    return false;
  }
  if (location.space == Space::slots) {
    const uint64_t offset = binding.slot_offset(location.area, index);
    if (location.area >= turn.plan.areas || index < 0 || bytes > binding.slot_bytes ||
        offset + bytes > binding.slots_need) {
      report(Fault::location, turn,
             fmt::format("slot {} of area {} of {} areas, {} bytes: outside the scratch", index,
                         location.area, turn.plan.areas, bytes));
      return false;
    }
    const uint64_t begin = placing_[turn.run.operation].slots.offset + offset;
    range = {slots_[location.rank].data() + begin / grain_, begin, bytes, &location};
    return true;
  }
  if (index < 0 || index >= turn.plan.chunks) {
    report(Fault::location, turn, fmt::format("chunk {} of {}", index, turn.plan.chunks));
    return false;
  }
  return resolve_user(turn, location, binding.user_offset(index, turn.slice), bytes, range);
}

// A peer's input or output: only where the plan says so, and after a raise of that peer's board that told where they are.
bool Verification::may_touch(Turn& turn, const Location& location) {
  if (location.rank == turn.rank) return true;
  const bool moves = turn.step.kind == StepKind::copy || turn.step.kind == StepKind::reduce;
  if (!turn.plan.direct || !moves) {
    report(
        Fault::location, turn,
        fmt::format("touches a buffer of rank {}: only copy and reduce of a direct plan may", location.rank));
    return false;
  }
  const Lent& lent = lent_[turn.run.operation][location.rank];
  if (lent.component != kNobody && turn.self.clock[lent.component] >= lent.tick) return true;
  report(Fault::race, turn,
         fmt::format("touches the {} of rank {} before a board of that rank has told where it is",
                     location.space == Space::input ? "input" : "output", location.rank));
  return false;
}

bool Verification::resolve_user(Turn& turn, const Location& location, uint64_t begin, uint64_t bytes,
                                Range& range) {
  if (!may_touch(turn, location)) return false;
  const uint32_t k = turn.run.operation;
  const bool input = location.space == Space::input || operations_[k].in_place;
  Buffer& buffer = (input ? inputs_ : outputs_)[k][location.rank];
  if (!buffer.open) {
    report(Fault::race, turn,
           fmt::format("touches the {} of rank {}, which has {} the operation",
                       location.space == Space::input ? "input" : "output", location.rank,
                       runs_[location.rank].operation > k ? "returned from" : "not entered"));
    return false;
  }
  if (begin + bytes > turn.binding.bytes()) {
    report(Fault::location, turn,
           fmt::format("bytes [{}, {}) of a user buffer of {}", begin, begin + bytes, turn.binding.bytes()));
    return false;
  }
  range = {buffer.cells.data() + begin / grain_, begin, bytes, &location};
  return true;
}

// Destinations must not overlap; a source may be the very destination (in place), but not overlap it shifted.
bool Verification::disjoint(Turn& turn, std::span<const Range> dsts, std::span<const Range> srcs) {
  const auto overlap = [](const Range& a, const Range& b, uint64_t cells) {
    return a.cells < b.cells + cells && b.cells < a.cells + cells;
  };
  for (size_t i = 0; i < dsts.size(); ++i) {
    const uint64_t cells = dsts[i].bytes / grain_;
    for (size_t j = i + 1; j < dsts.size(); ++j) {
      if (!overlap(dsts[i], dsts[j], cells)) continue;
      report(Fault::location, turn, "two destinations overlap");
      return false;
    }
    for (const Range& src : srcs) {
      if (src.cells == dsts[i].cells || !overlap(dsts[i], src, cells)) continue;
      report(Fault::location, turn, "a source overlaps a destination shifted");
      return false;
    }
  }
  return true;
}

void Verification::read(const Range& range, const Accessor& who, Turn& turn) {
  Conflict conflict;
  for (size_t i = 0; i < range.bytes / grain_; ++i) accesses_.read(range.cells[i].shadow, who, conflict);
  if (conflict.found) report_race(turn, range, false, conflict);
}

void Verification::write(const Range& range, const Accessor& who, Turn& turn) {
  Conflict conflict;
  for (size_t i = 0; i < range.bytes / grain_; ++i) accesses_.write(range.cells[i].shadow, who, conflict);
  if (conflict.found) report_race(turn, range, true, conflict);
}

}  // namespace tutti::plan
