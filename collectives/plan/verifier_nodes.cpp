// What goes between nodes, as the verifier sees it.
//
// Which steps may. Nothing but the last destination of a `put`, a slot, and pair channels reach a rank of another node. Whoever
// puts there lists the target in port_targets, the target lists it in port_sources, and both claim. All this is in the steps
// themselves, so it is checked once and not in every round.
//
// Puts. A put to another node reads its sources and writes its slot at any time after the step. Every put has its own tick in two
// components of (rank, lane, peer): *leaving*, on whose behalf it reads, and *arriving*, on whose behalf it writes. A signal of that
// lane on a pair channel to that peer carries both, to the peer and not to the lane. A flush of that peer and the end of the
// operation give the lane the first. So whoever overwrites a source must have flushed, or know by way of the peer.
//
// Grants. A claim takes over what the ranks of its node knew when they retired the position. Then it grants the position to
// port_sources, awaits the grants of port_targets, and takes over what the ranks of their nodes knew when they retired it. Nothing
// more: a grant may have been given long before, when that much had been retired.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "collectives/plan/verifier_run.h"

namespace tutti::plan {

namespace {
bool holds(std::span<const uint16_t> ranks, uint32_t rank) {
  return std::find(ranks.begin(), ranks.end(), rank) != ranks.end();
}

bool claims(const Plan& plan) {
  return std::any_of(plan.steps.begin(), plan.steps.end(),
                     [](const Step& step) { return step.kind == StepKind::claim; });
}
}  // namespace

/// All plans of all operations say the same about nodes, one for each rank. Asked before anything else.
bool Verification::nodes_agree() {
  const std::vector<uint16_t>& nodes = operations_[0].plans[0]->nodes;
  if (!nodes.empty() && nodes.size() != ranks_) {
    report(Fault::shape,
           fmt::format("operation 0: rank 0 knows the nodes of {} ranks, not of {}", nodes.size(), ranks_));
    return false;
  }
  for (size_t k = 0; k < operations_.size(); ++k) {
    for (uint32_t r = 0; r < ranks_; ++r) {
      if (operations_[k].plans[r]->nodes == nodes) continue;
      report(Fault::shape,
             fmt::format(
                 "operation {}: the plan of rank {} has other nodes than the plan of rank 0 in operation 0",
                 k, r));
      return false;
    }
  }
  return true;
}

void Verification::check_ports(uint32_t operation, uint32_t rank) {
  const Plan& plan = *operations_[operation].plans[rank];
  if (plan.nodes.empty()) return;
  for (const auto* ports : {&plan.port_targets, &plan.port_sources}) {
    for (const uint16_t peer : *ports) {
      if (peer < ranks_ && !plan.mapped(static_cast<int>(rank), peer)) continue;
      report(
          Fault::location,
          fmt::format("operation {}: the plan of rank {} names a port to rank {}, which is on no other node",
                      operation, rank, peer));
      return;
    }
  }
  for (uint32_t lane = 0; lane < plan.lanes.size(); ++lane) {
    const Lane& steps = plan.lanes[lane];
    for (uint32_t i = steps.prologue_first; i < steps.prologue_end; ++i) {
      check_step_between_nodes({operation, rank, lane, i, 0, 0});
    }
    for (const Block& block : steps.blocks) {
      for (uint32_t i = block.first_step; i < block.end_step && block.rounds != 0; ++i) {
        check_step_between_nodes({operation, rank, lane, i, 0, 0});
      }
    }
  }
}

void Verification::check_step_between_nodes(const Event& event) {
  const Plan& plan = *operations_[event.operation].plans[event.rank];
  const Step& step = plan.steps[event.step];
  const auto far = [&](uint32_t rank) {
    return rank < ranks_ && !plan.mapped(static_cast<int>(event.rank), static_cast<int>(rank));
  };
  const auto fault = [&](const std::string& what) { report(Fault::location, describe(event) + ": " + what); };
  if (step.kind == StepKind::signal || step.kind == StepKind::wait) {
    if (step.channel.kind == ChannelKind::board && far(step.channel.peer)) {
      fault(fmt::format("the board of rank {} is on another node", step.channel.peer));
    }
    return;
  }
  for (const Location& from : plan.srcs(step)) {
    if (far(from.rank)) fault(fmt::format("reads memory of rank {}, which is on another node", from.rank));
  }
  for (const Location& to : plan.dsts(step)) {
    if (!far(to.rank)) continue;
    if (step.kind != StepKind::put || &to != &plan.dsts(step).back() || to.space != Space::slots) {
      fault(
          fmt::format("writes memory of rank {}, which is on another node; only the last destination of a "
                      "put may, a slot",
                      to.rank));
    } else {
      check_put_between_nodes(event, to.rank);
    }
  }
}

void Verification::check_put_between_nodes(const Event& event, uint32_t target) {
  const Plan& mine = *operations_[event.operation].plans[event.rank];
  const Plan& theirs = *operations_[event.operation].plans[target];
  const auto fault = [&](const std::string& what) { report(Fault::location, describe(event) + ": " + what); };
  if (!holds(mine.port_targets, target)) {
    fault(fmt::format("puts to rank {} of another node, which is not among the plan's port targets", target));
  }
  if (!holds(theirs.port_sources, event.rank)) {
    fault(fmt::format("puts to rank {} of another node, which does not list rank {} among its port sources",
                      target, event.rank));
  }
  for (const Plan* plan : {&mine, &theirs}) {
    if (!claims(*plan)) {
      fault(fmt::format("puts to rank {} of another node, but rank {} never claims", target, plan->rank));
    }
  }
}

// ---- Claim

// The earliest operation by whose end `peer` has retired `required`; false if it has not yet.
bool Verification::claimable(uint32_t peer, uint64_t required, bool slots, uint32_t& operation) const {
  operation = kNobody;
  if (required == 0) return true;
  for (uint32_t k = 0; k < runs_[peer].retired.size(); ++k) {
    if ((slots ? placing_[k].slots.end : placing_[k].packets.end) < required) continue;
    operation = k;
    return true;
  }
  return false;
}

// What the ranks of a node knew when they retired what this operation needs; false if they have not yet.
bool Verification::take_node(Turn& turn, uint32_t member) {
  const Placing& placing = placing_[turn.run.operation];
  const bool own = turn.plan.mapped(static_cast<int>(turn.rank), static_cast<int>(member));
  for (uint32_t peer = 0; peer < ranks_; ++peer) {
    if (!turn.plan.mapped(static_cast<int>(member), static_cast<int>(peer))) continue;
    for (const bool slots : {true, false}) {
      if (!slots && !own) continue;  // packets are for the ranks of the node
      uint32_t operation = kNobody;
      if (!claimable(peer, slots ? placing.slots.required : placing.packets.required, slots, operation)) {
        return false;
      }
      if (operation != kNobody) join(turn.self.clock, snapshots_.at(runs_[peer].retired[operation]));
    }
  }
  return true;
}

bool Verification::claim(Turn& turn) {
  if (!take_node(turn, turn.rank)) return false;
  grant(turn);
  const uint64_t required = placing_[turn.run.operation].slots.required;
  if (required == 0) return true;
  for (const uint16_t target : turn.plan.port_targets) {
    if (!granted(target, turn.rank, required) || !take_node(turn, target)) return false;
  }
  return true;
}

// Once in an operation, however often the claim is tried.
void Verification::grant(Turn& turn) {
  std::vector<Grant>& grants = turn.run.grants;
  if (!grants.empty() && grants.back().operation == turn.run.operation) return;
  grants.push_back({placing_[turn.run.operation].slots.required, turn.run.operation});
}

/// True once `source` may write the slots of `target` up to `required`.
bool Verification::granted(uint32_t target, uint32_t source, uint64_t required) const {
  for (const Grant& grant : runs_[target].grants) {
    if (grant.position >= required &&
        holds(operations_[grant.operation].plans[target]->port_sources, source)) {
      return true;
    }
  }
  return false;
}

// ---- Puts

void Verification::flush(Turn& turn) {
  const uint32_t peer = turn.step.channel.peer;
  if (peer >= ranks_) {
    report(Fault::counter, turn, "names a rank that does not exist");
    return;
  }
  if (turn.plan.mapped(static_cast<int>(turn.rank), static_cast<int>(peer))) {
    report(Fault::location, turn,
           fmt::format("there is no port to rank {}, which is on the same node", peer));
    return;
  }
  const uint32_t put = engine(turn.rank, turn.lane, peer);
  if (put == kNobody) return;
  turn.self.clock[leaving(put)] = engine_ticks_[put];
}

/// The end of an operation: its puts have left their sources.
void Verification::flush_all(uint32_t rank) {
  const Plan& plan = *operations_[runs_[rank].operation].plans[rank];
  for (const uint16_t peer : plan.port_targets) {
    for (uint32_t lane = 0; lane < plan.lanes.size(); ++lane) {
      const uint32_t put = engine(rank, lane, peer);
      if (put != kNobody) runs_[rank].lanes[0].clock[leaving(put)] = engine_ticks_[put];
    }
  }
}

/// What a signal on the channel of these puts releases: the lane's clock with the puts in it.
Snapshots::Id Verification::carrying(LaneRun& lane, uint32_t engine) {
  const Tick left = std::exchange(lane.clock[leaving(engine)], engine_ticks_[engine]);
  const Tick arrived = std::exchange(lane.clock[arriving(engine)], engine_ticks_[engine]);
  const Snapshots::Id released = snapshots_.take(lane.clock);
  lane.clock[leaving(engine)] = left;
  lane.clock[arriving(engine)] = arrived;
  return released;
}

}  // namespace tutti::plan
