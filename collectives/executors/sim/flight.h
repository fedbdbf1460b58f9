// Counts the slices in flight to each receiver: written for it and not yet completely read by it.
//
// A slice counts from the begin of the step that writes its slot to the end of the step in which a rank other
// than the writer reads it; that rank is the receiver, whether the slice was pushed to it or is pulled by it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "collectives/executors/sim/model.h"

namespace tutti::sim {

class Flight {
 public:
  explicit Flight(size_t ranks) : written_(ranks), spans_(ranks), most_(ranks) {}

  /// `offset` is the slot's place in the window of rank `window`.
  void write(size_t window, uint64_t offset, size_t writer, Time begin) {
    written_[window][offset] = {begin, writer};
  }

  void read(size_t window, uint64_t offset, size_t reader, Time end) {
    const auto slot = written_[window].find(offset);
    if (slot == written_[window].end() || slot->second.writer == reader) return;
    spans_[reader].push_back({slot->second.begin, +1});
    spans_[reader].push_back({end, -1});
  }

  /// An operation has ended on `reader`.
  void settle(size_t reader) {
    std::vector<Change>& changes = spans_[reader];
    std::sort(changes.begin(), changes.end(),
              [](const Change& a, const Change& b) { return a.at != b.at ? a.at < b.at : a.by < b.by; });
    int32_t now = 0;
    for (const Change& change : changes) {
      now += change.by;
      most_[reader] = std::max(most_[reader], static_cast<uint32_t>(std::max(now, 0)));
    }
    changes.clear();
  }

  const std::vector<uint32_t>& most() const { return most_; }

 private:
  struct Written {
    Time begin;
    size_t writer;
  };
  struct Change {
    Time at;
    int32_t by;
  };

  std::vector<std::unordered_map<uint64_t, Written>> written_;  // by window, then by slot
  std::vector<std::vector<Change>> spans_;                      // by reader, of its current operation
  std::vector<uint32_t> most_;
};

}  // namespace tutti::sim
