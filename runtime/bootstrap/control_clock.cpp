#include "runtime/bootstrap/control_clock.h"

#include <algorithm>

#include "core/clock.h"

namespace tutti {

namespace {

/// Nanoseconds per tick of this process, times 2^32.
uint64_t own_scale() {
  return ticks_to_ns(uint64_t{1} << 32);
}

}  // namespace

ControlClock::ControlClock(bool is_root, bool shares_parents_counter)
    : is_root_(is_root), shares_(shares_parents_counter), next_ns_(is_root ? UINT64_MAX : 0) {}

std::optional<ClockMap> ControlClock::to_root() const {
  if (is_root_) return ClockMap{};
  if (!parents_ || !to_parent_) return std::nullopt;
  const ClockMap both = to_parent_->then(*parents_);
  if (!both.valid()) return std::nullopt;
  return both;
}

std::string ControlClock::begin(uint64_t now) {
  next_ns_ = now + pause_ns_;
  pause_ns_ = std::min(2 * pause_ns_, kLongestPauseNs);
  left_ = shares_ ? 1 : kBurst;
  return query();
}

std::string ControlClock::query() {
  --left_;
  sent_ = stamp_clock_ns();
  return write_numbers(sent_);
}

std::optional<std::string> ControlClock::hear(const TimeAnswer& answer) {
  const uint64_t received = stamp_clock_ns();
  if (answer.sent != sent_ || sent_ == 0) return std::nullopt;
  if (shares_) {
    to_parent_ = ClockMap::of_one_counter(ticks(), own_scale(), answer.scale);
  } else {
    watch_.add(sent_, answer.time, received);
    to_parent_ = watch_.map();
  }
  parents_ = answer.to_root;
  sent_ = 0;
  if (left_ <= 0) return std::nullopt;
  return query();
}

TimeAnswer ControlClock::answer(uint64_t sent) const {
  return {.sent = sent, .time = stamp_clock_ns(), .scale = own_scale(), .to_root = to_root()};
}

}  // namespace tutti
