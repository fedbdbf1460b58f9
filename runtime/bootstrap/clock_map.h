// What one clock shows when another does, and how well that is known.
//
// A *clock* here is the tick counter of a process in nanoseconds as that process has calibrated it (stamp_clock_ns()). Clocks of different
// nodes have an offset, and run apart at a rate that stays the same for minutes: a line.
//
// A round trip says that at the middle of it, by the own clock, the peer's clock showed what the peer has answered, give or take half of
// the round trip, however long each of the two ways took. ClockWatch keeps the best of the round trips of each moment (a burst), forgets the
// worse moments, and lays a line through the rest. If the peer's clock is a line too, it passes each of those points at a distance of
// at most half the round trip, and the line that was laid passes it at its residual. So the two lines are never further apart than the
// largest sum of the two (`error_ns`) between the first and the last of the points, and outside they part at twice that sum over the
// time between them, at most (`growth`). Until that is better than kMostDrift, the best single point is used, and `growth` is kMostDrift.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace tutti {

/// The tick counter of this process in ns: what a ClockMap maps. Not now_ns(): that has another origin, and another rate by a hair.
uint64_t stamp_clock_ns();

/// From the times of one clock to those of another.
struct ClockMap {
  uint64_t from = 0;  // when the one clock shows this, the other
  uint64_t to = 0;    // shows this
  double drift = 0;   // what the other clock gains per ns of the one
  uint64_t error_ns = 0;
  double growth = 0;  // of the error, per ns before `begin` and after `end`
  uint64_t begin = 0;
  uint64_t end = UINT64_MAX;

  static constexpr double kMostDrift = 1e-2;  // beyond it, a map is not valid

  /// Clocks of one counter that two processes have calibrated each for itself: `ticks` is any moment, the scales are ns per tick,
  /// times 2^32.
  static ClockMap of_one_counter(uint64_t ticks, uint64_t own_scale, uint64_t others_scale);

  uint64_t map(uint64_t time) const;
  /// Bound of |map(time) - what the other clock then shows|.
  uint64_t error_at(uint64_t time) const;
  /// This one, and from there on.
  ClockMap then(const ClockMap& next) const;
  bool valid() const;

  bool operator==(const ClockMap&) const = default;
};

class ClockWatch {
 public:
  /// Clocks run apart by less; calibrating over a millisecond alone is good to 5e-5.
  static constexpr double kMostDrift = 5e-4;

  /// A round trip: begun at `sent` and over at `received` by the own clock; the peer answered at `peer` by its own. The times of `sent` grow.
  void add(uint64_t sent, uint64_t peer, uint64_t received);
  /// Nothing before the first round trip.
  std::optional<ClockMap> map() const;

 private:
  struct Point {
    uint64_t at = 0;  // the middle
    uint64_t peer = 0;
    uint64_t half = 0;   // of the round trip: the error
    uint64_t begun = 0;  // when its burst began
  };
  static constexpr size_t kWindow = 64;             // moments
  static constexpr uint64_t kBurstNs = 10'000'000;  // round trips so close are of one moment

  ClockMap single(const Point& point) const;
  std::optional<ClockMap> line(uint64_t most_half) const;

  std::deque<Point> points_;
};

}  // namespace tutti
