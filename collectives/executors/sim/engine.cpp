// The event loop: set-up, events, the life of an operation. What the steps do is in engine_steps.cpp.
#include "collectives/executors/sim/engine.h"

#include <algorithm>

#include "collectives/plan/printer.h"
#include "core/error.h"

namespace tutti::sim {

namespace {
constexpr uint32_t kSignature = 0x51;
constexpr int kBlockedShown = 8;

/// Streams of random numbers: lanes first, then ranks.
constexpr uint64_t kRankStreams = uint64_t{1} << 32;

bool holds(std::span<const uint16_t> ranks, uint16_t rank) {
  return std::find(ranks.begin(), ranks.end(), rank) != ranks.end();
}

/// Of all ranks, as the plan knows them; or none.
std::span<const uint16_t> nodes_of(const plan::Plan& plan) {
  if (!plan.nodes.empty() && plan.nodes.size() != plan.ranks) {
    raise(Result::invalid_argument, "simulate: a plan of {} ranks has nodes of {}", plan.ranks,
          plan.nodes.size());
  }
  return plan.nodes;
}
}  // namespace

Engine::Engine(std::span<const Operation> operations, const Model& model, const Scratch& scratch)
    : model_(model),
      scratch_(scratch),
      n_(operations.front().plans.size()),
      network_(static_cast<int>(n_), model,
               n_ == 0 ? std::span<const uint16_t>() : nodes_of(operations.front().plans[0])),
      flight_(n_),
      ranks_(n_),
      nodes_(static_cast<size_t>(network_.nodes())),
      boards_(n_ * plan::kBoardChannels),
      posts_(n_) {
  for (const Operation& operation : operations) check(operation, operations.front().plans[0].nodes);
  for (size_t r = 0; r < n_; ++r) ++nodes_[node_of(r)].ranks;
  prepare(operations);
  lanes_.resize(n_ * lanes_per_rank_);
  for (size_t i = 0; i < lanes_.size(); ++i) lanes_[i].noise = Random(model_.seed, i);
  for (size_t r = 0; r < n_; ++r) ranks_[r].arrivals = Random(model_.seed, kRankStreams + r);
  if (data_) memory_ = std::make_unique<Memory>(n_, scratch.slots_bytes, scratch.packets_bytes);
}

void Engine::check(const Operation& operation, std::span<const uint16_t> nodes) const {
  if (operation.plans.size() != n_ || n_ == 0) {
    raise(Result::invalid_argument, "simulate: every operation needs the plans of all {} ranks, not of {}",
          n_, operation.plans.size());
  }
  for (size_t r = 0; r < n_; ++r) {
    const plan::Plan& plan = operation.plans[r];
    if (plan.rank != r || plan.ranks != n_) {
      raise(Result::invalid_argument, "simulate: plan {} is that of rank {} of {}, expected rank {} of {}", r,
            plan.rank, plan.ranks, r, n_);
    }
    check_ports(operation, plan, nodes);
  }
  const auto one_per_rank = [this](size_t size) { return size == 0 || size == n_; };
  if (!one_per_rank(operation.buffers.size()) || !one_per_rank(operation.delay.size())) {
    raise(Result::invalid_argument,
          "simulate: buffers ({}) and delays ({}) must be given for all {} ranks or for none",
          operation.buffers.size(), operation.delay.size(), n_);
  }
  const auto element = static_cast<uint32_t>(size_of(operation.type));
  if (!plan::fits(operation.plans[0], operation.count, element, scratch_.limits)) {
    raise(Result::invalid_argument, "simulate: {} bytes do not fit the scratch of algorithm {}",
          operation.count * element, name_of(operation.plans[0].algorithm));
  }
}

void Engine::check_ports(const Operation& operation, const plan::Plan& plan,
                         std::span<const uint16_t> nodes) const {
  if (!std::equal(plan.nodes.begin(), plan.nodes.end(), nodes.begin(), nodes.end())) {
    raise(Result::invalid_argument, "simulate: the plan of rank {} has other nodes than the first plan",
          plan.rank);
  }
  if (!plan.nodes.empty() && model_.ranks_per_node != 0) {
    raise(Result::invalid_argument, "simulate: {} ranks per node, but the plans place them themselves",
          model_.ranks_per_node);
  }
  for (const uint16_t target : plan.port_targets) {
    const bool known = target < n_ && holds(operation.plans[target].port_sources, plan.rank);
    if (known && !plan.mapped(plan.rank, target)) continue;
    raise(Result::invalid_argument, "simulate: rank {} puts to rank {}, which does not expect it", plan.rank,
          target);
  }
}

void Engine::prepare(std::span<const Operation> operations) {
  // An operation may write its scratch when all ranks have retired the position that the ring requires; they
  // retire the ends of operations, so it waits for the first operation that ends there or later.
  struct Use {
    uint64_t end;
    size_t epoch;
  };
  struct Pool {
    plan::Ring ring;
    std::vector<Use> uses;
  };
  Pool slots{plan::Ring(scratch_.slots_bytes), {}};
  Pool packets{plan::Ring(scratch_.packets_bytes), {}};
  const auto take = [&](Pool& pool, uint64_t need, Epoch& epoch) {
    if (need == 0) return plan::Extent{};
    if (need > pool.ring.size()) {
      raise(Result::invalid_argument, "simulate: an operation needs {} bytes of scratch, the ring has {}",
            need, pool.ring.size());
    }
    const plan::Extent extent = pool.ring.take(need);
    if (extent.required != 0) {
      const auto use = std::lower_bound(pool.uses.begin(), pool.uses.end(), extent.required,
                                        [](const Use& u, uint64_t position) { return u.end < position; });
      epoch.claimed_from =
          epoch.claimed_from == kNone ? use->epoch : std::max(use->epoch, epoch.claimed_from);
    }
    pool.uses.push_back({extent.end, epochs_.size()});
    return extent;
  };

  uint64_t base = 0;
  for (const Operation& operation : operations) {
    Epoch epoch;
    epoch.operation = &operation;
    epoch.binding = plan::bind(operation.plans[0], operation.count,
                               static_cast<uint32_t>(size_of(operation.type)), scratch_.limits);
    epoch.base = base;
    epoch.slots = take(slots, epoch.binding.slots_need, epoch);
    epoch.packets = take(packets, epoch.binding.packets_need, epoch);
    epoch.by_node.resize(nodes_.size());
    epoch.flag = (uint64_t{epochs_.size()} + 1) << 32 | kSignature;
    base += epoch.binding.ticks;
    data_ = data_ || !operation.buffers.empty();
    for (const plan::Plan& plan : operation.plans) {
      lanes_per_rank_ = std::max(lanes_per_rank_, static_cast<uint32_t>(plan.lanes.size()));
    }
    epochs_.push_back(std::move(epoch));
    report_.operations.push_back({std::vector<Time>(n_), std::vector<Time>(n_)});
  }
}

Report Engine::run() {
  for (size_t r = 0; r < n_; ++r) schedule_entry(r, 0, 0);
  while (!events_.empty()) {
    const Event event = events_.top();
    events_.pop();
    handle(event);
  }
  if (epochs_.back().retired != n_) deadlock();
  report_.max_in_flight = flight_.most();
  report_.traffic = network_.traffic();
  report_.cards = network_.cards();
  return std::move(report_);
}

void Engine::push(Time time, What what, uint32_t subject) {
  const bool of_data = what == What::deliver || what == What::leave;
  const uint64_t after_deliveries = of_data ? 0 : uint64_t{1} << 63;
  events_.push({time, after_deliveries | order_++, subject, what});
}

void Engine::handle(const Event& event) {
  switch (event.what) {
    case What::enter:
      return enter(event.subject, event.time);
    case What::act:
      return act(event.subject, event.time);
    case What::resume:
      return advance(event.subject, event.time);
    case What::begin:
      return begin(event.subject, event.time);
    case What::end:
      return end(event.subject, event.time);
    case What::retire:
      return retire(event.subject, event.time);
    case What::leave:
      return leave(event.subject);
    case What::deliver:
      return deliver(event.subject);
  }
}

void Engine::schedule_entry(size_t rank, size_t epoch, Time now) {
  if (epoch == epochs_.size()) return;
  const Operation& operation = *epochs_[epoch].operation;
  if (epoch != 0) now += model_.gap;
  if (model_.arrival != 0) now += ranks_[rank].arrivals.exponential(model_.arrival);
  if (!operation.delay.empty()) now += operation.delay[rank];
  push(now, What::enter, static_cast<uint32_t>(rank));
}

void Engine::enter(size_t rank, Time now) {
  Rank& self = ranks_[rank];
  ++self.epoch;  // from kNone to 0
  const Epoch& epoch = epochs_[self.epoch];
  report_.operations[self.epoch].entry[rank] = now;
  const plan::Plan& plan = epoch.operation->plans[rank];
  self.lanes_running = static_cast<uint32_t>(plan.lanes.size());
  for (size_t i = 0; i < plan.lanes.size(); ++i) {
    const auto lane = static_cast<uint32_t>(rank * lanes_per_rank_ + i);
    lanes_[lane].cursor = plan::Cursor(plan, plan.lanes[i], epoch.binding.slices);
    start_step(lane, now);
  }
}

void Engine::start_step(uint32_t lane, Time now) {
  Lane& self = lanes_[lane];
  if (self.cursor.done()) {
    if (--ranks_[rank_of(lane)].lanes_running == 0) finish(rank_of(lane), now);
    return;
  }
  ++report_.steps;
  Time delay = model_.step;
  if (model_.noise.probability > 0) {
    // Both are always drawn: the same steps are hit whatever the magnitude.
    const bool hit = self.noise.uniform() <= model_.noise.probability;
    const Time held_up = self.noise.exponential(model_.noise.mean);
    if (hit) delay += held_up;
  }
  push(now + delay, What::act, lane);
}

void Engine::advance(uint32_t lane, Time now) {
  lanes_[lane].cursor.advance();
  start_step(lane, now);
}

/// All lanes have ended: so has the operation, once its puts have left their sources.
void Engine::finish(size_t rank, Time now) {
  if (ranks_[rank].left <= now) return retire(rank, now);
  push(ranks_[rank].left, What::retire, static_cast<uint32_t>(rank));
}

void Engine::retire(size_t rank, Time now) {
  const size_t index = ranks_[rank].epoch;
  Epoch& epoch = epochs_[index];
  report_.operations[index].exit[rank] = now;
  flight_.settle(rank);
  ++epoch.retired;
  Node& node = nodes_[node_of(rank)];
  Retired& retired = epoch.by_node[node_of(rank)];
  retired.last_rank = rank;
  retired.last_time = now;
  if (++retired.ranks == node.ranks) {
    if (epoch.binding.slots_need != 0) node.emptied.push_back({epoch.slots.end, now});
    for (const uint32_t lane : retired.parked) push(now + alpha(rank, rank_of(lane)), What::act, lane);
    retired.parked.clear();
  }
  schedule_entry(rank, index + 1, now);
}

std::string Engine::position(uint32_t lane) {
  const plan::Cursor& cursor = lanes_[lane].cursor;
  return fmt::format("rank {} lane {} in operation {}: {}", rank_of(lane), lane % lanes_per_rank_,
                     ranks_[rank_of(lane)].epoch,
                     describe(plan_of(lane), cursor.step(), cursor.round(), cursor.slice()));
}

void Engine::fail(uint32_t lane, std::string_view what) {
  raise(Result::internal_error, "simulate: {}: {}", position(lane), what);
}

void Engine::deadlock() {
  std::string blocked;
  int count = 0;
  for (uint32_t lane = 0; lane < lanes_.size(); ++lane) {
    if (ranks_[rank_of(lane)].epoch == kNone) continue;
    if (lane % lanes_per_rank_ >= plan_of(lane).lanes.size() || lanes_[lane].cursor.done()) continue;
    if (++count <= kBlockedShown) blocked += "\n  " + position(lane);
  }
  if (count > kBlockedShown) blocked += fmt::format("\n  and {} more", count - kBlockedShown);
  raise(Result::internal_error, "simulate: deadlock, {} lanes wait for ever:{}", count, blocked);
}

}  // namespace tutti::sim
