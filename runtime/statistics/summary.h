// Everything that is known at one moment about the operations of a node's ranks, gathered from their parts of shared memory.
#pragma once

#include <cstdint>
#include <vector>

#include "core/histogram.h"
#include "runtime/statistics/node_part.h"

namespace tutti::statistics {

/// Of one kind of operations. Times are nanoseconds.
struct KindSummary {
  Kind kind = 0;
  Histogram latency;          // of this rank
  Histogram latency_of_node;  // of all its ranks
  Histogram skew;
  Histogram service;
  uint64_t waited_ns = 0;  // of this rank's latencies, until the last dependency was there
};

struct RankSummary {
  int rank = 0;
  uint64_t operations = 0;  // complete
  uint64_t times_last = 0;
  uint64_t late_ns = 0;  // all together, after the rank before
  uint64_t most_late_ns = 0;
};

struct Summary {
  std::vector<KindSummary> kinds;  // ascending
  std::vector<RankSummary> ranks;  // of the node, by place
  int place = 0;                   // of the rank that gathered this
  uint64_t derived = 0;            // operations of which skew, service and culprit are known
  uint64_t dropped = 0;            // those whose stamps were overwritten before anybody had looked
  uint64_t pending = 0;            // this rank has completed them, and other ranks have not yet

  const RankSummary& own() const { return ranks[static_cast<size_t>(place)]; }
};

/// `rank_of` by place. Only reads; for any thread of any rank. Beside ranks at work the histograms may lack the latest operations, so that
/// they count fewer than `derived`; of what the ranks had completed before the call, `derived` and `dropped` lack nothing.
Summary summarize(const std::vector<NodePart>& parts, int place, const std::vector<int>& rank_of);

}  // namespace tutti::statistics
