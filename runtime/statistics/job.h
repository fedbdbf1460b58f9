// On rank 0: joins what all nodes tell of each operation into the skew, service and culprit of the whole job.
//
// Times have come to one clock, each node's with an error of its own (stamp_batch.h). A difference of times of two nodes is wrong by the sum
// of both errors at most, and so is each figure here by the sum of the two largest, its *uncertainty*. A culprit is *certain*
// where it was late by more than that.
//
// Operations that are not told of by all nodes within the next kWindow ones are given up and counted as incomplete.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "core/histogram.h"
#include "runtime/bootstrap/stamp_batch.h"
#include "runtime/statistics/exporter.h"

namespace tutti::statistics {

/// Of errors of many figures.
struct Uncertainty {
  uint64_t sum_ns = 0;
  uint64_t most_ns = 0;

  void add(uint64_t ns) {
    sum_ns += ns;
    most_ns = std::max(most_ns, ns);
  }
};

/// Of one kind of operations.
struct JobKind {
  Kind kind = 0;
  Histogram skew;
  Histogram service;
  Uncertainty uncertainty;  // of each of the two
};

struct JobRank {
  uint64_t times_last = 0;
  uint64_t times_certain = 0;  // of these
  uint64_t late_ns = 0;
  uint64_t most_late_ns = 0;
  Uncertainty uncertainty;  // of its lateness
};

struct JobNode {
  uint64_t error_ns = 0;  // of its latest times, on the clock of rank 0
  uint64_t lost = 0;
  uint64_t through = 0;  // it has told of all epochs up to this one
};

struct JobSummary {
  std::vector<JobKind> kinds;  // ascending
  std::vector<JobRank> ranks;
  std::vector<JobNode> nodes;
  uint64_t derived = 0;
  uint64_t incomplete = 0;
  uint64_t one_in = 1;
};

/// For any threads.
class JobFigures {
 public:
  /// `node_of` by rank.
  JobFigures(const std::vector<int>& node_of, uint64_t first_epoch, Selection selection);

  /// Batches that say what cannot be are dropped.
  void hear(const StampBatch& batch);
  /// True once all nodes have told of all epochs up to this one; waits `limit_ns` for it.
  bool wait_for(uint64_t epoch, uint64_t limit_ns);
  JobSummary summary() const;

 private:
  static constexpr size_t kWindow = 16384;

  /// An operation that not all nodes have told of.
  struct Slot {
    uint64_t epoch = 0;  // 0: none
    int heard = 0;       // nodes
    EpochSummary all{};  // of those
    uint64_t error_ns = 0;
    uint64_t second_error_ns = 0;
  };

  bool is_sound(const StampBatch& batch) const;
  void add(int node, const EpochSummary& epoch, uint64_t error_ns);
  void merge(Slot& slot, int node, const EpochSummary& from, uint64_t error_ns) const;
  void conclude(const Slot& slot);

  const std::vector<int> node_of_;
  std::vector<int> ranks_on_;  // by node
  const Selection selection_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Slot> slots_;
  std::vector<bool> told_;  // by slot and node
  std::vector<JobNode> nodes_;
  std::vector<JobRank> ranks_;
  std::map<Kind, std::unique_ptr<JobKind>> kinds_;
  uint64_t derived_ = 0;
  uint64_t incomplete_ = 0;
};

}  // namespace tutti::statistics
