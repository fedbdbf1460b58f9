// Algorithms in which the ranks of a node work together through shared memory, and nodes exchange along rails.
#pragma once

#include "collectives/algorithms/algorithms.h"
#include "collectives/algorithms/exchange.h"
#include "collectives/algorithms/spread.h"

namespace tutti::algorithms {

/// All-reduce with `exchange` between the owners of each rail.
Plan hierarchical(Algorithm algorithm, const Shape& shape, const Exchange& exchange);

/// Broadcast with `spread` between the owners of each rail.
Plan hierarchical(Algorithm algorithm, const Shape& shape, const Spread& spread);

/// All-reduce, broadcast or barrier of one small message.
Plan hierarchical_small(Collective collective, const Shape& shape);

/// The lanes of a hierarchical plan: the first one claims the scratch, the others begin after it.
class Lanes {
 public:
  Lanes(plan::Builder& b, int count, bool claims) : b_(b), count_(count), claims_(claims) {}

  /// Opens the next lane and its block.
  plan::Builder& next();

 private:
  plan::Builder& b_;
  int count_;
  bool claims_;
  int opened_ = 0;
};

/// Rails of this rank's node that another rank owns; every rank begins after its own place.
std::vector<int> rails_of_others(const Nodes& nodes, int me);

/// Copies finished slices of those rails from their owners' kept areas, the first of which is `kept`, to the output.
void copy_out(plan::Builder& b, const Nodes& nodes, int parts, int kept);

}  // namespace tutti::algorithms
