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

/// Of the values from `first` on keeps the first of each `every`.
template <typename Values>
void keep_one_in(size_t every, size_t first, Values& values) {
  if (values.size() <= first) return;
  size_t kept = first;
  for (size_t i = first; i < values.size(); i += every) values[kept++] = values[i];
  values.resize(kept);
}

void keep_one_in_trace(size_t every, size_t first, Trace& trace) {
  for (std::vector<double>* values : {&trace.start_us, &trace.us, &trace.skew_us, &trace.service_us})
    keep_one_in(every, first, *values);
  for (std::vector<float>& late : trace.late_us) keep_one_in(every, first, late);
}

}  // namespace

void Trace::end_window(size_t first) {
  const Summary all = summarize({us.begin() + static_cast<std::ptrdiff_t>(first), us.end()});
  windows.push_back({.start_s = (start_us[first] - start_us[0]) * 1e-6,
                     .iterations = all.samples,
                     .p50_us = all.p50.value_or(0),
                     .p99_us = all.p99,
                     .max_us = all.max});
}

void Trace::drop_samples() {
  for (std::vector<double>* values : {&start_us, &us, &skew_us, &service_us}) *values = {};
  late_us = {};
}

void Trace::thin(size_t first, size_t most) {
  if (every > 1) keep_one_in_trace(static_cast<size_t>(every), first, *this);
  while (us.size() > most) {
    keep_one_in_trace(2, 0, *this);
    every *= 2;
  }
}

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
  arrivals.culprit_share = static_cast<double>(*most) / static_cast<double>(trace.iterations);
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
    times.push_back(microseconds(one.exit - one.due) / calls_);
  }
  world_.max(std::span<double>(times));
  trace.iterations += static_cast<int64_t>(times.size());
  for (const double time : times) trace.max_us = std::max(trace.max_us, time);
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
    trace.service_us.push_back(microseconds(last_exit[i] - arrivals[last][i]) / calls_);
    ++trace.times_last[last];
    for (size_t rank = 0; rank < trace.late_us.size(); ++rank)
      trace.late_us[rank].push_back(static_cast<float>(microseconds(arrivals[rank][i] - first)));
  }
}

}  // namespace tutti::bench
