// Mutants of a plan: every small change to every step, for testing that the verifier notices.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "collectives/plan/binding.h"
#include "collectives/plan/plan.h"

namespace tutti::plan::testing {

struct Mutant {
  std::string name;   // "step 4 `wait pair 0->1 #0 raise slice`: dropped"
  uint32_t step = 0;  // index in the original plan
  bool weakens =
      false;  // may take order away: a dropped or earlier wait or signal, a dropped claim, flush or barrier
  Plan plan;
};

/// All mutants of one rank's plan. Plans that differ in credits only give the same list in the same order.
///   every step        dropped; exchanged with the next one of its block; its lag one more or less
///   flush             every other peer
///   signal and wait   every other peer, every other index, other kind of channel, count one more or less (which is also
///                     credits one less or more), credit or not
///   every location    area, index one more or less; every other rank; input for output and the reverse
///   extent            one more or less
///   reductions        neighbouring operands exchanged, an operand twice, `final` lost or added
///   the plan          credits one more or less on this rank only
std::vector<Mutant> mutants_of(const Plan& plan);

/// Takes a step out of a plan.
void drop_step(Plan& plan, size_t step);

/// What the rank does, resolved to numbers, for one binding: one entry per step that does anything, in program order.
/// Waits that await nothing and moves of no elements leave no entry. Equal traces mean equal behaviour.
using Trace = std::vector<std::vector<int64_t>>;
Trace trace_of(const Plan& plan, const Binding& binding);

/// True if the two traces of `rank` differ only in waits, each for a raise that the same peer makes later in the same
/// lane than the one awaited before: the mutant waits longer, and no order is lost. `team`: the traces of all ranks.
bool only_later_waits(const Trace& before, const Trace& after, int rank, const std::vector<Trace>& team);

/// The entries that touch data, sorted: what is moved and folded from where to where, without the order of it.
Trace data_accesses(const Trace& trace);

}  // namespace tutti::plan::testing
