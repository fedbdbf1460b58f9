#include "runtime/bootstrap/clock_map.h"

#include <algorithm>
#include <cmath>

#include "core/clock.h"

namespace tutti {

namespace {

/// How far apart two times are, `later` being after `earlier` as a rule.
double since(uint64_t earlier, uint64_t later) {
  return static_cast<double>(static_cast<int64_t>(later - earlier));
}

/// A bound, rounded up; times beyond are as good as unknown.
uint64_t bound(double ns) {
  constexpr double kMost = 9e18;
  return ns < kMost ? static_cast<uint64_t>(std::ceil(ns)) : UINT64_MAX / 2;
}

uint64_t sum(uint64_t a, uint64_t b) {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

}  // namespace

uint64_t stamp_clock_ns() {
  return ticks_to_ns(ticks());
}

ClockMap ClockMap::of_one_counter(uint64_t ticks, uint64_t own_scale, uint64_t others_scale) {
  __extension__ using Wide = unsigned __int128;
  constexpr int kFractionBits = 32;
  constexpr uint64_t kRounding = 2;
  ClockMap map;
  map.from = static_cast<uint64_t>((Wide{ticks} * own_scale) >> kFractionBits);
  map.to = static_cast<uint64_t>((Wide{ticks} * others_scale) >> kFractionBits);
  map.drift =
      (static_cast<double>(others_scale) - static_cast<double>(own_scale)) / static_cast<double>(own_scale);
  map.error_ns = kRounding;
  return map;
}

uint64_t ClockMap::map(uint64_t time) const {
  return to + (time - from) + static_cast<uint64_t>(std::llround(drift * since(from, time)));
}

uint64_t ClockMap::error_at(uint64_t time) const {
  double outside = 0;
  if (time < begin) outside = since(time, begin);
  if (time > end) outside = since(end, time);
  return sum(error_ns, bound(growth * std::abs(outside)));
}

ClockMap ClockMap::then(const ClockMap& next) const {
  // Times of the middle clock, by the first one: the small difference does not matter to where the error begins to grow.
  const auto back = [&](uint64_t time) { return from + (time - to); };
  ClockMap both;
  both.from = from;
  both.to = next.map(to);
  both.drift = drift + next.drift + drift * next.drift;
  both.error_ns = sum(error_ns, next.error_ns);
  both.growth = growth + next.growth;
  both.begin = next.begin == 0 ? begin : std::max(begin, back(next.begin));
  both.end = next.end == UINT64_MAX ? end : std::min(end, back(next.end));
  return both;
}

bool ClockMap::valid() const {
  return std::isfinite(drift) && std::abs(drift) <= kMostDrift && std::isfinite(growth) && growth >= 0 &&
         growth <= kMostDrift;
}

void ClockWatch::add(uint64_t sent, uint64_t peer, uint64_t received) {
  if (received < sent) return;
  const uint64_t half = (received - sent) / 2 + 1;
  Point point = {sent + (received - sent) / 2, peer, half, sent};
  if (!points_.empty() && sent - points_.back().begun < kBurstNs) {
    if (half >= points_.back().half) return;
    point.begun = points_.back().begun;
    points_.back() = point;
    return;
  }
  points_.push_back(point);
  if (points_.size() > kWindow) points_.pop_front();
}

std::optional<ClockMap> ClockWatch::map() const {
  if (points_.empty()) return std::nullopt;
  // The map is used until there is the next one.
  constexpr uint64_t kUsedForNs = 1'000'000'000;
  const uint64_t until = points_.back().at + kUsedForNs;
  ClockMap best = single(points_.back());
  const auto consider = [&](const ClockMap& other) {
    if (other.error_at(until) < best.error_at(until)) best = other;
  };
  uint64_t shortest = UINT64_MAX;
  for (const Point& point : points_) {
    consider(single(point));
    shortest = std::min(shortest, point.half);
  }
  // The shorter the round trips that count, the smaller the error; but too few of them, or old ones, say little of the drift.
  for (const uint64_t most : {shortest + shortest / 4, shortest * 2, shortest * 4, UINT64_MAX}) {
    if (const std::optional<ClockMap> found = line(most)) consider(*found);
  }
  return best;
}

ClockMap ClockWatch::single(const Point& point) const {
  return {.from = point.at,
          .to = point.peer,
          .error_ns = point.half,
          .growth = kMostDrift,
          .begin = point.at,
          .end = point.at};
}

/// Least squares through the points with such an error at most; nothing where they say no more of the drift than is known anyway.
std::optional<ClockMap> ClockWatch::line(uint64_t most_half) const {
  std::vector<Point> kept;
  for (const Point& point : points_) {
    if (point.half <= most_half) kept.push_back(point);
  }
  if (kept.size() < 2) return std::nullopt;
  const Point& first = kept.front();
  const auto x = [&](const Point& p) { return since(first.at, p.at); };
  const auto y = [&](const Point& p) { return since(first.peer, p.peer) - since(first.at, p.at); };
  const auto n = static_cast<double>(kept.size());
  double mean_x = 0;
  double mean_y = 0;
  for (const Point& p : kept) {
    mean_x += x(p) / n;
    mean_y += y(p) / n;
  }
  double xx = 0;
  double xy = 0;
  for (const Point& p : kept) {
    xx += (x(p) - mean_x) * (x(p) - mean_x);
    xy += (x(p) - mean_x) * (y(p) - mean_y);
  }
  const double span = x(kept.back());
  if (xx <= 0 || span <= 0) return std::nullopt;
  const double drift = xy / xx;
  double error = 0;
  for (const Point& p : kept) {
    const double residual = y(p) - (mean_y + drift * (x(p) - mean_x));
    error = std::max(error, static_cast<double>(p.half) + std::abs(residual));
  }
  ClockMap map;
  map.from = first.at;
  map.to = first.peer + static_cast<uint64_t>(std::llround(mean_y - drift * mean_x));
  map.drift = drift;
  map.error_ns = bound(error) + 1;
  map.growth = 2 * error / span;
  map.begin = first.at;
  map.end = kept.back().at;
  if (map.growth >= kMostDrift || !map.valid()) return std::nullopt;
  return map;
}

}  // namespace tutti
