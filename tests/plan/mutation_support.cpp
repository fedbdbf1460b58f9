#include "tests/plan/mutation_support.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "collectives/executors/sim/simulator.h"
#include "core/sync.h"
#include "tests/plan/mutants_support.h"
#include "tests/plan/order_support.h"

namespace tutti::plan::testing {

namespace {

/// The same team with different numbers of credits, and everything else that may run before or after it.
struct Family {
  std::vector<Team> teams;
  std::vector<Team> others;
  std::vector<Team> all_others;  // for what is about the scratch of earlier operations: every root
};

bool is_companion(const Team& team) {
  switch (team.algorithm) {
    case Algorithm::hierarchical_small:
    case Algorithm::hierarchical_ring:
    case Algorithm::halving_doubling:
      return team.collective == Collective::all_reduce;
    case Algorithm::hierarchical_scatter:
    case Algorithm::chain:
      return team.shape.root + 1 == team.shape.ranks;
    default:
      return false;
  }
}

Family family_of(Collective collective, Algorithm algorithm, int ranks, int root, const Nodes& nodes) {
  Family family;
  const int least = algorithms::least_credits(algorithm);
  for (const int credits : {least, least + 1}) {
    family.teams.push_back(make_team(collective, algorithm, ranks, root, credits, nodes));
  }
  family.all_others = all_teams(ranks, 0, nodes);
  for (const Team& team : family.all_others) {
    // Between nodes there are many plans; a few of each kind give as many ways to leave scratch behind.
    if (nodes.empty() || is_companion(team)) family.others.push_back(team);
  }
  return family;
}

bool rejected(const std::vector<Operation>& operations, const Scratch& scratch) {
  const Verdict verdict = verify(operations, scratch, 2);
  return std::any_of(verdict.violations.begin(), verdict.violations.end(),
                     [](const Violation& violation) { return violation.fault != Fault::shape; });
}

bool rejected_alone(const Team& team, const Plan& mutant) {
  for (const uint64_t count : sizes(team)) {
    for (const bool in_place : {false, true}) {
      const std::vector<Operation> thrice(3, operation(team, count, in_place, &mutant));
      const Scratch need = largest_need(thrice);
      if (rejected(thrice, need)) return true;
      if (rejected(thrice, {2 * need.slots_bytes + kCacheLine, 2 * need.packets_bytes + kCacheLine}))
        return true;
    }
  }
  return false;
}

// The mutant and another plan in turns, through all sizes of both. The rings are such that the operations come to lie at
// ever other places.
bool rejected_in_turns(const Team& team, const Plan& mutant, const Team& other) {
  const std::vector<uint64_t> counts = sizes(team);
  const std::vector<uint64_t> other_counts = sizes(other);
  std::vector<Operation> sequence;
  for (size_t i = 0; i < std::max(counts.size(), other_counts.size()); ++i) {
    const bool in_place = i % 2 == 0;
    sequence.push_back(operation(other, other_counts[i % other_counts.size()], in_place));
    sequence.push_back(operation(team, counts[i % counts.size()], in_place, &mutant));
  }
  const Scratch need = largest_need(sequence);
  for (const uint64_t lines : {0, 1, 3}) {
    const uint64_t more = lines * kCacheLine;
    if (rejected(sequence, {need.slots_bytes + more, need.packets_bytes + more})) return true;
  }
  return false;
}

// Every size of the mutant after every size of another plan: for what is about the scratch of earlier operations.
bool rejected_after(const Team& team, const Plan& mutant, const Team& other) {
  for (const uint64_t count : sizes(team)) {
    for (const uint64_t other_count : sizes(other)) {
      const Operation mine = operation(team, count, false, &mutant);
      const Operation theirs = operation(other, other_count, false);
      // Several small operations before it, so that what is left behind lies under any of its slots.
      std::vector<Operation> sequence;
      for (const size_t before : {1, 1, 3, 5}) {
        sequence.insert(sequence.end(), before, theirs);
        sequence.push_back(mine);
      }
      const Scratch need = largest_need(sequence);
      for (const uint64_t lines : {0, 1, 2, 5}) {
        const uint64_t more = lines * kCacheLine;
        if (rejected(sequence, {need.slots_bytes + more, need.packets_bytes + more})) return true;
      }
    }
  }
  return false;
}

/// The waits that a mutant weakens: its step, or all for credit.
std::vector<uint32_t> weakened_waits(const Plan& plan, const Mutant& mutant) {
  std::vector<uint32_t> waits;
  const bool of_plan = mutant.name.starts_with("credits of the plan");
  for (uint32_t i = 0; i < plan.steps.size(); ++i) {
    const Step& step = plan.steps[i];
    if (step.kind == StepKind::wait && (of_plan ? step.credit : i == mutant.step)) waits.push_back(i);
  }
  return waits;
}

/// Why what a mutant leaves out adds no order, shown for every size and number of credits tested; or null.
const char* adds_nothing(const Family& family, const Mutant& mutant) {
  const int rank = mutant.plan.rank;
  const Plan& plan = family.teams[0].plans[static_cast<size_t>(rank)];
  const std::vector<uint32_t> waits = weakened_waits(plan, mutant);
  const bool claims = waits.empty() && plan.steps[mutant.step].kind == StepKind::claim;
  if (waits.empty() && !claims) return nullptr;
  for (const Team& team : family.teams) {
    for (const uint64_t count : sizes(team)) {
      const Binding binding = operation(team, count, false).binding;
      if (claims && !claim_adds_nothing(team.plans, rank, binding)) return nullptr;
      if (!claims && !waits_add_nothing(team.plans, rank, waits, binding)) return nullptr;
    }
  }
  return claims ? "the first write to scratch follows news from a rank of the node that has claimed"
                : "what the other waits tell includes what this one tells";
}

/// Why a step may be left out, or null. Each reason is an argument about the plan that holds at every size.
const char* not_needed(const Team& team, const Plan& plan, const Mutant& mutant) {
  const Step& step = plan.steps[mutant.step];
  const bool of_plan = mutant.name.starts_with("credits of the plan");
  const bool credit = of_plan || (step.kind == StepKind::wait && step.credit);
  const bool claims = !of_plan && step.kind == StepKind::claim;
  const int folded =
      team.shape.ranks - static_cast<int>(std::bit_floor(static_cast<unsigned>(team.shape.ranks)));
  switch (team.algorithm) {
    case Algorithm::ring:
      // A slot is filled after the slot before it has arrived, which the peer sent after it had read the one before that.
      if (credit && team.shape.ranks == 2)
        return "ring of two: what arrives from the peer tells what it has read";
      break;
    case Algorithm::recursive_doubling:
      if (credit && plan.rank < 2 * folded &&
          (of_plan ? plan.rank % 2 == 1 : step.channel.peer == (plan.rank ^ 1))) {
        return "recursive_doubling, folded pair: the pair's slices alternate, each answers the one before";
      }
      if (claims && plan.rank < 2 * folded && plan.rank % 2 == 0) {
        return "recursive_doubling, folded pair: the first write follows a slice from a rank that has "
               "claimed";
      }
      break;
    case Algorithm::chain:
      if (claims && plan.rank != plan.root) {
        return "chain: the first write follows a slice from a rank that has claimed; the last rank writes "
               "nothing";
      }
      break;
    case Algorithm::scatter_all_gather:
      if (step.kind == StepKind::flush && !of_plan) {
        return "scatter_all_gather: the root awaits the last reader's credit, too, before it fills the slot "
               "again";
      }
      if (step.kind == StepKind::wait && !step.credit && step.channel.index == 0 && !of_plan) {
        return "scatter_all_gather: a slice is used after its last part has come, which is sent after this "
               "one";
      }
      break;
    case Algorithm::hierarchical_scatter:
      if (step.kind == StepKind::wait && !step.credit && !of_plan) {
        return "hierarchical_scatter, two nodes: both parts come from the root, and the signal of the other "
               "comes later";
      }
      break;
    case Algorithm::hierarchical_small:
      if (team.collective == Collective::barrier &&
          (step.kind == StepKind::flush || step.kind == StepKind::wait)) {
        return "hierarchical_small, barrier: nothing is moved; only the end must come late enough";
      }
      break;
    default:
      break;
  }
  return nullptr;
}

/// Elements whose numbers are wrong after three operations in a row in virtual time, under noise.
uint64_t wrong_in_simulation(const Team& team, const Plan& mutant, uint64_t count, bool in_place,
                             uint64_t seed) {
  constexpr size_t kOperations = 3;
  std::vector<Plan> plans = team.plans;
  plans[mutant.rank] = mutant;
  const size_t n = plans.size();
  const auto value = [](size_t rank, size_t i, size_t k) {
    return static_cast<double>((rank * 7919 + i * 31 + k * 1299709) % 1009);
  };
  std::vector<std::vector<double>> inputs(kOperations * n, std::vector<double>(count + 1));
  std::vector<std::vector<double>> outputs(kOperations * n, std::vector<double>(count + 1, -1));
  std::vector<std::vector<sim::Buffers>> buffers(kOperations, std::vector<sim::Buffers>(n));
  std::vector<sim::Operation> operations;
  for (size_t k = 0; k < kOperations; ++k) {
    for (size_t r = 0; r < n; ++r) {
      auto& input = inputs[k * n + r];
      for (size_t i = 0; i < count; ++i) input[i] = value(r, i, k);
      buffers[k][r] = {input.data(), in_place ? input.data() : outputs[k * n + r].data()};
    }
    operations.push_back({.plans = plans, .count = count, .type = DataType::float64, .buffers = buffers[k]});
  }
  sim::Model model;
  model.noise = {.probability = 0.1, .mean = sim::kMicrosecond};
  model.near.alpha =
      0;  // a rank that reads back what it has written into a window of its node finds it there at once
  model.far = {sim::kMicrosecond, 0.1};
  model.seed = seed;
  const Binding& binding = operation(team, count, false).binding;
  const Limits limits{.slots_bytes = 1 << 20, .packets_bytes = 1 << 20, .max_slice_bytes = kCacheLine};
  sim::simulate(
      operations, model,
      {std::max<uint64_t>(binding.slots_need, 64), std::max<uint64_t>(binding.packets_need, 64), limits});
  uint64_t wrong = 0;
  for (size_t k = 0; k < kOperations; ++k) {
    for (size_t i = 0; i < count; ++i) {
      double expected = value(team.shape.root, i, k);
      if (team.collective == Collective::all_reduce) {
        expected = 0;
        for (size_t r = 0; r < n; ++r) expected += value(r, i, k);
      }
      for (size_t r = 0; r < n; ++r) wrong += (in_place ? inputs : outputs)[k * n + r][i] == expected ? 0 : 1;
    }
  }
  return wrong;
}

/// True if the mutant only reads from another place, and the simulator finds there what belongs there.
bool reads_a_replica(const Family& family, const std::vector<const Plan*>& mutants, const Mutant& mutant) {
  const Step& step = family.teams[0].plans[mutant.plan.rank].steps[mutant.step];
  const bool of_source = mutant.name.find(": location") != std::string::npos && [&] {
    const auto dsts = mutant.plan.dsts(mutant.plan.steps[mutant.step]);
    const auto before = family.teams[0].plans[mutant.plan.rank].dsts(step);
    return std::equal(dsts.begin(), dsts.end(), before.begin(), before.end());
  }();
  if (!of_source) return false;
  for (size_t f = 0; f < family.teams.size(); ++f) {
    for (const uint64_t count : sizes(family.teams[f])) {
      for (uint64_t seed = 0; seed < 6; ++seed) {
        if (wrong_in_simulation(family.teams[f], *mutants[f], count, seed % 2 == 0, seed) != 0) return false;
      }
    }
  }
  return true;
}

bool only_reorders_operands(const Team& team, const Mutant& mutant) {
  return operation(team, 0, false).order == OperandOrder::any &&
         mutant.name.find(": operands ") != std::string::npos;
}

/// Waits in a row, in whatever order they stand, tell the same.
Trace without_order_of_waits(Trace trace) {
  const auto is_wait = [](const std::vector<int64_t>& entry) {
    return entry[2] == static_cast<int64_t>(StepKind::wait);
  };
  for (auto first = trace.begin(); first != trace.end();) {
    const auto goes_on = [&](const std::vector<int64_t>& entry) {
      return is_wait(entry) && entry[1] == (*first)[1];  // of the same lane
    };
    const auto end = std::find_if_not(first, trace.end(), goes_on);
    std::sort(first, end);
    first = end == first ? first + 1 : end;
  }
  return trace;
}

bool same_everywhere(const Family& family, int rank, const std::vector<const Plan*>& mutants,
                     bool data_only) {
  for (size_t f = 0; f < family.teams.size(); ++f) {
    const Team& team = family.teams[f];
    for (const uint64_t count : sizes(team)) {
      const Binding binding = operation(team, count, false).binding;
      const Trace before = trace_of(team.plans[static_cast<size_t>(rank)], binding);
      const Trace after = trace_of(*mutants[f], binding);
      if (data_only ? data_accesses(before) != data_accesses(after)
                    : without_order_of_waits(before) != without_order_of_waits(after)) {
        return false;
      }
    }
  }
  return true;
}

bool stricter_everywhere(const Family& family, int rank, const std::vector<const Plan*>& mutants) {
  for (size_t f = 0; f < family.teams.size(); ++f) {
    const Team& team = family.teams[f];
    for (const uint64_t count : sizes(team)) {
      const Binding binding = operation(team, count, false).binding;
      std::vector<Trace> traces;
      for (const Plan& plan : team.plans) traces.push_back(trace_of(plan, binding));
      const Trace after = trace_of(*mutants[f], binding);
      if (!only_later_waits(traces[static_cast<size_t>(rank)], after, rank, traces)) return false;
    }
  }
  return true;
}

bool killed(const Family& family, const std::vector<const Plan*>& mutants, bool claim) {
  for (size_t f = 0; f < family.teams.size(); ++f) {
    if (rejected_alone(family.teams[f], *mutants[f])) return true;
  }
  for (size_t f = 0; f < family.teams.size(); ++f) {
    for (const Team& other : family.others) {
      if (rejected_in_turns(family.teams[f], *mutants[f], other)) return true;
    }
    for (const Team& other : family.all_others) {
      if (claim && rejected_after(family.teams[f], *mutants[f], other)) return true;
    }
  }
  return false;
}

void mutate_rank(const Family& family, int rank, Totals& totals) {
  std::vector<std::vector<Mutant>> mutants;
  for (const Team& team : family.teams) mutants.push_back(mutants_of(team.plans[static_cast<size_t>(rank)]));
  for (size_t i = 0; i < mutants[0].size(); ++i) {
    std::vector<const Plan*> plans;
    for (const auto& of_credits : mutants) plans.push_back(&of_credits.at(i).plan);
    const Mutant& mutant = mutants[0][i];
    if (same_everywhere(family, rank, plans, false)) {
      ++totals.same_trace;
    } else if (killed(family, plans,
                      family.teams[0].plans[static_cast<size_t>(rank)].steps[mutant.step].kind ==
                          StepKind::claim)) {
      ++totals.killed;
    } else if (stricter_everywhere(family, rank, plans)) {
      ++totals.stricter;
    } else if (reads_a_replica(family, plans, mutant)) {
      ++totals.replicas;
    } else if (only_reorders_operands(family.teams[0], mutant)) {
      ++totals.reasons["the order of the operands is free in this algorithm"];
    } else {
      ++totals.proven;
      const std::string name = fmt::format("{}, rank {}, {}", family.teams[0].name(), rank, mutant.name);
      const char* reason = adds_nothing(family, mutant);
      if (reason == nullptr) {
        reason = not_needed(family.teams[0], family.teams[0].plans[static_cast<size_t>(rank)], mutant);
      }
      if (!same_everywhere(family, rank, plans, true)) {
        totals.unexplained.push_back(name + ": proven, but moves other data");
      } else if (mutant.weakens && reason == nullptr) {
        totals.unexplained.push_back(name + ": proven, but may take order away");
      } else if (mutant.weakens) {
        ++totals.reasons[reason];
      }
    }
  }
}

}  // namespace

Totals mutate(Collective collective, Algorithm algorithm, int ranks, int root, const std::vector<int>& which,
              const Nodes& nodes) {
  const Family family = family_of(collective, algorithm, ranks, root, nodes);
  Totals totals;
  for (const int rank : which) mutate_rank(family, rank, totals);
  fmt::print("{:<60} killed {:4}  same trace {:4}  stricter {:4}  proven {:4}  replica {:4}\n",
             family.teams[0].name(), totals.killed, totals.same_trace, totals.stricter, totals.proven,
             totals.replicas);
  for (const auto& [reason, times] : totals.reasons) fmt::print("    {:4} x {}\n", times, reason);
  for (const std::string& name : totals.unexplained) fmt::print("    {}\n", name);
  return totals;
}

}  // namespace tutti::plan::testing
