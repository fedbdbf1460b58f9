// Intervals of percentiles against distributions whose percentiles are known.
#include "benchmarks/intervals.h"

#include <cmath>
#include <random>
#include <vector>

#include "tests/catch.h"

using namespace tutti::bench;

namespace {

/// Exponential with mean 1, in which neighbours are equal in runs of `run`.
std::vector<double> samples(size_t n, size_t run, unsigned seed) {
  std::mt19937 random(seed);
  std::exponential_distribution<double> draw(1);
  std::vector<double> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = i % run == 0 ? draw(random) : values[i - 1];
  return values;
}

bool holds(const std::optional<Interval>& interval, double value) {
  return interval && interval->low <= value && value <= interval->high;
}

}  // namespace

TEST_CASE("about 19 of 20 intervals hold the true percentile") {
  constexpr int kRepeats = 60;
  // Independent samples, and samples that come in runs: an interval that took those for independent would be too narrow.
  for (const size_t run : {size_t{1}, size_t{20}}) {
    int p50 = 0;
    int p99 = 0;
    for (int i = 0; i < kRepeats; ++i) {
      const std::vector<double> values = samples(4000, run, static_cast<unsigned>(i));
      if (holds(confidence(values, 5000), std::log(2))) ++p50;
      if (holds(confidence(values, 9900), std::log(100))) ++p99;
    }
    INFO("runs of " << run << ": p50 " << p50 << ", p99 " << p99);
    CHECK(p50 >= 52);
    CHECK(p99 >= 48);
    CHECK(p50 < kRepeats);
  }
}

TEST_CASE("an interval holds its own percentile and is narrower with more samples") {
  const auto width = [](size_t n) {
    const std::optional<Interval> interval = confidence(samples(n, 1, 7), 5000);
    REQUIRE(interval);
    return interval->high - interval->low;
  };
  CHECK(width(50'000) < width(500) / 2);
  const std::vector<double> same(1000, 3.5);
  CHECK(confidence(same, 5000)->low == 3.5);
  CHECK(confidence(same, 9900)->high == 3.5);
}

TEST_CASE("few samples have no interval") {
  CHECK_FALSE(confidence({}, 5000));
  CHECK_FALSE(confidence(samples(19, 1, 1), 5000));
  CHECK(confidence(samples(20, 1, 1), 5000));
  CHECK_FALSE(confidence(samples(999, 1, 1), 9900));
  CHECK(confidence(samples(1000, 1, 1), 9900));
}

TEST_CASE("what disturbs both cancels in the ratio") {
  // Both are slow at the same times, by far more than they differ.
  std::vector<double> slow(6400);
  std::vector<double> fast(6400);
  std::mt19937 random(3);
  std::uniform_real_distribution<double> noise(0.99, 1.01);
  for (size_t i = 0; i < slow.size(); ++i) {
    const double weather = i / 100 % 2 == 0 ? 1 : 3;
    fast[i] = weather * noise(random);
    slow[i] = 1.2 * weather * noise(random);
  }
  const std::optional<Interval> ratio = ratio_confidence(slow, fast, 5000);
  REQUIRE(ratio);
  CHECK((ratio->low > 1.1 && ratio->low < 1.25));
  CHECK((ratio->high < 1.3 && ratio->high > 1.15));
  const std::optional<Interval> alone = confidence(fast, 5000);
  CHECK(alone->high - alone->low > 1);  // by itself neither is sure
}

TEST_CASE("a ratio needs pairs") {
  CHECK_FALSE(ratio_confidence(samples(100, 1, 1), samples(99, 1, 1), 5000));
  CHECK_FALSE(ratio_confidence(std::vector<double>(100, 1.0), std::vector<double>(100, 0.0), 5000));
}
