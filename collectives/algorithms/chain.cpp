// Pipelined chain broadcast (the pipeline of Chan, Heimlich, Purkayastha and van de Geijn, "Collective
// communication: theory, practice, and experience", 2007).
//
// Ranks stand in a line that begins at the root: root, root + 1, ..., root - 1. Slices travel down the line,
// each rank passing one on while it receives the next. One area per window, written by the rank before only;
// channel kData counts arrived slices, kCredit in the other direction freed slots. Cost: (n - 2 + slices)
// trips of one slice; every rank receives S and sends S, to one neighbour only.
//
// Between nodes a put is posted and reads its source later, so there a rank returns the credit some slices behind, when the put has left
// (spread.h).
#include "collectives/algorithms/algorithms.h"
#include "collectives/algorithms/spread.h"

namespace tutti::algorithms {

namespace {

enum Pair : uint8_t { kData, kCredit };

SpreadNeeds needs(int /*members*/) {
  return {};
}

void emit(const Holder& h) {
  const int v = h.place();
  std::vector<int> next;
  if (v + 1 < h.count()) next.push_back(h.at(v + 1));
  hand_on(h, v == 0 ? -1 : h.at(v - 1), next);
}

}  // namespace

const Spread kChain{needs, emit};

Plan chain(const Shape& shape) {
  if (spans_nodes(shape)) return flat(Algorithm::chain, shape, kChain);
  plan::Builder b(Collective::broadcast, Algorithm::chain, shape);
  const int n = b.ranks();
  const int me = b.rank();
  const int next = (me + 1) % n;
  const int prev = (me + n - 1) % n;
  const bool first = me == b.root();
  const bool last = next == b.root();
  b.areas(1);
  b.claim();
  b.block();
  if (!first) b.wait_pair(prev, kData);
  if (!last) b.wait_pair_credit(next, kCredit);
  if (first) {
    b.put({}, b.input(), {b.slot(next, 0)});
  } else if (last) {
    b.copy({}, b.slot(me, 0), {b.output()});
  } else {
    b.put({}, b.slot(me, 0), {b.output(), b.slot(next, 0)});
  }
  if (!last) b.signal_pair(next, kData);
  if (!first) b.signal_pair(prev, kCredit);
  if (first) b.copy({}, b.input(), {b.output()});
  return b.take();
}

}  // namespace tutti::algorithms
