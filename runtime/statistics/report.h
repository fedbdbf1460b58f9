// Statistics as text for programs: JSON (docs/statistics.md describes it) and the text format of Prometheus.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/statistics/job.h"
#include "runtime/statistics/summary.h"
#include "transports/rail_statistics.h"

namespace tutti::statistics {

/// Of whom a summary is.
struct Scope {
  int rank = 0;
  int size = 1;
  int node = 0;
  int nodes = 1;
  int communicator = 1;    // of this process: the first, the second, ...
  std::vector<int> ranks;  // of the node, by place
};

/// `job` is there on rank 0 of several nodes; `rails` are those of this rank.
std::string as_json(const Summary& summary, const Scope& scope, const std::optional<JobSummary>& job = {},
                    std::span<const RailStatistics> rails = {});

/// Figures of the whole node (skew, service, last arrivals) are in the text of its first rank only, so that sums over all ranks are right.
std::string as_prometheus(const Summary& summary, const Scope& scope,
                          const std::optional<JobSummary>& job = {},
                          std::span<const RailStatistics> rails = {});

}  // namespace tutti::statistics
