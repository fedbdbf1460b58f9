// The rows of a run, on host and on device memory: which there are, how often each is measured, and what becomes of its times.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "benchmarks/options.h"
#include "benchmarks/output.h"

namespace tutti::bench {

// How many iterations there are where the user does not say.
inline constexpr int64_t kLeastWarmup = 5;
inline constexpr int64_t kMostWarmup = 10'000;
inline constexpr int64_t kLeastIterations = 20;
inline constexpr int64_t kMostIterations = 100'000;

/// What one row, or one row of each library with baselines, is about.
struct RowPlan {
  Call call;  // without its buffers
  uint64_t bytes = 0;
  bool in_place = false;

  std::string label(const CollectiveInfo& collective) const;
  /// The row of a trace; the library, its algorithm and what it got wrong are the caller's to add.
  Row row(const CollectiveInfo& collective, const Options& options, int ranks, Trace trace) const;
};

/// All rows in the order of the table.
std::vector<RowPlan> plan_rows(const CollectiveInfo& collective, const Options& options,
                               const std::vector<int>& roots);

/// Bytes of the longest message.
uint64_t longest(const std::vector<RowPlan>& plans);

/// Which of so many libraries has its turn. Over 2 * libraries iterations each library has each place, and comes after each other one,
/// equally often (a Latin square balanced as Williams does it), so that none profits or suffers from where it stands or from what its predecessor
/// leaves behind. Of two libraries the first changes with every iteration.
size_t whose_turn(int64_t iteration, size_t turn, size_t libraries);

}  // namespace tutti::bench
