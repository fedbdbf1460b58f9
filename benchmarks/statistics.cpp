// Percentiles, mean and variation of a row's samples.
#include "benchmarks/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

namespace tutti::bench {

std::optional<double> percentile(std::span<const double> sorted, int share) {
  const size_t n = sorted.size();
  const auto part = static_cast<size_t>(share);
  if (n == 0) return std::nullopt;
  // Above the median at least one sample must lie in the share that the percentile leaves out.
  if (part > 5000 && part < 10'000 && n * (10'000 - part) < 10'000) return std::nullopt;
  const size_t nearest_rank = (n * part + 9999) / 10'000;
  return sorted[std::max<size_t>(nearest_rank, 1) - 1];
}

namespace {

std::optional<double> variation(std::span<const double> samples, double mean) {
  if (samples.size() < 2 || mean <= 0) return std::nullopt;
  const double squares = std::accumulate(samples.begin(), samples.end(), 0.0, [mean](double sum, double x) {
    return sum + (x - mean) * (x - mean);
  });
  return std::sqrt(squares / static_cast<double>(samples.size() - 1)) / mean;
}

}  // namespace

Summary summarize(std::vector<double> samples) {
  Summary result;
  if (samples.empty()) return result;
  std::sort(samples.begin(), samples.end());
  result.samples = static_cast<int64_t>(samples.size());
  result.mean = std::accumulate(samples.begin(), samples.end(), 0.0) / static_cast<double>(samples.size());
  result.max = samples.back();
  result.cv = variation(samples, result.mean);
  result.p50 = percentile(samples, 5000);
  result.p90 = percentile(samples, 9000);
  result.p99 = percentile(samples, 9900);
  result.p999 = percentile(samples, 9990);
  result.p9999 = percentile(samples, 9999);
  return result;
}

}  // namespace tutti::bench
