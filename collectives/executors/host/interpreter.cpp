#include "collectives/executors/host/interpreter.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>

#include "core/error.h"
#include "transports/tag.h"

namespace tutti::host {

using plan::ChannelKind;
using plan::Location;
using plan::Space;
using plan::Step;
using plan::StepKind;

Interpreter::Interpreter(const Endpoint& endpoint, const reduce::Kernels& kernels)
    : endpoint_(endpoint),
      kernels_(kernels),
      granted_(static_cast<size_t>(endpoint.ranks())),
      sources_(static_cast<size_t>(endpoint.ranks()) + 1) {
  for (LaneState& lane : lanes_) lane.packet_sources.resize(sources_.size());
  awaited_.reserve(kMaxLanes * sources_.size());
}

void Interpreter::start(const Operation& operation) {
  op_ = &operation;
  renewal_stage_ = operation.renewal != 0 ? 1 : 0;
  lane_count_ = operation.plan->lanes.size();
  if (lane_count_ > kMaxLanes)
    raise(Result::internal_error, "a plan of {} lanes; at most {}", lane_count_, kMaxLanes);
  for (size_t i = 0; i < lane_count_; ++i) {
    LaneState& lane = lanes_[i];
    lane.cursor = plan::Cursor(*operation.plan, operation.plan->lanes[i], operation.binding.slices);
    lane.next_packet = 0;
    lane.prepared = false;
    lane.at_barrier = false;
  }
}

Interpreter::Progress Interpreter::advance() {
  if (renewal_stage_ != 0 && !renew_packets()) return Progress::blocked;
  for (;;) {
    bool all_done = true;
    bool moved = false;
    for (size_t i = 0; i < lane_count_; ++i) {
      LaneState& lane = lanes_[i];
      while (!lane.cursor.done() && execute(lane)) {
        lane.cursor.advance();
        moved = true;
      }
      all_done = all_done && lane.cursor.done();
    }
    if (all_done) {
      if (!drained()) return Progress::blocked;
      retire();
      return Progress::done;
    }
    if (mismatched_peer_ >= 0) return Progress::mismatch;
    if (!moved || lane_count_ == 1) return Progress::blocked;
  }
}

bool Interpreter::execute(LaneState& lane) {
  const Step& step = lane.cursor.step();
  const int64_t round = lane.cursor.round();
  const int64_t slice = lane.cursor.slice();
  switch (step.kind) {
    case StepKind::claim:
      return claim();
    case StepKind::copy:
    case StepKind::put:
    case StepKind::reduce:
      return move(step, round, slice);
    case StepKind::signal:
      signal(step, round, slice);
      return true;
    case StepKind::wait:
      return wait(step, round, slice);
    case StepKind::flush:
      return endpoint_.peer(step.channel.peer).port->flushed();
    case StepKind::put_packets:
      put_packets(step);
      return true;
    case StepKind::copy_packets:
    case StepKind::reduce_packets:
      return take_packets(lane, step);
    case StepKind::barrier:
      return barrier(lane);
  }
  return true;
}

/// A peer's is where it has said.
std::byte* Interpreter::user_buffer(const Location& location) const {
  const bool input = location.space == Space::input;
  if (location.rank != endpoint_.rank) {
    const BoardLine& board = *endpoint_.peer(location.rank).board;
    const uint64_t told = (input ? board.input : board.output).load(std::memory_order_relaxed);
    return reinterpret_cast<std::byte*>(told);  // NOLINT(performance-no-int-to-ptr): of this process
  }
  // The caller's input is read only; a location serves for both directions, so constness ends here.
  return input ? const_cast<std::byte*>(op_->input)  // NOLINT(cppcoreguidelines-pro-type-const-cast)
               : op_->output;
}

std::byte* Interpreter::address(const Location& location, int64_t round, int64_t slice) const {
  const Peer& peer = endpoint_.peers[location.rank];
  const uint64_t offset = op_->binding.offset(location, round, slice);
  switch (location.space) {
    case Space::input:
    case Space::output:
      return user_buffer(location) + offset;
    case Space::slots:
      return peer.slots + op_->slots.offset + offset;
    case Space::packets:
      return reinterpret_cast<std::byte*>(peer.packets) + op_->packets.offset + offset;
  }
  return nullptr;
}

bool Interpreter::move(const Step& step, int64_t round, int64_t slice) {
  const bool direct = op_->plan->direct;
  if (direct && !enter_lent(step)) return false;
  if (step.kind == StepKind::reduce) {
    reduce(step, round, slice);
  } else {
    copy(step, round, slice);
  }
  if (direct) publish(endpoint_.self().retired->touching, 0);
  return true;
}

bool Interpreter::is_lent(const Location& place) const {
  return place.rank != endpoint_.rank && (place.space == Space::input || place.space == Space::output);
}

/// Before a step that touches lent buffers; false where one is not lent for this operation, or not any more.
bool Interpreter::enter_lent(const Step& step) {
  Counter& touching = endpoint_.self().retired->touching;
  touching.store(1, std::memory_order_seq_cst);
  const std::span<const Location> places(op_->plan->dsts(step).data(), size_t{step.dsts} + step.srcs);
  for (const Location& place : places) {
    if (!is_lent(place)) continue;
    const uint64_t lent = endpoint_.peer(place.rank).board->lent.load(std::memory_order_seq_cst);
    if (lent == op_->tag) continue;
    publish(touching, 0);
    // Who has withdrawn has spread an error or is leaving; who lends for another operation called another one.
    if (lent != kWithdrawn) mismatched_peer_ = place.rank;
    return false;
  }
  return true;
}

void Interpreter::withdraw() {
  if (op_ == nullptr || !op_->plan->direct) return;
  endpoint_.self().board->lent.store(kWithdrawn, std::memory_order_seq_cst);
  for (const int rank : endpoint_.mapped) {
    while (endpoint_.peer(rank).retired->touching.load(std::memory_order_seq_cst) != 0) sched_yield();
  }
}

void Interpreter::copy(const Step& step, int64_t round, int64_t slice) {
  const uint64_t bytes = op_->binding.length(step.extent.at(round, slice), slice) * op_->binding.element;
  if (bytes == 0) return;
  const std::byte* from = address(op_->plan->srcs(step)[0], round, slice);
  for (const Location& location : op_->plan->dsts(step)) {
    if (Port* port = endpoint_.peer(location.rank).port; port != nullptr) {
      port->put(from, bytes, op_->slots.offset + op_->binding.offset(location, round, slice));
      continue;
    }
    std::byte* to = address(location, round, slice);
    if (to == from) continue;  // in place
    kernels_.copy(to, from, bytes, location.space == Space::output ? op_->store : reduce::Store::cached);
  }
}

void Interpreter::reduce(const Step& step, int64_t round, int64_t slice) {
  const uint64_t count = op_->binding.length(step.extent.at(round, slice), slice);
  if (count == 0) return;
  const auto srcs = op_->plan->srcs(step);
  const auto dsts = op_->plan->dsts(step);
  for (size_t i = 0; i < srcs.size(); ++i) sources_[i] = address(srcs[i], round, slice);
  reduce::ReduceJob job = {.dst = address(dsts[0], round, slice),
                           .dst2 = nullptr,
                           .src = sources_.data(),
                           .sources = static_cast<int>(srcs.size()),
                           .count = count,
                           .divisor = step.final ? op_->divisor : 0,
                           .store = dsts[0].space == Space::output ? op_->store : reduce::Store::cached};
  if (op_->plan->direct && dsts.size() > 1) return reduce_to_all(step, round, slice, job);
  if (dsts.size() > 1) job.dst2 = address(dsts[1], round, slice);
  op_->reduce(job);
}

/// In pieces: each is folded to the first destination and to a buffer that stays in cache, and copied from there to the others. In
/// place is safe, because a piece of every source has been read before a second destination is written.
void Interpreter::reduce_to_all(const Step& step, int64_t round, int64_t slice, reduce::ReduceJob job) {
  const uint32_t element = op_->binding.element;
  const auto others = op_->plan->dsts(step).subspan(1);
  auto* const first = static_cast<std::byte*>(job.dst);
  const size_t all = job.count;
  for (size_t done = 0; done < all; done += job.count) {
    const size_t offset = done * element;
    job.count = std::min(all - done, kPieceBytes / element);
    job.dst = first + offset;
    job.dst2 = piece_.data();
    op_->reduce(job);
    for (const Location& to : others) {
      kernels_.copy(address(to, round, slice) + offset, piece_.data(), job.count * element,
                    to.space == Space::output ? op_->store : reduce::Store::cached);
    }
    for (size_t i = 0; i < step.srcs; ++i) {
      sources_[i] = static_cast<const std::byte*>(sources_[i]) + job.count * element;
    }
  }
}

void Interpreter::signal(const Step& step, int64_t round, int64_t slice) {
  const uint64_t value = op_->base + static_cast<uint64_t>(step.count.at(round, slice)) + 1;
  if (Port* port = endpoint_.peer(step.channel.peer).port; port != nullptr) {
    port->signal(step.channel.index, value, op_->info);
  } else if (step.channel.kind == ChannelKind::pair) {
    PairLine& line = *endpoint_.peers[step.channel.peer].to;
    line.tag.store(op_->tag, std::memory_order_relaxed);
    publish(line.counters[step.channel.index], value);
    endpoint_.wake(step.channel.peer);
  } else {
    BoardLine& line = *endpoint_.self().board;
    line.tag.store(op_->tag, std::memory_order_relaxed);
    if (op_->plan->direct) {
      line.input.store(reinterpret_cast<uintptr_t>(op_->input), std::memory_order_relaxed);
      line.output.store(reinterpret_cast<uintptr_t>(op_->output), std::memory_order_relaxed);
      line.lent.store(op_->tag, std::memory_order_relaxed);
    }
    publish(line.counters[step.channel.index], value);
    endpoint_.wake_all();
  }
}

/// The counter value a wait step awaits; op_->base where it awaits nothing.
uint64_t Interpreter::awaited_value(const Step& step, int64_t round, int64_t slice) const {
  const int64_t raises = step.count.at(round, slice) + 1 - (step.credit ? op_->plan->credits : 0);
  return op_->base + static_cast<uint64_t>(std::max<int64_t>(raises, 0));
}

bool Interpreter::wait(const Step& step, int64_t round, int64_t slice) {
  const uint64_t value = awaited_value(step, round, slice);
  if (value == op_->base) return true;
  const Peer& peer = endpoint_.peers[step.channel.peer];
  const bool pair = step.channel.kind == ChannelKind::pair;
  const Counter& counter =
      pair ? peer.from->counters[step.channel.index] : peer.board->counters[step.channel.index];
  if (!reached(counter, value)) return false;
  const uint64_t tag = (pair ? peer.from->tag : peer.board->tag).load(std::memory_order_relaxed);
  if (tag != op_->tag && (is_same_epoch(tag, op_->tag) || is_older(tag, op_->tag))) [[unlikely]] {
    mismatched_peer_ = step.channel.peer;
    return false;
  }
  return true;
}

bool Interpreter::claimed(const Peer& peer) const {
  return reached(peer.retired->slots, op_->slots.required) &&
         reached(peer.retired->packets, op_->packets.required);
}

bool Interpreter::node_has_retired() {
  uint64_t slots = UINT64_MAX;
  uint64_t packets = UINT64_MAX;
  for (const int rank : endpoint_.mapped) {
    const RetiredLine& line = *endpoint_.peer(rank).retired;
    slots = std::min(slots, line.slots.load(std::memory_order_acquire));
    packets = std::min(packets, line.packets.load(std::memory_order_acquire));
  }
  known_slots_ = slots;
  known_packets_ = packets;
  return op_->slots.required <= known_slots_ && op_->packets.required <= known_packets_;
}

/// Lets those write that may put to this rank: what its node has retired. When half of the ring is left to them, so that the grant
/// is there before they need it, and once per lap instead of once per operation.
void Interpreter::grant() {
  for (const int peer : op_->plan->port_sources) {
    uint64_t& granted = granted_[static_cast<size_t>(peer)];
    const bool soon = granted + endpoint_.slots_size / 2 < op_->slots.end;
    if (!soon && granted >= op_->slots.required) continue;
    node_has_retired();
    if (known_slots_ <= granted) continue;
    granted = known_slots_;
    endpoint_.peer(peer).port->grant(granted);
  }
}

bool Interpreter::is_granted(int peer) const {
  return reached(endpoint_.peer(peer).inbox->granted, op_->slots.required);
}

bool Interpreter::claim() {
  const bool known = op_->slots.required <= known_slots_ && op_->packets.required <= known_packets_;
  if (!known && !node_has_retired()) return false;
  if (op_->binding.slots_need == 0) return true;
  grant();
  const auto& targets = op_->plan->port_targets;
  return std::all_of(targets.begin(), targets.end(), [&](int peer) { return is_granted(peer); });
}

void Interpreter::put_packets(const Step& step) {
  const Location& to = op_->plan->dsts(step)[0];
  kernels_.put_packets(reinterpret_cast<Packet*>(address(to, 0, 0)), address(op_->plan->srcs(step)[0], 0, 0),
                       op_->binding.bytes(), op_->tag);
  endpoint_.wake_all();
}

/// A reader that polls the first of many lines drags them, and the next ones by prefetching, from under the hands of the
/// writer, who then fetches each line back. So it polls the last line, which is written last, and then reads them all.
bool Interpreter::last_packets_arrived(const LaneState& lane, size_t sources) const {
  const size_t last = packets_for(op_->binding.bytes()) - 1;
  if (last == 0) return true;
  for (size_t i = 0; i < sources; ++i) {
    const Packet* lines = lane.packet_sources[i].lines;
    if (lines != nullptr && lines[last].flag.load(std::memory_order_acquire) != op_->tag) return false;
  }
  return true;
}

bool Interpreter::take_packets(LaneState& lane, const Step& step) {
  const auto srcs = op_->plan->srcs(step);
  if (!lane.prepared) {
    for (size_t i = 0; i < srcs.size(); ++i) {
      const std::byte* at = address(srcs[i], 0, 0);
      lane.packet_sources[i] = srcs[i].space == Space::packets
                                   ? reduce::PacketSource{reinterpret_cast<const Packet*>(at), nullptr}
                                   : reduce::PacketSource{nullptr, at};
    }
    lane.next_packet = 0;
    lane.prepared = true;
  }
  if (!last_packets_arrived(lane, srcs.size())) return false;
  const reduce::PacketJob job = {.dst = address(op_->plan->dsts(step)[0], 0, 0),
                                 .src = lane.packet_sources.data(),
                                 .sources = static_cast<int>(srcs.size()),
                                 .bytes = op_->binding.bytes(),
                                 .flag = op_->tag,
                                 .divisor = step.final ? op_->divisor : 0};
  lane.next_packet = op_->reduce_packets(job, lane.next_packet);
  if (lane.next_packet != packets_for(job.bytes)) return false;
  lane.prepared = false;
  return true;
}

bool Interpreter::barrier(LaneState& lane) {
  lane.at_barrier = true;
  for (size_t i = 0; i < lane_count_; ++i) {
    if (!lanes_[i].at_barrier && !lanes_[i].cursor.done()) return false;
  }
  for (size_t i = 0; i < lane_count_; ++i) {
    // The others stand at the same barrier and pass it on their next turn.
    if (&lanes_[i] != &lane && lanes_[i].at_barrier) lanes_[i].cursor.advance();
    lanes_[i].at_barrier = false;
  }
  return true;
}

/// True once what was sent to `peer` has left its sources and depends on this rank no more.
bool Interpreter::is_done_with(int peer) const {
  Port& port = *endpoint_.peer(peer).port;
  return port.drained() && port.flushed();
}

/// True once that holds for all that this operation sent: its buffers are its user's again, and its scratch is that of later operations.
bool Interpreter::drained() const {
  const auto is_drained = [&](int peer) { return is_done_with(peer); };
  const plan::Plan& plan = *op_->plan;
  return std::all_of(plan.port_targets.begin(), plan.port_targets.end(), is_drained) &&
         std::all_of(plan.port_sources.begin(), plan.port_sources.end(), is_drained);
}

void Interpreter::retire() {
  RetiredLine& line = *endpoint_.self().retired;
  if (op_->binding.slots_need != 0) publish(line.slots, op_->slots.end);
  if (op_->binding.packets_need != 0) publish(line.packets, op_->packets.end);
  publish(line.finished, op_->info.epoch);
  endpoint_.wake_all();
}

/// The low half of the epoch has wrapped: a flag left from 2^32 operations ago could pass for a new one. Everybody waits
/// until all have finished the operations before, clears the own packets, and waits until all have done so.
bool Interpreter::renew_packets() {
  RetiredLine& mine = *endpoint_.self().retired;
  const auto all_reached = [&](uint64_t value) {
    return std::all_of(endpoint_.mapped.begin(), endpoint_.mapped.end(),
                       [&](int rank) { return reached(endpoint_.peer(rank).retired->renewal, value); });
  };
  if (renewal_stage_ == 1) {
    publish(mine.renewal, 2 * op_->renewal - 1);
    endpoint_.wake_all();
    renewal_stage_ = 2;
  }
  if (renewal_stage_ == 2) {
    if (!all_reached(2 * op_->renewal - 1)) return false;
    Packet* packets = endpoint_.self().packets;
    for (size_t i = 0; i < endpoint_.packets_size / sizeof(Packet); ++i) publish(packets[i].flag, 0);
    publish(mine.renewal, 2 * op_->renewal);
    endpoint_.wake_all();
    renewal_stage_ = 3;
  }
  if (!all_reached(2 * op_->renewal)) return false;
  renewal_stage_ = 0;
  return true;
}

void Interpreter::add_awaited(const LaneState& lane, std::vector<int>& ranks) const {
  if (lane.cursor.done()) return;
  const Step& step = lane.cursor.step();
  const auto srcs = op_->plan->srcs(step);
  if (step.kind == StepKind::wait || step.kind == StepKind::flush) ranks.push_back(step.channel.peer);
  if (step.kind == StepKind::claim) {
    for (const int p : endpoint_.mapped) {
      if (!claimed(endpoint_.peer(p))) ranks.push_back(p);
    }
    for (const int p : op_->plan->port_targets) {
      if (!is_granted(p)) ranks.push_back(p);
    }
  }
  if (op_->plan->direct) {
    // A step that touches buffers stops only where one is not lent.
    for (const auto places : {op_->plan->dsts(step), srcs}) {
      for (const Location& place : places) {
        if (is_lent(place) &&
            endpoint_.peer(place.rank).board->lent.load(std::memory_order_acquire) != op_->tag)
          ranks.push_back(place.rank);
      }
    }
  }
  if (step.kind == StepKind::copy_packets || step.kind == StepKind::reduce_packets) {
    for (size_t i = 0; i < srcs.size(); ++i) {
      const Packet* lines = lane.packet_sources[i].lines;
      if (lines == nullptr) continue;
      if (lines[lane.next_packet].flag.load(std::memory_order_acquire) != op_->tag)
        ranks.push_back(srcs[i].rank);
    }
  }
}

/// After the last step: those that what was sent has not left for.
void Interpreter::add_undrained(std::vector<int>& ranks) const {
  for (const auto* peers : {&op_->plan->port_targets, &op_->plan->port_sources}) {
    for (const int peer : *peers) {
      if (!is_done_with(peer)) ranks.push_back(peer);
    }
  }
}

bool Interpreter::is_draining() const {
  const auto is_done = [](const LaneState& lane) { return lane.cursor.done(); };
  return renewal_stage_ == 0 &&
         std::all_of(lanes_.begin(), lanes_.begin() + static_cast<ptrdiff_t>(lane_count_), is_done);
}

const std::vector<int>& Interpreter::awaited() const {
  std::vector<int>& ranks = awaited_;
  ranks.clear();
  if (renewal_stage_ != 0) {
    const uint64_t value = renewal_stage_ == 2 ? 2 * op_->renewal - 1 : 2 * op_->renewal;
    for (const int p : endpoint_.mapped) {
      if (!reached(endpoint_.peer(p).retired->renewal, value)) ranks.push_back(p);
    }
    return ranks;
  }
  for (size_t i = 0; i < lane_count_; ++i) add_awaited(lanes_[i], ranks);
  if (ranks.empty()) add_undrained(ranks);
  std::sort(ranks.begin(), ranks.end());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  return ranks;
}

std::string Interpreter::position() const {
  if (renewal_stage_ != 0) return "renewal of packets";
  for (size_t i = 0; i < lane_count_; ++i) {
    const plan::Cursor& cursor = lanes_[i].cursor;
    if (cursor.done()) continue;
    return fmt::format("step {} ({}), slice {} of {}", cursor.step_index(), name_of(cursor.step().kind),
                       cursor.slice(), op_->binding.slices);
  }
  return "the last sends";
}

}  // namespace tutti::host
