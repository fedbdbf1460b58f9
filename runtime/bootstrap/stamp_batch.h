// What a node tells rank 0 of its operations, some at a time: when its ranks arrived and left, by the clock of rank 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tutti {

/// Of the ranks of one node in one operation. first <= before_last <= last.
struct EpochSummary {
  static constexpr size_t kBytes = 8 + 1 + 4 + 4 * 8;
  uint64_t epoch = 0;
  uint8_t kind = 0;          // statistics::Kind
  int32_t culprit = 0;       // the last rank of the node to arrive
  uint64_t first = 0;        // arrivals, ns
  uint64_t before_last = 0;  // of the last rank but one; the same as `last` where the node has one rank
  uint64_t last = 0;
  uint64_t last_exit = 0;

  bool operator==(const EpochSummary&) const = default;
};

struct StampBatch {
  static constexpr size_t kHeadBytes = 4 + 8 + 8 + 8;
  static constexpr size_t kMost = 512;  // summaries
  int32_t node = 0;
  uint64_t error_ns = 0;  // bound of the error of all times in it
  uint64_t lost = 0;      // operations of which nothing will be told, since the communicator was made
  uint64_t through = 0;   // all operations up to this one have been told, or are lost
  std::vector<EpochSummary> epochs{};

  bool operator==(const StampBatch&) const = default;
};

}  // namespace tutti
