// Exchanges stamps in pieces, so that memory for the exchange does not grow with the iterations.
#include "benchmarks/trace.h"

#include <algorithm>
#include <cstddef>

#include "benchmarks/statistics.h"
#include "core/clock.h"

namespace tutti::bench {
namespace {

constexpr size_t kPiece = 4096;

double microseconds(uint64_t ticks) {
  return static_cast<double>(ticks_to_ns(ticks)) / 1000;
}

/// All ranks' values of one kind, by rank.
std::vector<std::vector<uint64_t>> from_all(World& world, const std::vector<uint64_t>& mine) {
  std::vector<std::vector<uint64_t>> all(static_cast<size_t>(world.size()), mine);
  for (int rank = 0; rank < world.size(); ++rank) world.broadcast(all[static_cast<size_t>(rank)], rank);
  return all;
}

}  // namespace

std::optional<Arrivals> arrivals_of(const Trace& trace) {
  if (trace.skew_us.empty()) return std::nullopt;
  const auto sorted = [](std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values;
  };
  const std::vector<double> service = sorted(trace.service_us);
  const auto most = std::max_element(trace.times_last.begin(), trace.times_last.end());
  Arrivals arrivals;
  arrivals.skew_p50_us = percentile(sorted(trace.skew_us), 5000).value_or(0);
  arrivals.service_p50_us = percentile(service, 5000).value_or(0);
  arrivals.service_p99_us = percentile(service, 9900);
  arrivals.culprit_rank = static_cast<int>(most - trace.times_last.begin());
  arrivals.culprit_share = static_cast<double>(*most) / static_cast<double>(trace.skew_us.size());
  return arrivals;
}

void Combiner::add(std::span<const Stamps> stamps, Trace& trace) {
  while (!stamps.empty()) {
    const std::span<const Stamps> piece = stamps.first(std::min(stamps.size(), kPiece));
    stamps = stamps.subspan(piece.size());
    add_times(piece, trace);
    if (world_.one_clock() && world_.size() > 1) add_arrivals(piece, trace);
  }
}

void Combiner::add_times(std::span<const Stamps> stamps, Trace& trace) {
  std::vector<double> times;
  times.reserve(stamps.size());
  for (const Stamps& one : stamps) {
    trace.start_us.push_back(microseconds(one.arrival - run_start_));
    times.push_back(microseconds(one.exit - one.arrival));
  }
  world_.max(std::span<double>(times));
  trace.us.insert(trace.us.end(), times.begin(), times.end());
}

void Combiner::add_arrivals(std::span<const Stamps> stamps, Trace& trace) {
  std::vector<uint64_t> mine;
  std::vector<uint64_t> last_exit;
  for (const Stamps& one : stamps) {
    mine.push_back(one.arrival);
    last_exit.push_back(one.exit);
  }
  world_.max(std::span<uint64_t>(last_exit));
  const std::vector<std::vector<uint64_t>> arrivals = from_all(world_, mine);
  trace.times_last.resize(arrivals.size());
  if (keep_lateness_) trace.late_us.resize(arrivals.size());
  for (size_t i = 0; i < stamps.size(); ++i) {
    uint64_t first = arrivals[0][i];
    size_t last = 0;
    for (size_t rank = 1; rank < arrivals.size(); ++rank) {
      first = std::min(first, arrivals[rank][i]);
      if (arrivals[rank][i] > arrivals[last][i]) last = rank;
    }
    trace.skew_us.push_back(microseconds(arrivals[last][i] - first));
    trace.service_us.push_back(microseconds(last_exit[i] - arrivals[last][i]));
    ++trace.times_last[last];
    for (size_t rank = 0; rank < trace.late_us.size(); ++rank)
      trace.late_us[rank].push_back(static_cast<float>(microseconds(arrivals[rank][i] - first)));
  }
}

}  // namespace tutti::bench
