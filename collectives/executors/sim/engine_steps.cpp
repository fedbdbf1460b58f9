// What the simulated steps do: see the table in sim/model.h for their costs.
#include <algorithm>
#include <cstring>

#include "collectives/executors/sim/engine.h"
#include "core/error.h"

namespace tutti::sim {

using plan::Location;
using plan::Space;
using plan::Step;
using plan::StepKind;

namespace {
bool moves_packets(const Step& step) {
  return step.kind == StepKind::put_packets || step.kind == StepKind::copy_packets ||
         step.kind == StepKind::reduce_packets;
}
}  // namespace

void Engine::act(uint32_t lane, Time now) {
  switch (lanes_[lane].cursor.step().kind) {
    case StepKind::claim:
      return claim(lane, now);
    case StepKind::signal:
      return signal(lane, now);
    case StepKind::wait:
      return wait(lane, now);
    case StepKind::barrier:
      return barrier(lane, now);
    case StepKind::flush:
      return flush(lane, now);
    case StepKind::copy_packets:
    case StepKind::reduce_packets:
      return await_packets(lane, now);
    case StepKind::copy:
    case StepKind::put:
    case StepKind::reduce:
    case StepKind::put_packets:
      return begin(lane, now);
  }
}

// Awaits the ranks of its node, then grants, then awaits the grants of others. A lane that has to wait looks again from the start.
void Engine::claim(uint32_t lane, Time now) {
  const Epoch& epoch = epoch_of(lane);
  const size_t me = rank_of(lane);
  if (epoch.claimed_from != kNone) {
    Retired& awaited = epochs_[epoch.claimed_from].by_node[node_of(me)];
    if (awaited.ranks != nodes_[node_of(me)].ranks) {
      awaited.parked.push_back(lane);
      return;
    }
    const Time seen = awaited.last_time + alpha(awaited.last_rank, me);
    if (seen > now) return push(seen, What::act, lane);
  }
  if (epoch.binding.slots_need != 0) {
    grant(lane, now);
    for (const uint16_t target : plan_of(lane).port_targets) {
      if (!await_grant(lane, target, now)) return;
    }
  }
  advance(lane, now);
}

/// What the own node has retired, once half of the ring is left to those who may put here, or they need it now.
void Engine::grant(uint32_t lane, Time now) {
  const size_t me = rank_of(lane);
  Rank& self = ranks_[me];
  const std::vector<Node::Emptied>& emptied = nodes_[node_of(me)].emptied;
  for (; self.heard_of < emptied.size() && emptied[self.heard_of].time + model_.near.alpha <= now;
       ++self.heard_of) {
    self.emptied = emptied[self.heard_of].position;
  }
  const plan::Extent& slots = epoch_of(lane).slots;
  self.emptied = std::max(self.emptied, slots.required);  // that much the claim has just awaited
  for (const uint16_t source : plan_of(lane).port_sources) {
    Timeline& granted = grants_[me * n_ + source];
    const bool soon = granted.value() + scratch_.slots_bytes / 2 < slots.end;
    if ((!soon && granted.value() >= slots.required) || self.emptied <= granted.value()) continue;
    granted.raise(self.emptied, now, now - model_.far.alpha,
                  [&](uint32_t waiter) { push(now + alpha(me, source), What::act, waiter); });
  }
}

/// True where the grant of `target` has come; otherwise the lane will look again.
bool Engine::await_grant(uint32_t lane, size_t target, Time now) {
  const size_t me = rank_of(lane);
  const uint64_t required = epoch_of(lane).slots.required;
  if (required == 0) return true;
  Timeline& granted = grants_[target * n_ + me];
  const auto given = granted.reached(required);
  if (!given) {
    granted.await(lane, required);
    return false;
  }
  const Time seen = *given + alpha(target, me);
  if (seen > now) push(seen, What::act, lane);
  return seen <= now;
}

Timeline& Engine::channel(size_t rank, const Step& step) {
  const plan::Channel& channel = step.channel;
  if (channel.kind == plan::ChannelKind::board)
    return boards_[channel.peer * plan::kBoardChannels + channel.index];
  const bool raises = step.kind == StepKind::signal;
  const size_t from = raises ? rank : channel.peer;
  const size_t to = raises ? channel.peer : rank;
  return pairs_[(from * n_ + to) * plan::kPairChannels + channel.index];
}

void Engine::signal(uint32_t lane, Time now) {
  const plan::Cursor& cursor = lanes_[lane].cursor;
  const Step& step = cursor.step();
  const size_t me = rank_of(lane);
  Timeline& counter = channel(me, step);
  // Raises are numbered without gaps, so a lost one is found here and not merely makes somebody wait longer.
  const int64_t count = step.count.at(cursor.round(), cursor.slice());
  const uint64_t base = epoch_of(lane).base;
  const uint64_t value = base + static_cast<uint64_t>(count) + 1;
  const uint64_t expected = std::max(counter.value(), base) + 1;
  if (value != expected) {
    fail(lane,
         fmt::format("this should be raise {} of the counter", static_cast<int64_t>(expected - base) - 1));
  }
  const Time horizon = now - std::max(model_.near.alpha, model_.far.alpha);
  Time raised = now;
  if (step.channel.kind == plan::ChannelKind::pair &&
      !plan_of(lane).mapped(static_cast<int>(me), step.channel.peer)) {
    raised = std::max(now, ports_[me * n_ + step.channel.peer].crossed);
  }
  counter.raise(value, raised, horizon,
                [&](uint32_t waiter) { push(raised + alpha(me, rank_of(waiter)), What::resume, waiter); });
  advance(lane, now);
}

void Engine::wait(uint32_t lane, Time now) {
  const plan::Cursor& cursor = lanes_[lane].cursor;
  const Step& step = cursor.step();
  int64_t raise = step.count.at(cursor.round(), cursor.slice());
  if (step.credit) raise -= plan_of(lane).credits;
  if (raise < 0) return advance(lane, now);
  const size_t me = rank_of(lane);
  const uint64_t value = epoch_of(lane).base + static_cast<uint64_t>(raise) + 1;
  Timeline& counter = channel(me, step);
  if (const auto raised = counter.reached(value)) {
    push(std::max(now, *raised + alpha(step.channel.peer, me)), What::resume, lane);
  } else {
    counter.await(lane, value);
  }
}

void Engine::barrier(uint32_t lane, Time now) {
  std::vector<uint32_t>& waiting = ranks_[rank_of(lane)].at_barrier;
  waiting.push_back(lane);
  if (waiting.size() < plan_of(lane).lanes.size()) return;
  for (const uint32_t each : waiting) push(now, What::resume, each);
  waiting.clear();
}

void Engine::flush(uint32_t lane, Time now) {
  const Time left = ports_[rank_of(lane) * n_ + lanes_[lane].cursor.step().channel.peer].left;
  push(std::max(now, left), What::resume, lane);
}

void Engine::await_packets(uint32_t lane, Time now) {
  Lane& self = lanes_[lane];
  const size_t epoch = ranks_[rank_of(lane)].epoch;
  self.missing = 0;
  self.ready = now;
  for (const Location& source : plan_of(lane).srcs(self.cursor.step())) {
    if (source.space != Space::packets) continue;
    Post& post = posts_[source.rank][window_offset(lane, source)];
    if (post.epoch == epoch) {
      self.ready = std::max(self.ready, post.time);
    } else {
      post.waiters.push_back({lane, epoch});
      ++self.missing;
    }
  }
  if (self.missing == 0) push(self.ready, What::begin, lane);
}

void Engine::post(uint32_t lane, const Location& place, Time now) {
  const size_t epoch = ranks_[rank_of(lane)].epoch;
  Post& post = posts_[place.rank][window_offset(lane, place)];
  post.epoch = epoch;
  post.time = now + alpha(rank_of(lane), place.rank);
  std::erase_if(post.waiters, [&](const Post::Waiter& waiter) {
    if (waiter.epoch != epoch) return false;
    Lane& reader = lanes_[waiter.lane];
    reader.ready = std::max(reader.ready, post.time);
    if (--reader.missing == 0) push(reader.ready, What::begin, waiter.lane);
    return true;
  });
}

uint64_t Engine::elements(uint32_t lane) {
  const plan::Cursor& cursor = lanes_[lane].cursor;
  return epoch_of(lane).binding.length(cursor.step().extent.at(cursor.round(), cursor.slice()),
                                       cursor.slice());
}

Time Engine::book(uint32_t lane, Time now) {
  const Step& step = lanes_[lane].cursor.step();
  const plan::Plan& plan = plan_of(lane);
  const size_t me = rank_of(lane);
  const uint64_t bytes = elements(lane) * epoch_of(lane).binding.element;
  if (bytes == 0 && !moves_packets(step)) return now;
  const auto size_at = [&](const Location& place) {
    return place.space == Space::packets ? packets_for(bytes) * sizeof(Packet) : bytes;
  };
  uint64_t touched = 0;
  Time last = now;
  Time request = 0;
  for (const Location& source : plan.srcs(step)) {
    touched += size_at(source);
    if (source.rank == me) continue;
    last = std::max(last, network_.send(source.rank, static_cast<int>(me), size_at(source), now).crossed);
    request = std::max(request, alpha(source.rank, me));
  }
  const Location* const apart = posted(lane);
  for (const Location& target : plan.dsts(step)) {
    if (&target == apart) continue;
    touched += size_at(target);
    if (target.rank == me) continue;
    last = std::max(last, network_.send(static_cast<int>(me), target.rank, size_at(target), now).crossed);
  }
  if (apart != nullptr && step.dsts == 1) return last + request;  // nothing passes through the lane
  return std::max(last, now + duration_of(touched, model_.memory)) + request;
}

void Engine::begin(uint32_t lane, Time now) {
  const Step& step = lanes_[lane].cursor.step();
  if (elements(lane) != 0) {
    for (const Location& target : plan_of(lane).dsts(step)) {
      if (target.space == Space::slots)
        flight_.write(target.rank, window_offset(lane, target), rank_of(lane), now);
    }
  }
  if (!epoch_of(lane).operation->buffers.empty()) load(lane);
  if (posted(lane) != nullptr) put(lane, now);
  push(book(lane, now), What::end, lane);
}

void Engine::end(uint32_t lane, Time now) {
  const Step& step = lanes_[lane].cursor.step();
  if (elements(lane) != 0 && posted(lane) == nullptr) {
    for (const Location& source : plan_of(lane).srcs(step)) {
      if (source.space == Space::slots)
        flight_.read(source.rank, window_offset(lane, source), rank_of(lane), now);
    }
  }
  if (!epoch_of(lane).operation->buffers.empty()) store(lane, now);
  if (step.kind == StepKind::put_packets) post(lane, plan_of(lane).dsts(step)[0], now);
  advance(lane, now);
}

uint64_t Engine::window_offset(uint32_t lane, const Location& place) {
  const plan::Cursor& cursor = lanes_[lane].cursor;
  const Epoch& epoch = epoch_of(lane);
  const plan::Extent& extent = place.space == Space::slots ? epoch.slots : epoch.packets;
  return extent.offset + epoch.binding.offset(place, cursor.round(), cursor.slice());
}

std::byte* Engine::address(uint32_t lane, const Location& place) {
  if (place.space == Space::slots) return memory_->slots(place.rank, window_offset(lane, place));
  if (place.space == Space::packets) return memory_->packets(place.rank, window_offset(lane, place));
  const plan::Cursor& cursor = lanes_[lane].cursor;
  const Epoch& epoch = epoch_of(lane);
  const Rank& owner = ranks_[place.rank];
  if (owner.epoch != ranks_[rank_of(lane)].epoch || owner.lanes_running == 0) {
    fail(lane, fmt::format("rank {} is not in this operation: its buffers are its caller's", place.rank));
  }
  const Buffers& buffers = epoch.operation->buffers[place.rank];
  const void* base = place.space == Space::input ? buffers.input : buffers.output;
  if (base == nullptr && elements(lane) != 0) fail(lane, "there is no such buffer on this rank");
  // Operands and targets share this function; only targets are written through the result.
  auto* bytes = static_cast<std::byte*>(const_cast<void*>(base));
  return elements(lane) == 0 ? bytes : bytes + epoch.binding.offset(place, cursor.round(), cursor.slice());
}

void Engine::load(uint32_t lane) {
  Lane& self = lanes_[lane];
  const Step& step = self.cursor.step();
  const Operation& operation = *epoch_of(lane).operation;
  const bool divides = step.final && operation.op == ReduceOp::avg;
  self.move.reset({.type = operation.type,
                   .op = operation.op,
                   .count = elements(lane),
                   .divisor = divides ? static_cast<uint32_t>(n_) : 0,
                   .flag = epoch_of(lane).flag});
  const bool reads_packets = step.kind == StepKind::copy_packets || step.kind == StepKind::reduce_packets;
  for (const Location& source : plan_of(lane).srcs(step)) {
    if (source.space == Space::packets) {
      self.move.add_packets(address(lane, source));
    } else if (reads_packets) {
      self.move.add_plain_to_packets(address(lane, source));
    } else {
      self.move.add_source(address(lane, source));
    }
  }
  if (!moves_packets(step)) self.move.begin();
}

void Engine::store(uint32_t lane, Time now) {
  Lane& self = lanes_[lane];
  const Step& step = self.cursor.step();
  if (step.kind == StepKind::put_packets) {
    self.move.end_post();
  } else if (!moves_packets(step)) {
    self.move.end();
  } else if (!self.move.end_read()) {
    fail(lane, "a packet was overwritten before it was read");
  }
  const size_t size = self.move.result_bytes();
  if (size == 0) return;
  const Location* const apart = posted(lane);
  for (const Location& target : plan_of(lane).dsts(step)) {
    if (&target == apart) continue;
    const Time visible = now + alpha(rank_of(lane), target.rank);
    if (visible == now) {
      std::memcpy(address(lane, target), self.move.result(), size);
    } else {
      send_data(address(lane, target), self.move.result(), size, visible);
    }
  }
}

uint32_t Engine::new_delivery(std::byte* to, size_t size) {
  if (free_deliveries_.empty()) {
    free_deliveries_.push_back(static_cast<uint32_t>(deliveries_.size()));
    deliveries_.emplace_back();
  }
  const uint32_t index = free_deliveries_.back();
  free_deliveries_.pop_back();
  Delivery& delivery = deliveries_[index];
  delivery.to = to;
  delivery.size = size;
  delivery.bytes.resize(size);
  return index;
}

void Engine::send_data(std::byte* to, const std::byte* from, size_t size, Time visible) {
  const uint32_t index = new_delivery(to, size);
  std::memcpy(deliveries_[index].bytes.data(), from, size);
  push(visible, What::deliver, index);
}

/// The second half of a posted put is read when the last byte leaves its source, the first half when it was posted.
void Engine::leave(uint32_t index) {
  Delivery& delivery = deliveries_[index];
  const size_t half = delivery.size / 2;
  std::memcpy(delivery.bytes.data() + half, delivery.from + half, delivery.size - half);
  push(delivery.there, What::deliver, index);
}

void Engine::deliver(uint32_t index) {
  Delivery& delivery = deliveries_[index];
  std::memcpy(delivery.to, delivery.bytes.data(), delivery.size);
  free_deliveries_.push_back(index);
}

// ---- Puts to other nodes

const Location* Engine::posted(uint32_t lane) {
  const Step& step = lanes_[lane].cursor.step();
  if (step.kind != StepKind::put) return nullptr;
  const plan::Plan& plan = plan_of(lane);
  const Location& last = plan.dsts(step).back();
  return plan.mapped(plan.rank, last.rank) ? nullptr : &last;
}

void Engine::put(uint32_t lane, Time now) {
  const uint64_t bytes = elements(lane) * epoch_of(lane).binding.element;
  if (bytes == 0) return;
  const size_t me = rank_of(lane);
  const Location& source = plan_of(lane).srcs(lanes_[lane].cursor.step())[0];
  const Location& target = *posted(lane);
  const Crossing crossing = network_.send(static_cast<int>(me), target.rank, bytes, now);
  Port& port = ports_[me * n_ + target.rank];
  port.left = std::max(port.left, crossing.left);
  port.crossed = std::max(port.crossed, crossing.crossed);
  ranks_[me].left = std::max(ranks_[me].left, crossing.left);
  if (source.space == Space::slots) {
    flight_.read(source.rank, window_offset(lane, source), me, crossing.left);
  }
  if (epoch_of(lane).operation->buffers.empty()) return;
  const uint32_t index = new_delivery(address(lane, target), bytes);
  Delivery& delivery = deliveries_[index];
  delivery.from = address(lane, source);
  delivery.there = crossing.crossed + alpha(me, target.rank);
  std::memcpy(delivery.bytes.data(), delivery.from, bytes / 2);
  push(crossing.left, What::leave, index);
}

}  // namespace tutti::sim
