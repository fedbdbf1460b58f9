// The mutation test: every small change to a plan is rejected by the verifier, or shown to be no fault.
//
// A mutant stands in for one rank's plan; the other ranks run the original. It is one of
//   killed       the verifier rejects it: in some size, placement or credits of the matrix three times in a row, or in a
//                sequence with another plan. (That plans do not belong together by their headers does not count.)
//   same trace   it does the same, resolved to numbers, in every size and with every number of credits tested
//   stricter     proven; the rank differs only in waiting for something that the same peer does later than what the
//                original awaits
//   proven       every sequence of the matrix is proven, and the rank makes exactly the same data accesses: only the order
//                changed, and the order that is left is enough
// A proven mutant that may take order away (a wait or signal or claim dropped, redirected or made to wait for less) says
// that the step was not needed. Such steps stand in `not_needed`, each with the reason; any other is an error.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>

#include "core/sync.h"
#include "tests/catch.h"
#include "tests/plan/matrix_support.h"
#include "tests/plan/mutants_support.h"

using namespace tutti;
using namespace tutti::plan;
using namespace tutti::plan::testing;

namespace {

/// The same team with different numbers of credits, and everything else that may run before or after it.
struct Family {
  std::vector<Team> teams;
  std::vector<Team> others;
};

Family family_of(Collective collective, Algorithm algorithm, int ranks, int root) {
  Family family;
  const int least = algorithms::least_credits(algorithm);
  for (const int credits : {least, least + 1}) {
    family.teams.push_back(make_team(collective, algorithm, ranks, root, credits));
  }
  family.others = all_teams(ranks, 0);
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
      const std::vector<Operation> sequence{theirs, mine, theirs, mine};
      const Scratch need = largest_need(sequence);
      for (const uint64_t lines : {0, 1, 2, 5}) {
        const uint64_t more = lines * kCacheLine;
        if (rejected(sequence, {need.slots_bytes + more, need.packets_bytes + more})) return true;
      }
    }
  }
  return false;
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
    default:
      break;
  }
  return nullptr;
}

struct Totals {
  int killed = 0;
  int same_trace = 0;
  int stricter = 0;
  int proven = 0;
  std::map<std::string, int> reasons;
  std::vector<std::string> unexplained;
};

bool same_everywhere(const Family& family, int rank, const std::vector<const Plan*>& mutants,
                     bool data_only) {
  for (size_t f = 0; f < family.teams.size(); ++f) {
    const Team& team = family.teams[f];
    for (const uint64_t count : sizes(team)) {
      const Binding binding = operation(team, count, false).binding;
      const Trace before = trace_of(team.plans[static_cast<size_t>(rank)], binding);
      const Trace after = trace_of(*mutants[f], binding);
      if (data_only ? data_accesses(before) != data_accesses(after) : before != after) return false;
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
    } else {
      ++totals.proven;
      const std::string name = fmt::format("{}, rank {}, {}", family.teams[0].name(), rank, mutant.name);
      const char* reason =
          not_needed(family.teams[0], family.teams[0].plans[static_cast<size_t>(rank)], mutant);
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

void mutate(Collective collective, Algorithm algorithm, int ranks, int root, const std::vector<int>& which) {
  const Family family = family_of(collective, algorithm, ranks, root);
  Totals totals;
  for (const int rank : which) mutate_rank(family, rank, totals);
  fmt::print("{:<60} killed {:4}  same trace {:4}  stricter {:4}  proven {:4}\n", family.teams[0].name(),
             totals.killed, totals.same_trace, totals.stricter, totals.proven);
  for (const auto& [reason, times] : totals.reasons) fmt::print("    {:4} x {}\n", times, reason);
  for (const std::string& name : totals.unexplained) {
    fmt::print("    {}\n", name);
    CHECK(name.empty());
  }
  REQUIRE(totals.killed > 0);
}

void mutate_all(Collective collective, int ranks, const std::vector<int>& which) {
  for (const Algorithm algorithm : algorithms::algorithms_of(collective)) {
    if (!algorithms::suits(algorithm, {})) continue;
    std::vector<int> roots{0};
    if (collective == Collective::broadcast && ranks <= 3) roots = {0, ranks - 1};
    if (collective == Collective::broadcast && ranks > 3) roots = {1};
    for (const int root : roots) mutate(collective, algorithm, ranks, root, which);
  }
}

}  // namespace

TEST_CASE("mutants of all plans of two and three ranks") {
  for (const Collective collective : {Collective::all_reduce, Collective::broadcast, Collective::barrier}) {
    mutate_all(collective, 2, {0, 1});
    if (!kSanitized) mutate_all(collective, 3, {0, 1, 2});
  }
}

TEST_CASE("mutants of plans of four ranks") {
  if (kSanitized) return;  // the same code on more ranks
  for (const Collective collective : {Collective::all_reduce, Collective::broadcast, Collective::barrier}) {
    mutate_all(collective, 4, {0, 1, 3});
  }
}

TEST_CASE("mutants of the ring of five ranks") {
  if (kSanitized) return;  // the same code on more ranks
  mutate(Collective::all_reduce, Algorithm::ring, 5, 0, {0, 2, 4});
}
