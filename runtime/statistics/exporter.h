// On one rank of each node: gathers what the node's ranks have derived, and puts it into batches for rank 0 (stamp_batch.h), with times by
// the clock of rank 0. Runs on the control thread; reads only.
//
// Each epoch is told once. What its rank has derived is read from that rank's ring of exports; what nobody has come to derive yet, but all
// have left, is derived here. Where the rings go round between two looks, the epochs in between are lost, and counted; the pause between
// looks follows how much there was the last time.
//
// In a large job rank 0 could not take everything. Then epochs are told of in runs of kRun, one run in `one_in`: the same on all nodes,
// because an epoch is of use only if all tell of it.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "runtime/bootstrap/clock_map.h"
#include "runtime/bootstrap/stamp_batch.h"
#include "runtime/statistics/node_part.h"
#include "runtime/statistics/turns.h"

namespace tutti::statistics {

/// Which epochs are told to rank 0.
struct Selection {
  static constexpr uint64_t kRun = 1024;
  static constexpr uint64_t kNodesInFull = 8;
  uint64_t one_in = 1;

  static Selection for_nodes(int nodes) {
    return {std::max<uint64_t>(std::bit_ceil(static_cast<uint64_t>(nodes)) / kNodesInFull, 1)};
  }
  bool has(uint64_t epoch) const { return epoch / kRun % one_in == 0; }
};

class StampExporter {
 public:
  /// `rank_of` by place.
  StampExporter(std::vector<NodePart> parts, int node, std::vector<int> rank_of, uint64_t first_epoch,
                Selection selection);

  /// Adds at least one batch. Returns after how many ns to look again.
  uint64_t collect(const ClockMap& to_root, std::vector<StampBatch>& batches);

 private:
  static constexpr uint64_t kShortestPauseNs = 10'000'000;
  static constexpr uint64_t kLongestPauseNs = 250'000'000;

  uint64_t collect_derived(size_t place, std::vector<StampBatch>& batches);
  void collect_pending(size_t place, std::vector<StampBatch>& batches);
  void add(uint64_t epoch, const NodeVerdict& verdict, std::vector<StampBatch>& batches);
  void skip_to(size_t place, uint64_t number);
  Turns turns(size_t place) const { return {static_cast<int>(place), static_cast<int>(parts_.size())}; }

  std::vector<NodePart> parts_;
  int node_;
  std::vector<int> rank_of_;
  Selection selection_;
  std::vector<uint64_t> next_;  // by place: the first epoch of its turns that has not been told
  uint64_t lost_ = 0;
  uint64_t pause_ns_ = kShortestPauseNs;
  ClockMap to_root_;
};

}  // namespace tutti::statistics
