// What a row says about its samples.
//
// Percentiles are nearest-rank: the smallest sample that at least that share of all samples does not exceed, so
// each is a time that was measured. One that the number of samples cannot support is absent: p90 needs 10
// samples, p99 100, p99.9 1000 and p99.99 10,000.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace tutti::bench {

struct Summary {
  int64_t samples = 0;
  double mean = 0;
  double max = 0;
  std::optional<double> cv;  // sample standard deviation / mean; needs two samples
  std::optional<double> p50;
  std::optional<double> p90;
  std::optional<double> p99;
  std::optional<double> p999;
  std::optional<double> p9999;
};

/// The share in parts of ten thousand, from 1 to 10,000; of samples in ascending order.
std::optional<double> percentile(std::span<const double> sorted, int share);

Summary summarize(std::vector<double> samples);

}  // namespace tutti::bench
