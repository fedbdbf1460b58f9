// Percentiles against their definition, counted out sample by sample.
#include "benchmarks/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "tests/catch.h"

using namespace tutti::bench;

namespace {

/// The smallest sample such that at least share/10000 of all samples are not above it.
double naive(const std::vector<double>& samples, int share) {
  double best = *std::max_element(samples.begin(), samples.end());
  for (const double candidate : samples) {
    const auto below =
        std::count_if(samples.begin(), samples.end(), [&](double x) { return x <= candidate; });
    const bool enough = below * 10'000 >= static_cast<std::ptrdiff_t>(samples.size()) * share;
    if (enough) best = std::min(best, candidate);
  }
  return best;
}

std::vector<double> random_samples(size_t n, unsigned seed, bool ties) {
  std::mt19937 random(seed);
  std::vector<double> samples(n);
  for (double& x : samples)
    x = ties ? static_cast<double>(random() % 7) : static_cast<double>(random()) / 1000;
  return samples;
}

}  // namespace

TEST_CASE("percentiles are those of the definition") {
  for (const size_t n : {1U, 2U, 3U, 9U, 10U, 11U, 99U, 100U, 101U, 999U, 1000U, 1001U, 10001U}) {
    for (const bool ties : {false, true}) {
      const std::vector<double> samples = random_samples(n, static_cast<unsigned>(n), ties);
      const Summary summary = summarize(samples);
      INFO("n = " << n << (ties ? ", with ties" : ""));
      CHECK(summary.samples == static_cast<int64_t>(n));
      CHECK(summary.max == *std::max_element(samples.begin(), samples.end()));
      REQUIRE(summary.p50);
      CHECK(*summary.p50 == naive(samples, 5000));
      if (summary.p90) CHECK(*summary.p90 == naive(samples, 9000));
      if (summary.p99) CHECK(*summary.p99 == naive(samples, 9900));
      if (summary.p999) CHECK(*summary.p999 == naive(samples, 9990));
      if (summary.p9999) CHECK(*summary.p9999 == naive(samples, 9999));
    }
  }
}

TEST_CASE("a percentile needs enough samples") {
  const auto supported = [](size_t n) {
    const Summary s = summarize(std::vector<double>(n, 1.0));
    return std::vector<bool>{s.p50.has_value(), s.p90.has_value(), s.p99.has_value(), s.p999.has_value()};
  };
  CHECK(supported(1) == std::vector<bool>{true, false, false, false});
  CHECK(supported(9) == std::vector<bool>{true, false, false, false});
  CHECK(supported(10) == std::vector<bool>{true, true, false, false});
  CHECK(supported(99) == std::vector<bool>{true, true, false, false});
  CHECK(supported(100) == std::vector<bool>{true, true, true, false});
  CHECK(supported(999) == std::vector<bool>{true, true, true, false});
  CHECK(supported(1000) == std::vector<bool>{true, true, true, true});
  CHECK_FALSE(summarize(std::vector<double>(9999, 1.0)).p9999);
  CHECK(summarize(std::vector<double>(10'000, 1.0)).p9999 == 1.0);
  CHECK_FALSE(summarize({}).p50);
}

TEST_CASE("mean and variation") {
  const Summary summary = summarize({1, 2, 3, 4});
  CHECK(summary.mean == 2.5);
  REQUIRE(summary.cv);
  CHECK(std::abs(*summary.cv - std::sqrt(5.0 / 3) / 2.5) < 1e-12);
  CHECK_FALSE(summarize({5}).cv);
  CHECK(summarize({7, 7, 7}).cv == 0.0);
}
