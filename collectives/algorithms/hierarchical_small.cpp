// Hierarchical all-reduce, broadcast and barrier of one small message: the whole of it is one slice.
//
// Inside a node it travels as packets, each of which carries its own flag; between nodes it is put from the first rank of a node to the
// first rank of another.
//     all-reduce   ranks post their inputs; the node's first rank folds them into a slot; the first ranks exchange; each posts the result
//                  for its node. Up to four nodes put to all others at once, one trip, and fold in the order of nodes; more exchange by
//                  recursive doubling (recursive_doubling.cpp), log2 N trips for N nodes
//     barrier      the all-reduce of no bytes: nobody has the result's packets before everybody has posted
//     broadcast    the root posts packets for its node and puts the message down a binomial tree of nodes; the first rank of each other
//                  node posts it for its own
// No slot and no packet is used twice in an operation, so no credits are needed.
#include <bit>
#include <vector>

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

/// With more nodes than this, one message to each other node takes longer than more trips.
constexpr int kMostAtOnce = 4;

Needs at_once_needs(int members) {
  return {.parts = 1, .arrivals = members, .partials = false, .kept = false, .uses_per_slice = 1};
}

void at_once(const Member& m) {
  plan::Builder& b = m.builder();
  const plan::Location mine = m.fold(0);
  for (int d = 1; d < m.count(); ++d) {
    const int peer = m.at(m.place() + d);
    b.put(m.chunk(0), mine, {b.slot(peer, m.arrival(m.place()))});
    b.signal_pair(peer, kData);
  }
  std::vector<plan::Location> operands;
  operands.reserve(static_cast<size_t>(m.count()));
  for (int p = 0; p < m.count(); ++p) {
    if (p != m.place()) b.wait_pair(m.at(p), kData);
    operands.push_back(p == m.place() ? mine : m.arrived(p));
  }
  // In place, the output is the source of the puts.
  for (int d = 1; d < m.count() && m.alone(); ++d) b.flush(m.at(m.place() + d));
  m.finish(0, operands, false);
  m.publish();
}

constexpr Exchange kAtOnce{at_once_needs, at_once};

Plan all_reduce(Collective collective, const Shape& shape) {
  const Nodes nodes = first_ranks(shape);
  const Exchange& exchange = nodes.count() <= kMostAtOnce ? kAtOnce : kDoubling;
  plan::Builder b(collective, Algorithm::hierarchical_small, shape);
  const Member member(b, nodes, 0, exchange.needs(nodes.count()), shape.credits, Member::Inside::packets);
  b.packet_areas(kPacketAreas);
  b.claim();
  b.block();
  if (nodes.rail_of(shape.rank) == 0) {
    exchange.emit(member);
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
