// What a rank of the control tree knows of the time after set-up: by how much its clock differs from that of rank 0.
//
// Each rank asks its parent, in bursts of a few round trips one right after the other: often at first, then once a second. The answer has
// the parent's time, and what the parent knows of the time of rank 0; the two maps one after the other (clock_map.h) are what
// this rank knows. So it costs a rank one exchange a second with each neighbour in the tree, whatever the number of ranks. A rank on
// its parent's node shares its counter: then there is nothing to measure, and no error.
#pragma once

#include <cstdint>
#include <optional>

#include "runtime/bootstrap/clock_map.h"
#include "runtime/bootstrap/frame.h"

namespace tutti {

class ControlClock {
 public:
  ControlClock(bool is_root, bool shares_parents_counter);

  /// From this rank's clock to that of rank 0; nothing while it is not known.
  std::optional<ClockMap> to_root() const;

  /// When to begin the next burst: begin() is its first query's payload. Never on rank 0.
  uint64_t next_ns() const { return next_ns_; }
  std::string begin(uint64_t now);
  /// The parent has answered. The next query of the burst, if there is one more.
  std::optional<std::string> hear(const TimeAnswer& answer);

  /// What this rank tells a child that has asked.
  TimeAnswer answer(uint64_t sent) const;

 private:
  static constexpr int kBurst = 8;
  static constexpr uint64_t kFirstPauseNs = 20'000'000;
  static constexpr uint64_t kLongestPauseNs = 1'000'000'000;

  std::string query();

  bool is_root_;
  bool shares_;
  ClockWatch watch_;
  std::optional<ClockMap> parents_;  // to rank 0
  std::optional<ClockMap> to_parent_;
  uint64_t next_ns_ = 0;
  uint64_t pause_ns_ = kFirstPauseNs;
  uint64_t sent_ = 0;
  int left_ = 0;  // of this burst
};

}  // namespace tutti
