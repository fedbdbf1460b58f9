// What the stamps of all ranks say about one operation: skew, service, and who came last.
//
//   skew      last arrival - first arrival: how long the first rank to come waited for the last one
//   service   last exit - last arrival: how long it took once everybody was there
//   culprit   the last rank to arrive; of two that came at the same tick the one that was added first
//   late      the culprit's arrival - the arrival of the last rank before it: what this one rank cost all others
//
// The culprit is the rank that *waited least*: a rank with a long operation is a victim.
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/statistics/stamps.h"

namespace tutti::statistics {

/// Gathers the stamps of one operation, a rank at a time in any order. All times are ticks.
class Verdict {
 public:
  void clear() { *this = Verdict(); }

  void add(int rank, const Stamps& stamps) {
    if (ranks_ == 0 || stamps.arrival > last_arrival_) {
      before_last_ = ranks_ == 0 ? stamps.arrival : last_arrival_;
      last_arrival_ = stamps.arrival;
      culprit_ = rank;
    } else {
      before_last_ = ranks_ == 1 ? stamps.arrival : std::max(before_last_, stamps.arrival);
    }
    first_arrival_ = ranks_ == 0 ? stamps.arrival : std::min(first_arrival_, stamps.arrival);
    last_exit_ = std::max(last_exit_, stamps.exit);
    ++ranks_;
  }

  int ranks() const { return ranks_; }
  int culprit() const { return culprit_; }
  uint64_t first_arrival() const { return first_arrival_; }
  uint64_t before_last() const { return before_last_; }
  uint64_t last_arrival() const { return last_arrival_; }
  uint64_t last_exit() const { return last_exit_; }
  uint64_t skew() const { return last_arrival_ - first_arrival_; }
  uint64_t service() const { return last_exit_ > last_arrival_ ? last_exit_ - last_arrival_ : 0; }
  uint64_t late() const { return last_arrival_ - before_last_; }

 private:
  int ranks_ = 0;
  int culprit_ = -1;
  uint64_t first_arrival_ = 0;
  uint64_t before_last_ = 0;
  uint64_t last_arrival_ = 0;
  uint64_t last_exit_ = 0;
};

}  // namespace tutti::statistics
