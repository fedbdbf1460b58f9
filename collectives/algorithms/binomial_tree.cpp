// Binomial tree broadcast, pipelined in slices (the tree of every MPI's small broadcasts).
//
// Places count from the root. Place v receives from v without its lowest bit, and hands on to v + b for every power of two b below that
// bit (the root: below the number of places), the largest subtree first. Cost: log2 n trips for the first slice; the root puts
// log2 n S, the others at most half of that.
#include <bit>
#include <vector>

#include "collectives/algorithms/algorithms.h"
#include "collectives/algorithms/spread.h"

namespace tutti::algorithms {

namespace {

SpreadNeeds needs(int /*members*/) {
  return {};
}

void emit(const Holder& h) {
  const int v = h.place();
  const int n = h.count();
  int bit = v == 0 ? static_cast<int>(std::bit_ceil(static_cast<unsigned>(n))) : v & -v;
  const int parent = v == 0 ? -1 : h.at(v - bit);
  std::vector<int> children;
  while ((bit /= 2) > 0) {
    if (v + bit < n) children.push_back(h.at(v + bit));
  }
  hand_on(h, parent, children);
}

}  // namespace

const Spread kBinomialTree{needs, emit};

Plan binomial_tree(const Shape& shape) {
  return flat(Algorithm::binomial_tree, shape, kBinomialTree);
}

}  // namespace tutti::algorithms
