// Hierarchical broadcast: hierarchical(spread).
//
// The message is cut into rails times parts chunks. The root stages every slice in its window; the owners on its node put the slices of
// their rails from there to other nodes, and everybody on its node copies them. On every other node the owner of a rail hands its slices
// on to further nodes, and the ranks of the node copy them from its kept areas: each byte crosses to each node once. Two lanes, which wait
// for each other only through counters:
//     spread   owners: spread.h
//     copy     all ranks but the root: slices that another rank has, to the output
// The root owns a rail whatever its place, so that its data need not take a hop inside its node first.
#include <algorithm>

#include "collectives/algorithms/hierarchical.h"

namespace tutti::algorithms {

namespace {

void copy_staged(plan::Builder& b, int chunks) {
  b.wait_board(b.root(), kStaged);
  for (int c = 0; c < chunks; ++c) b.copy(b.chunk(c), b.slot(b.root(), c), {b.output(b.chunk(c))});
  b.signal_pair(b.root(), kCopied);
}

}  // namespace

Plan hierarchical(Algorithm algorithm, const Shape& shape, const Spread& spread) {
  Nodes nodes = nodes_of(shape);
  nodes.promote(shape.root);
  const SpreadNeeds needs = spread.needs(nodes.count());
  plan::Builder b(Collective::broadcast, algorithm, shape);
  const int rail = nodes.rail_of(shape.rank);
  const Holder holder(b, nodes, std::max(rail, 0), needs, shape.credits);
  const bool near_root = nodes.mine == nodes.node_of(shape.root);
  const bool copies = shape.rank != shape.root && (near_root || !rails_of_others(nodes, shape.rank).empty());
  Lanes lanes(b, (rail >= 0 ? 1 : 0) + (copies ? 1 : 0), rail >= 0);
  if (rail >= 0) {
    lanes.next();
    spread.emit(holder);
  }
  if (copies) {
    lanes.next();
    if (near_root) {
      copy_staged(b, nodes.rails * needs.parts);
    } else {
      copy_out(b, nodes, needs.parts, holder.first_kept());
    }
  }
  return b.take();
}

}  // namespace tutti::algorithms
