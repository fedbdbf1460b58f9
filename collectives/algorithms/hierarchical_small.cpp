// Hierarchical all-reduce, broadcast and barrier of one small message: the whole of it is one slice.
//
// Inside a node it travels as packets, each of which carries its own flag; between nodes it is put from the first rank of a node to the
// first rank of another.
//     all-reduce   ranks post their inputs; the node's first rank folds them into a slot; the first ranks exchange by recursive doubling
//                  (recursive_doubling.cpp): log2 N trips for N nodes, one trip for two; each posts the result for its node
//     barrier      the all-reduce of no bytes: nobody has the result's packets before everybody has posted
//     broadcast    the root posts packets for its node and puts the message down a binomial tree of nodes; the first rank of each other
//                  node posts it for its own
// No slot and no packet is used twice in an operation, so no credits are needed.
#include <bit>

#include "collectives/algorithms/hierarchical.h"

namespace tutti::algorithms {

namespace {

enum Pair : uint8_t { kData };

/// The group has one rail: the first rank of every node.
Nodes first_ranks(const Shape& shape) {
  Nodes nodes = nodes_of(shape);
  nodes.rails = 1;
  return nodes;
}

Plan all_reduce(Collective collective, const Shape& shape) {
  const Nodes nodes = first_ranks(shape);
  plan::Builder b(collective, Algorithm::hierarchical_small, shape);
  const Member member(b, nodes, 0, kDoubling.needs(nodes.count()), shape.credits, Member::Inside::packets);
  b.packet_areas(kPacketAreas);
  b.claim();
  b.block();
  if (nodes.rail_of(shape.rank) == 0) {
    kDoubling.emit(member);
  } else {
    b.put_packets(b.input(), b.packets(b.rank(), kContribution));
    b.copy_packets(b.packets(nodes.owner(nodes.mine, 0), kResult), b.output());
  }
  return b.take();
}

/// The first rank of a node, or the root, between nodes: place v of n.
void hand_down(plan::Builder& b, const Nodes& nodes) {
  const int n = nodes.count();
  const int first = nodes.node_of(b.root());
  const int v = (nodes.mine - first + n) % n;
  const auto rank_at = [&](int place) { return nodes.owner((first + place) % n, 0); };
  int bit = v == 0 ? static_cast<int>(std::bit_ceil(static_cast<unsigned>(n))) : v & -v;
  plan::Location from = b.output();
  if (v == 0) {
    b.copy({}, b.input(), {b.output()});
  } else {
    b.wait_pair(rank_at(v - bit), kData);
    from = b.slot(b.rank(), 0);
  }
  while ((bit /= 2) > 0) {
    if (v + bit >= n) continue;
    b.put({}, from, {b.slot(rank_at(v + bit), 0)});
    b.signal_pair(rank_at(v + bit), kData);
  }
  if (nodes.here().size() > 1) b.put_packets(from, b.packets(b.rank()));
  if (v != 0) b.copy({}, from, {b.output()});
}

Plan broadcast(const Shape& shape) {
  Nodes nodes = first_ranks(shape);
  nodes.promote(shape.root);
  plan::Builder b(Collective::broadcast, Algorithm::hierarchical_small, shape);
  b.areas(1).packet_areas(1);
  const int giver = nodes.owner(nodes.mine, 0);
  if (giver == shape.rank) {
    b.claim();
    b.block();
    hand_down(b, nodes);
  } else {
    b.block();
    b.copy_packets(b.packets(giver), b.output());
  }
  return b.take();
}

}  // namespace

Plan hierarchical_small(Collective collective, const Shape& shape) {
  return collective == Collective::broadcast ? broadcast(shape) : all_reduce(collective, shape);
}

}  // namespace tutti::algorithms
