#include "collectives/plan/verifier.h"

#include <fmt/format.h>

#include <algorithm>

#include "collectives/plan/verifier_run.h"
#include "core/error.h"
#include "transports/packet.h"

namespace tutti::plan {

Verdict verify(std::span<const Operation> operations, const Scratch& scratch, size_t most) {
  return Verification(operations, scratch, most).run();
}

Verification::Verification(std::span<const Operation> operations, const Scratch& scratch, size_t most)
    : operations_(operations),
      scratch_(scratch),
      most_(most),
      ranks_(operations.empty() ? 0 : static_cast<uint32_t>(operations[0].plans.size())),
      snapshots_(0),
      counters_(ranks_),
      values_(ranks_) {
  if (ranks_ == 0) raise(Result::invalid_argument, "verify: there must be an operation of at least one rank");
  grain_ = kCacheLine;
  for (const Operation& operation : operations) {
    if (operation.plans.size() != ranks_ ||
        std::count(operation.plans.begin(), operation.plans.end(), nullptr) != 0) {
      raise(Result::invalid_argument, "verify: every operation needs the plans of all {} ranks", ranks_);
    }
    grain_ = std::min<uint64_t>(grain_, operation.binding.element);
  }
  agree_ = nodes_agree();
  if (!agree_) return;
  place();
  lay_components();
  snapshots_ = Snapshots(components_);
  for (auto* buffers : {&inputs_, &outputs_}) buffers->assign(operations.size(), std::vector<Buffer>(ranks_));
  slots_.assign(ranks_, std::vector<Cell>(scratch.slots_bytes / grain_));
  packets_.assign(ranks_, std::vector<Line>(scratch.packets_bytes / kCacheLine));
  lent_.assign(operations.size(), std::vector<Lent>(ranks_));
  entries_.assign(operations.size(), std::vector<Tick>(ranks_, 0));
  results_.resize(operations.size());
}

// The same allocations as every rank makes.
void Verification::place() {
  Ring slots(std::max<uint64_t>(scratch_.slots_bytes, 1));
  Ring packets(std::max<uint64_t>(scratch_.packets_bytes, 1));
  uint64_t base = 0;
  for (const Operation& operation : operations_) {
    const Binding& binding = operation.binding;
    if (binding.slots_need > scratch_.slots_bytes || binding.packets_need > scratch_.packets_bytes) {
      raise(Result::invalid_argument,
            "verify: an operation needs {} bytes of slots and {} of packets, there are {} and {}",
            binding.slots_need, binding.packets_need, scratch_.slots_bytes, scratch_.packets_bytes);
    }
    placing_.push_back({slots.take(binding.slots_need), packets.take(binding.packets_need), base});
    base += binding.ticks;
  }
}

// One component for every lane, and one for every (lane, peer) that posts puts; two where the peer is on another node.
void Verification::lay_components() {
  for (const Operation& operation : operations_) {
    for (const Plan* plan : operation.plans) most_lanes_ = std::max(most_lanes_, plan->lanes.size());
  }
  engines_.assign(size_t{ranks_} * most_lanes_ * ranks_, kNobody);
  components_ = ranks_ * most_lanes_;
  for (const Operation& operation : operations_) {
    for (uint32_t r = 0; r < ranks_; ++r) lay_engines(r, *operation.plans[r]);
  }
  engine_ticks_.assign(components_, 1);
  runs_.resize(ranks_);
  for (uint32_t r = 0; r < ranks_; ++r) {
    RankRun& run = runs_[r];
    run.lanes.resize(most_lanes_);
    run.barrier_clock.assign(components_, 0);
    run.released.assign(components_, 0);
    for (uint32_t lane = 0; lane < most_lanes_; ++lane) {
      run.lanes[lane].component = static_cast<uint32_t>(r * most_lanes_ + lane);
      run.lanes[lane].clock.assign(components_, 0);
      run.lanes[lane].clock[run.lanes[lane].component] = 1;
    }
  }
}

void Verification::lay_engines(uint32_t rank, const Plan& plan) {
  for (const Step& step : plan.steps) {
    if (step.kind != StepKind::put || step.dsts == 0 || plan.dsts(step).back().rank >= ranks_) continue;
    const uint32_t target = plan.dsts(step).back().rank;
    const uint32_t components = plan.mapped(static_cast<int>(rank), static_cast<int>(target)) ? 1 : 2;
    for (uint32_t lane = 0; lane < plan.lanes.size(); ++lane) {
      uint32_t& component = engine(rank, lane, target);
      if (component != kNobody) continue;
      component = static_cast<uint32_t>(components_);
      components_ += components;
    }
  }
}

Verdict Verification::run() {
  if (!agree_) return std::move(verdict_);
  check_shapes();
  for (uint32_t k = 0; k < operations_.size(); ++k) {
    for (uint32_t r = 0; r < ranks_; ++r) check_ports(k, r);
  }
  // What crosses nodes by an impossible way has no meaning that could be followed any further.
  if (verdict_.has(Fault::location)) return std::move(verdict_);
  bool moved = true;
  while (moved && !full()) {
    moved = false;
    for (uint32_t r = 0; r < ranks_ && !full(); ++r) moved = progress(r) || moved;
  }
  if (!full()) report_deadlock();
  return std::move(verdict_);
}

void Verification::check_shapes() {
  for (size_t k = 0; k < operations_.size(); ++k) {
    const Plan& first = *operations_[k].plans[0];
    for (uint32_t r = 0; r < ranks_ && !full(); ++r) {
      const Plan& plan = *operations_[k].plans[r];
      if (plan.rank == r && plan.ranks == ranks_ && plan.collective == first.collective &&
          plan.algorithm == first.algorithm && plan.root == first.root && plan.chunks == first.chunks &&
          plan.areas == first.areas && plan.packet_areas == first.packet_areas &&
          plan.credits == first.credits && plan.uses_per_slice == first.uses_per_slice &&
          plan.whole == first.whole && plan.direct == first.direct) {
        continue;
      }
      report(Fault::shape,
             fmt::format("operation {}: the plan of rank {} does not belong to the plan of rank 0", k, r));
      return;  // one is enough to say so; the rest of the check goes on
    }
  }
}

// Runs a rank until nothing of it can go on.
bool Verification::progress(uint32_t rank) {
  RankRun& run = runs_[rank];
  bool moved = false;
  while (!full()) {
    if (!run.inside) {
      if (run.operation == operations_.size()) return moved;
      enter(rank);
    }
    const size_t lanes = operations_[run.operation].plans[rank]->lanes.size();
    bool acted = false;
    bool done = true;
    for (uint32_t lane = 0; lane < lanes; ++lane) {
      while (!run.lanes[lane].cursor.done() && !full() && act(rank, lane)) acted = true;
      done = done && run.lanes[lane].cursor.done();
    }
    if (done && !full()) leave(rank);
    if (!acted && !done) return moved;
    moved = true;
  }
  return moved;
}

void Verification::enter(uint32_t rank) {
  RankRun& run = runs_[rank];
  const Operation& operation = operations_[run.operation];
  const Plan& plan = *operation.plans[rank];
  const size_t cells = operation.binding.bytes() / grain_;
  Buffer& input = inputs_[run.operation][rank];
  Buffer& output = outputs_[run.operation][rank];
  input = {true, std::vector<Cell>(cells)};
  if (!operation.in_place) output = {true, std::vector<Cell>(cells)};
  for (size_t i = 0; i < cells; ++i) {
    input.cells[i].value = {values_.leaf(rank), static_cast<uint32_t>(i), run.operation};
    if (!operation.in_place) output.cells[i].value = {kUndefined, static_cast<uint32_t>(i), run.operation};
  }
  LaneRun& caller = run.lanes[0];
  entries_[run.operation][rank] = caller.clock[caller.component];
  caller_access(rank, kEntry);
  for (size_t lane = 1; lane < plan.lanes.size(); ++lane) join(run.lanes[lane].clock, caller.clock.data());
  release(caller);
  for (size_t lane = 0; lane < plan.lanes.size(); ++lane) {
    run.lanes[lane].cursor = Cursor(plan, plan.lanes[lane], operation.binding.slices);
    run.lanes[lane].line = 0;
    run.lanes[lane].at_barrier = false;
  }
  run.barriers = 0;
  run.arrived = 0;
  run.inside = true;
}

void Verification::leave(uint32_t rank) {
  RankRun& run = runs_[rank];
  LaneRun& caller = run.lanes[0];
  const size_t lanes = operations_[run.operation].plans[rank]->lanes.size();
  for (size_t lane = 1; lane < lanes; ++lane) {
    join(caller.clock, run.lanes[lane].clock.data());
    release(run.lanes[lane]);
  }
  flush_all(rank);
  run.retired.push_back(snapshots_.take(caller.clock));
  release(caller);
  caller_access(rank, kReturn);
  check_result(rank);
  check_ordering(rank);
  inputs_[run.operation][rank] = {};
  outputs_[run.operation][rank] = {};
  run.inside = false;
  ++run.operation;
}

// Entry and return: the caller writes everything.
void Verification::caller_access(uint32_t rank, uint32_t step) {
  const RankRun& run = runs_[rank];
  const uint32_t event = new_event(rank, 0, step, 0, 0);
  const Accessor who = accessor(run.lanes[0], event);
  for (auto* buffers : {&inputs_, &outputs_}) {
    Buffer& buffer = (*buffers)[run.operation][rank];
    Conflict conflict;
    for (Cell& cell : buffer.cells) {
      accesses_.write(cell.shadow, who, conflict);
      if (!conflict.found) continue;
      report(Fault::race, fmt::format("{} is not ordered with the {} by {}", describe(events_[event]),
                                      conflict.write ? "write" : "read", describe(events_[conflict.event])));
      return;
    }
  }
}

void Verification::check_result(uint32_t rank) {
  const uint32_t k = runs_[rank].operation;
  const Operation& operation = operations_[k];
  const Buffer& input = inputs_[k][rank];
  const Buffer& output = operation.in_place ? input : outputs_[k][rank];
  if (operation.plans[0]->collective == Collective::barrier) return;
  if (results_[k].empty()) results_[k].assign(output.cells.size(), kUndefined);
  Expression last = kUndefined;
  const size_t before = verdict_.violations.size();
  for (size_t i = 0; i < output.cells.size() && verdict_.violations.size() == before; ++i) {
    check_cell(rank, input, output, i, last);
  }
}

void Verification::check_cell(uint32_t rank, const Buffer& input, const Buffer& output, size_t cell,
                              Expression& last) {
  const uint32_t k = runs_[rank].operation;
  const Operation& operation = operations_[k];
  const auto where = [&](const char* what) {
    return fmt::format("operation {}: {} of rank {}, byte {}", k, what, rank, cell * grain_);
  };
  const Value& in = input.cells[cell].value;
  if (!operation.in_place && (in.expression != values_.leaf(rank) || in.index != cell)) {
    report(Fault::data, where("input") + " was changed");
  }
  const Value& out = output.cells[cell].value;
  if (out.expression == kUndefined || out.index != cell) {
    report(Fault::data, fmt::format("{} holds {} of byte {}", where("output"), values_.text(out.expression),
                                    out.index * grain_));
    return;
  }
  if (operation.plans[0]->collective == Collective::broadcast) {
    if (out.expression == values_.leaf(operation.plans[0]->root)) return;
    report(Fault::data,
           fmt::format("{} holds {}, not the root's data", where("output"), values_.text(out.expression)));
    return;
  }
  Expression& expected = results_[k][cell];
  if (expected == kUndefined) expected = out.expression;
  if (expected != out.expression) {
    report(Fault::data, fmt::format("{} holds {}, but another rank holds {}", where("output"),
                                    values_.text(out.expression), values_.text(expected)));
    return;
  }
  if (out.expression == last && operation.order != OperandOrder::from_chunk) return;
  last = out.expression;
  const std::string wrong = wrong_all_reduce(out.expression, cell, operation);
  if (!wrong.empty()) {
    report(Fault::data, fmt::format("{} holds {}: {}", where("output"), values_.text(out.expression), wrong));
  }
}

std::string Verification::wrong_all_reduce(Expression value, size_t cell, const Operation& operation) {
  const Values::Summary& summary = values_.summary(value);
  if (!summary.once) return "not every rank's element exactly once";
  // With one rank there is nothing to divide by.
  if (!summary.final_once && ranks_ != 1) return "final must be applied once, at the end";
  if (operation.order == OperandOrder::any) return {};
  const Binding& binding = operation.binding;
  const uint64_t chunk = cell * grain_ / (binding.chunk * binding.element);
  const uint64_t first = operation.order == OperandOrder::by_rank ? 0 : chunk % ranks_;
  if (!summary.cyclic || summary.first != first)
    return fmt::format("operands are not in order from rank {}", first);
  return {};
}

// Whoever leaves a barrier knows that everybody has come.
void Verification::check_ordering(uint32_t rank) {
  const uint32_t k = runs_[rank].operation;
  const Plan& plan = *operations_[k].plans[rank];
  if (plan.collective != Collective::barrier && plan.algorithm != Algorithm::one_shot) return;
  const VectorClock& clock = runs_[rank].lanes[0].clock;
  for (uint32_t peer = 0; peer < ranks_; ++peer) {
    const Tick entry = entries_[k][peer];
    if (entry != 0 && clock[runs_[peer].lanes[0].component] >= entry) continue;
    report(
        Fault::ordering,
        fmt::format("operation {}: the return of rank {} is not after the entry of rank {}", k, rank, peer));
    return;
  }
}

void Verification::report_deadlock() {
  for (uint32_t r = 0; r < ranks_; ++r) {
    const RankRun& run = runs_[r];
    if (run.operation == operations_.size()) continue;
    const size_t lanes = operations_[run.operation].plans[r]->lanes.size();
    for (uint32_t lane = 0; lane < lanes && !full(); ++lane) {
      if (run.lanes[lane].cursor.done()) continue;
      Turn turn = turn_of(r, lane);
      report(Fault::deadlock, turn, describe_wait(turn));
    }
  }
}

}  // namespace tutti::plan
