// Writes plans for people: as text, one step per line, and as a Graphviz graph of everything that is executed.
//
// Notation (legend() is this for users):
//   round, slice        the loop counters; `slice` is the slice the step acts on
//   input[k] output[k]  the slice `slice` of chunk k of the caller's buffer; no [k] where there is one chunk
//   slot 3.0[k]         window of rank 3, area 0, position k of its ring of slots (taken modulo the depth)
//   packets 3.0         window of rank 3, packet area 0
//   a + b -> c, d       a and b are folded in this order, the result is written to c and to d
//   pair 2->3 #0        counter 0 of the ordered pair: raised by rank 2, awaited by rank 3
//   board 2 #1          counter 1 on the board of rank 2: raised by rank 2, awaited by anybody
//   (port)              posted to another node: read and written some time after the step
//   flush port 1->3     what rank 1 has put to rank 3 has left its sources
//   raise k             the k-th raise of that counter within the operation, from 0
//   (credit)            flow control: k already has the credits subtracted; below 0 there is nothing to await
//   (final)             here avg divides
#pragma once

#include <span>
#include <string>

#include "collectives/plan/binding.h"
#include "collectives/plan/plan.h"

namespace tutti::plan {

/// The whole plan, symbolically.
std::string describe(const Plan& plan);

/// One step on one line, symbolically: "reduce slot 2.0[14*slice + round] + input[(1 - round) mod 8] -> ...".
std::string describe(const Plan& plan, const Step& step);

/// One execution of a step on one line, in numbers: for error messages.
std::string describe(const Plan& plan, const Step& step, int64_t round, int64_t slice);

/// "14*slice + round + 1", "(2 - round) mod 8".
std::string describe(const Affine& expression);

/// How to read the text.
std::string legend();

/// A graph for `dot -Tsvg`: one cluster per rank, in one per node where there are several; one box per executed step; grey
/// edges are the order of a lane, blue ones lead from a signal to the waits it ends, red ones likewise between nodes, green ones
/// from posted packets to who reads them.
/// `all_ranks[r]` is the plan of rank r. Meant for few ranks and slices.
std::string graphviz(std::span<const Plan> all_ranks, const Binding& binding);

}  // namespace tutti::plan
