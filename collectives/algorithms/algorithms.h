// The algorithms: functions that build a rank's plan. Each one's file says how it works and where it comes
// from.
#pragma once

#include <span>

#include "collectives/plan/builder.h"

namespace tutti::algorithms {

using plan::Algorithm;
using plan::Plan;
using plan::Shape;

Plan local(Collective collective, const Shape& shape);
Plan one_shot(Collective collective, const Shape& shape);  // all_reduce or barrier
Plan all_pairs(const Shape& shape);
Plan two_shot(const Shape& shape);
Plan ring(const Shape& shape);
Plan recursive_doubling(const Shape& shape);
Plan one_writer_packets(const Shape& shape);
Plan one_writer(const Shape& shape);
Plan chain(const Shape& shape);
Plan halving_doubling(const Shape& shape);
Plan double_binary_tree(const Shape& shape);
Plan binomial_tree(const Shape& shape);
Plan scatter_all_gather(const Shape& shape);
Plan direct_all_reduce(const Shape& shape);
Plan direct_broadcast(const Shape& shape);
// The hierarchical ones: hierarchical.h.

/// The algorithms that implement a collective, `local` (one rank) not counted, wherever the ranks are.
std::span<const Algorithm> algorithms_of(Collective collective);

/// True if `algorithm` can run there: some read the memory of all ranks and need one node, direct needs all buffers in one process, the
/// hierarchical ones need several nodes.
bool suits(Algorithm algorithm, const Shape& shape);

/// The fewest credits with which `algorithm` makes progress; proven by the verifier's tests.
int least_credits(Algorithm algorithm);

/// Builds the plan of `shape.rank`. With one rank this is always `local`.
/// Throws Error(invalid_argument) where the algorithm does not implement the collective or suit the nodes, or the shape is
/// impossible.
Plan build(Collective collective, Algorithm algorithm, const Shape& shape);

}  // namespace tutti::algorithms
