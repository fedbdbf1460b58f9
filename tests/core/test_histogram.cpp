// The histogram: its buckets tile the numbers, its percentiles keep their error bound, and threads lose nothing.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/histogram.h"
#include "core/thread_group.h"
#include "tests/catch.h"

using namespace tutti;

namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kHour = 3'600'000'000'000;

/// The nearest-rank percentile of sorted values, computed the plain way.
uint64_t exact_percentile(const std::vector<uint64_t>& sorted, uint64_t per_mille) {
  const uint64_t rank = (per_mille * sorted.size() + 999) / 1000;
  return sorted[std::max<uint64_t>(rank, 1) - 1];
}

std::vector<uint64_t> log_uniform_values(size_t count, unsigned seed, double longest) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> exponent(0, std::log2(longest));
  std::vector<uint64_t> values(count);
  for (uint64_t& value : values) value = static_cast<uint64_t>(std::exp2(exponent(random)));
  return values;
}

template <typename A, typename B>
void check_equal(const A& a, const B& b) {
  for (size_t i = 0; i < A::kBuckets; ++i) REQUIRE(a.count_in(i) == b.count_in(i));
  CHECK(a.count() == b.count());
  CHECK(a.sum() == b.sum());
  CHECK(a.min() == b.min());
  CHECK(a.max() == b.max());
}

}  // namespace

TEST_CASE("the buckets tile all values without gap or overlap") {
  CHECK(Histogram::lower_bound(0) == 0);
  CHECK(Histogram::upper_bound(Histogram::kBuckets - 1) == kMax);
  for (size_t i = 0; i < Histogram::kBuckets; ++i) {
    CAPTURE(i);
    const uint64_t low = Histogram::lower_bound(i);
    const uint64_t high = Histogram::upper_bound(i);
    REQUIRE(low <= high);
    REQUIRE(Histogram::bucket_of(low) == i);
    REQUIRE(Histogram::bucket_of(high) == i);
    if (i > 0) REQUIRE(low == Histogram::upper_bound(i - 1) + 1);
    if (i + 1 < Histogram::kBuckets) REQUIRE((high - low + 1) * 8 <= std::max<uint64_t>(low, 8));
  }
}

TEST_CASE("values fall into the bucket that their octave and eighth give") {
  struct Row {
    uint64_t value;
    uint64_t low;
    uint64_t high;
  };
  const std::vector<Row> table = {
      {0, 0, 0},
      {1, 1, 1},
      {15, 15, 15},
      {16, 16, 17},
      {17, 16, 17},
      {31, 30, 31},
      {1023, 960, 1023},
      {1024, 1024, 1151},
      {1151, 1024, 1151},
      {1152, 1152, 1279},
      {kMax, (uint64_t{1} << 44) / 16 * 15, kMax},
  };
  for (const Row& row : table) {
    CAPTURE(row.value);
    CHECK(Histogram::lower_bound(Histogram::bucket_of(row.value)) == row.low);
    CHECK(Histogram::upper_bound(Histogram::bucket_of(row.value)) == row.high);
  }
  CHECK(Histogram::lower_bound(Histogram::kBuckets - 1) > kHour);
}

