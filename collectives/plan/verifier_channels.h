// The counters of all channels, with the clock that each raise releases.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "collectives/plan/plan.h"
#include "collectives/plan/verifier_clocks.h"

namespace tutti::plan {

struct Raise {
  uint64_t value;
  Snapshots::Id released;
  uint32_t operation;
};

/// One counter: one writer, grows only. Raises of one operation are numbered from 0 without gaps.
struct ChannelCounter {
  uint64_t value = 0;
  uint32_t operation = 0xffffffff;  // of the latest raise
  uint32_t lane = 0;                // that raised it in that operation
  int64_t raises = 0;               // in that operation
  size_t forgotten = 0;             // leading entries of `history` whose snapshots were given back
  std::vector<Raise> history;
};

class ChannelCounters {
 public:
  explicit ChannelCounters(uint32_t ranks)
      : ranks_(ranks),
        pairs_(size_t{ranks} * ranks * kPairChannels),
        boards_(size_t{ranks} * kBoardChannels) {}

  ChannelCounter& pair(uint32_t from, uint32_t to, uint32_t index) {
    return pairs_[(size_t{from} * ranks_ + to) * kPairChannels + index];
  }
  ChannelCounter& board(uint32_t rank, uint32_t index) {
    return boards_[size_t{rank} * kBoardChannels + index];
  }

 private:
  uint32_t ranks_;
  std::vector<ChannelCounter> pairs_;
  std::vector<ChannelCounter> boards_;
};

}  // namespace tutti::plan
