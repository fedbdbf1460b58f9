// Hierarchical all-reduce: hierarchical(exchange) puts shared memory inside a node and any exchange between nodes together.
//
// The message is cut into rails times parts chunks. Every rank works on all slices in up to three lanes, which wait for each other only
// through counters, so that each level goes on as far as credits allow whatever the others wait for:
//     exchange   owners: fold what the node's ranks have staged for the rail, exchange it with the owners on the other nodes
//                (exchange.h), finished slices straight to the own output, and to the kept areas for the node
//     copy       finished slices of the other rails from their owners' kept areas to the output
//     stage      slices of the input for the owners of the other rails
// A rank without company on its node has only the first one. Staging and copying a slice are the reduce-scatter and the all-gather
// inside the node, through memory that all its ranks map: one store and one load each way.
//
// In place is safe: a chunk that is copied out was staged before, because its result contains it.
#include "collectives/algorithms/hierarchical.h"

#include <algorithm>

namespace tutti::algorithms {

plan::Builder& Lanes::next() {
  if (opened_++ > 0) {
    b_.lane();
  } else if (claims_) {
    b_.claim();
  }
  if (claims_ && count_ > 1) b_.barrier();
  return b_.block();
}

std::vector<int> rails_of_others(const Nodes& nodes, int me) {
  const std::vector<int>& here = nodes.here();
  const auto place = static_cast<int>(std::find(here.begin(), here.end(), me) - here.begin());
  std::vector<int> rails;
  for (int k = 1; k <= nodes.rails; ++k) {
    const int rail = (place + k) % nodes.rails;
    if (nodes.owner(nodes.mine, rail) != me) rails.push_back(rail);
  }
  return rails;
}

void copy_out(plan::Builder& b, const Nodes& nodes, int parts, int kept) {
  for (const int rail : rails_of_others(nodes, b.rank())) {
    const int owner = nodes.owner(nodes.mine, rail);
    b.wait_board(owner, kFinished);
    for (int part = 0; part < parts; ++part) {
      const plan::Affine chunk = b.chunk(rail * parts + part);
      b.copy(chunk, b.slot(owner, kept + part), {b.output(chunk)});
    }
    b.signal_pair(owner, kCopied);
  }
}

namespace {

void stage(plan::Builder& b, const Nodes& nodes, int parts) {
  const int me = b.rank();
  for (const int rail : rails_of_others(nodes, me)) {
    b.wait_pair_credit(nodes.owner(nodes.mine, rail), kFolded);
    for (int chunk = rail * parts; chunk < (rail + 1) * parts; ++chunk) {
      b.copy(b.chunk(chunk), b.input(b.chunk(chunk)), {b.slot(me, chunk)});
    }
  }
  b.signal_board(kStaged);
}

}  // namespace

Plan hierarchical(Algorithm algorithm, const Shape& shape, const Exchange& exchange) {
  const Nodes nodes = nodes_of(shape);
  const Needs needs = exchange.needs(nodes.count());
  plan::Builder b(Collective::all_reduce, algorithm, shape);
  const int rail = nodes.rail_of(shape.rank);
  const Member member(b, nodes, std::max(rail, 0), needs, shape.credits, Member::Inside::slots);
  const bool passes = !rails_of_others(nodes, shape.rank).empty();
  Lanes lanes(b, (rail >= 0 ? 1 : 0) + (passes ? 2 : 0), true);
  if (rail >= 0) {
    lanes.next();
    exchange.emit(member);
  }
  if (passes) {
    copy_out(lanes.next(), nodes, needs.parts, nodes.rails * needs.parts);
    stage(lanes.next(), nodes, needs.parts);
  }
  return b.take();
}

}  // namespace tutti::algorithms