TEST_CASE("percentiles are never below the true ones and less than 12.5 % above") {
  const unsigned seed = GENERATE(1U, 2U, 3U);
  const size_t count = GENERATE(size_t{1}, size_t{7}, size_t{100}, size_t{20'000});
  std::vector<uint64_t> values = log_uniform_values(count, seed, 2.0 * kHour);
  Histogram histogram;
  for (const uint64_t value : values) histogram.record(value);
  std::sort(values.begin(), values.end());
  for (const uint64_t per_mille : {1, 10, 70, 100, 250, 500, 900, 990, 999}) {
    const uint64_t exact = exact_percentile(values, per_mille);
    const uint64_t got = histogram.percentile(static_cast<double>(per_mille) / 1000);
    CAPTURE(count, seed, per_mille, exact, got);
    CHECK(got >= exact);
    CHECK(static_cast<double>(got) < static_cast<double>(exact) * 1.125 + 1e-9 * (exact == 0));
    if (exact < 16) CHECK(got == exact);
  }
  CHECK(histogram.percentile(0) == values.front());
  CHECK(histogram.percentile(1) == values.back());
  CHECK(histogram.min() == values.front());
  CHECK(histogram.max() == values.back());
  CHECK(histogram.count() == count);
}

TEST_CASE("percentiles of a hundred small values are exact ranks") {
  Histogram histogram;
  for (uint64_t i = 0; i < 100; ++i) histogram.record(i < 7 ? 1 : 2);
  CHECK(histogram.percentile(0.07) == 1);  // 0.07 · 100 must not round up to rank 8
  CHECK(histogram.percentile(0.08) == 2);
  CHECK(histogram.percentile(1e-9) == 1);
}

TEST_CASE("an empty histogram is all zeros, and odd shares are tamed") {
  Histogram histogram;
  CHECK(histogram.count() == 0);
  CHECK(histogram.min() == 0);
  CHECK(histogram.max() == 0);
  CHECK(histogram.sum() == 0);
  CHECK(histogram.mean() == 0);
  CHECK(histogram.percentile(0.5) == 0);

  histogram.record(100);
  histogram.record(3000);
  CHECK(histogram.percentile(-1) == 100);
  CHECK(histogram.percentile(std::nan("")) == 100);
  CHECK(histogram.percentile(7) == 3000);
  CHECK(histogram.sum() == 3100);
  CHECK(histogram.mean() == 1550);
}

TEST_CASE("the last bucket takes everything beyond the range and reports the true maximum") {
  Histogram histogram;
  histogram.record(kMax);
  histogram.record(uint64_t{1} << 50);
  CHECK(histogram.count_in(Histogram::kBuckets - 1) == 2);
  CHECK(histogram.percentile(0.5) == kMax);
  CHECK(histogram.max() == kMax);
  CHECK(histogram.min() == uint64_t{1} << 50);
}

TEST_CASE("merging equals recording everything in one; clearing forgets everything") {
  const std::vector<uint64_t> values = log_uniform_values(5'000, 11, 1e13);
  Histogram all, first;
  OneWriterHistogram second;
  SharedHistogram third;
  for (size_t i = 0; i < values.size(); ++i) {
    all.record(values[i]);
    if (i % 3 == 0) first.record(values[i]);
    if (i % 3 == 1) second.record(values[i]);
    if (i % 3 == 2) third.record(values[i]);
  }
  first.merge(second);
  first.merge(third);
  check_equal(first, all);
  third.clear();
  check_equal(third, Histogram());
  first.merge(third);  // merging an empty one changes nothing, the minimum included
  check_equal(first, all);
}

TEST_CASE("a shared histogram loses no record of any thread") {
  constexpr int kThreads = 4;
  constexpr size_t kEach = 20'000;
  SharedHistogram shared;
  Histogram expected;
  ThreadGroup group(kThreads);
  for (unsigned i = 0; i < kThreads; ++i) {
    for (const uint64_t value : log_uniform_values(kEach, i, 1e9)) expected.record(value);
  }
  group.run([&](int index) {
    const auto values = log_uniform_values(kEach, static_cast<unsigned>(index), 1e9);
    group.barrier();
    for (const uint64_t value : values) shared.record(value);
  });
  check_equal(shared, expected);
}

TEST_CASE("a reader beside the one writer sees counts that only grow") {
  constexpr uint64_t kRecords = 200'000;
  OneWriterHistogram histogram;
  std::atomic<bool> done{false};
  bool grew = true;
  ThreadGroup group(2);
  group.run([&](int index) {
    group.barrier();
    if (index == 0) {
      for (uint64_t i = 0; i < kRecords; ++i) histogram.record(i);
      done.store(true, std::memory_order_release);
    } else {
      for (uint64_t last = 0; !done.load(std::memory_order_acquire);) {
        const uint64_t now = histogram.count();
        grew = grew && now >= last && histogram.percentile(0.99) < kRecords;
        last = now;
      }
    }
  });
  CHECK(grew);
  CHECK(histogram.count() == kRecords);
  CHECK(histogram.sum() == kRecords * (kRecords - 1) / 2);
}

TEST_CASE("a histogram prints a summary and a bar for each bucket in use") {
  OneWriterHistogram histogram;
  for (int i = 0; i < 99; ++i) histogram.record(1'024);
  histogram.record(5'000'000);
  CHECK(summary_of(histogram) ==
        "count 100  min 1.02us  p50 1.15us  p99 1.15us  p99.9 5.00ms  max 5.00ms  mean 51.0us");
  CHECK(text_of(histogram) == summary_of(histogram) + "\n   1.02us          99   99.0% " +
                                  std::string(50, '#') + "\n   4.72ms           1    1.0% #\n");
  CHECK(text_of(Histogram()) == "count 0  min 0ns  p50 0ns  p99 0ns  p99.9 0ns  max 0ns  mean 0ns\n");
}
