// How often a time was how long: a histogram of fixed size with logarithmic buckets, cheap enough to be always on.
//
// Values are whole (nanoseconds, by habit). Those below 16 have a bucket each; above, every octave is cut into
// 8 equal buckets, so a bucket is at most 12.5 % wider than its lower bound. The last bucket is open: it
// begins at 15/16 · 2⁴⁴ ns (4.6 hours).
//
// percentile(q) is the upper bound of the bucket in which the value of that rank lies, but never above max():
// it is never below the true percentile and less than 12.5 % above it (exact below 16). count, sum, min and
// max are exact; the sum wraps after 584 years of nanoseconds.
//
// Three kinds differ only in who may use one at a time; recording allocates and locks nothing:
//
//     Histogram           one thread                          about 3 ns a record
//     OneWriterHistogram  one recording thread, any readers   about 3 ns: plain moves on x86
//     SharedHistogram     any threads                         two locked instructions, about 14 ns
//
// A reader beside a writer may miss the newest records or see a sum without its count; merge() into a
// Histogram first where several figures have to fit together.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>

#include "core/units.h"

namespace tutti {

/// A cell for one thread.
class PlainCell {
 public:
  PlainCell() = default;
  explicit PlainCell(uint64_t value) : value_(value) {}
  uint64_t get() const { return value_; }
  void set(uint64_t value) { value_ = value; }
  void add(uint64_t amount) { value_ += amount; }
  void raise_to(uint64_t value) { value_ = std::max(value_, value); }
  void lower_to(uint64_t value) { value_ = std::min(value_, value); }

 private:
  uint64_t value_ = 0;
};

/// A cell that one thread changes while others read it. Who has seen a change also sees what that thread did before.
class OneWriterCell {
 public:
  OneWriterCell() = default;
  explicit OneWriterCell(uint64_t value) : value_(value) {}
  uint64_t get() const { return value_.load(std::memory_order_acquire); }
  void set(uint64_t value) { value_.store(value, std::memory_order_release); }
  void add(uint64_t amount) { set(get() + amount); }
  void raise_to(uint64_t value) {
    if (value > get()) set(value);
  }
  void lower_to(uint64_t value) {
    if (value < get()) set(value);
  }

 private:
  std::atomic<uint64_t> value_{0};
};

/// A cell that any thread changes.
class SharedCell {
 public:
  SharedCell() = default;
  explicit SharedCell(uint64_t value) : value_(value) {}
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }
  void set(uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  void add(uint64_t amount) { value_.fetch_add(amount, std::memory_order_relaxed); }
  void raise_to(uint64_t value) {
    uint64_t seen = get();
    while (value > seen && !value_.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
    }
  }
  void lower_to(uint64_t value) {
    uint64_t seen = get();
    while (value < seen && !value_.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
    }
  }

 private:
  std::atomic<uint64_t> value_{0};
};

template <typename Cell>
class BasicHistogram {
 public:
  static constexpr int kSplitBits = 3;
  static constexpr size_t kPerOctave = size_t{1} << kSplitBits;
  static constexpr int kTopOctave = 43;  // the last one that has buckets: 2^43 … 2^44 - 1
  static constexpr size_t kBuckets = kPerOctave * (kTopOctave - kSplitBits + 2);

  /// The bucket of a value: the octave and the three bits after its leading one.
  static constexpr size_t bucket_of(uint64_t value) {
    if (value < kPerOctave) return static_cast<size_t>(value);
    const int octave = 63 - std::countl_zero(value);
    if (octave > kTopOctave) return kBuckets - 1;
    const auto part = static_cast<size_t>(value >> (octave - kSplitBits)) & (kPerOctave - 1);
    return static_cast<size_t>(octave - kSplitBits + 1) * kPerOctave + part;
  }

  static constexpr uint64_t lower_bound(size_t bucket) {
    if (bucket < kPerOctave) return bucket;
    return (kPerOctave + bucket % kPerOctave) << (bucket / kPerOctave - 1);
  }

  /// The largest value of the bucket.
  static constexpr uint64_t upper_bound(size_t bucket) {
    return bucket + 1 == kBuckets ? UINT64_MAX : lower_bound(bucket + 1) - 1;
  }

  void record(uint64_t value) {
    buckets_[bucket_of(value)].add(1);
    sum_.add(value);
    min_.lower_to(value);
    max_.raise_to(value);
  }

  /// Adds everything that `other` has recorded.
  template <typename OtherCell>
  void merge(const BasicHistogram<OtherCell>& other) {
    for (size_t i = 0; i < kBuckets; ++i) buckets_[i].add(other.buckets_[i].get());
    sum_.add(other.sum_.get());
    min_.lower_to(other.min_.get());
    max_.raise_to(other.max_.get());
  }

  /// Back to empty. Records made meanwhile by another thread may survive in part.
  void clear() {
    for (Cell& bucket : buckets_) bucket.set(0);
    sum_.set(0);
    min_.set(UINT64_MAX);
    max_.set(0);
  }

  /// Summed here so that record() has one cell less to touch.
  uint64_t count() const {
    uint64_t count = 0;
    for (const Cell& bucket : buckets_) count += bucket.get();
    return count;
  }
  uint64_t count_in(size_t bucket) const { return buckets_[bucket].get(); }
  uint64_t sum() const { return sum_.get(); }

  // All of these are 0 while nothing is recorded.
  uint64_t min() const { return count() == 0 ? 0 : min_.get(); }
  uint64_t max() const { return max_.get(); }
  double mean() const {
    const uint64_t n = count();
    return n == 0 ? 0.0 : static_cast<double>(sum()) / static_cast<double>(n);
  }

  /// The value that a share `q` (0 … 1) of all values do not exceed, as the nearest-rank rule has it; within
  /// the error stated above. q = 0 is min(), q = 1 is max().
  uint64_t percentile(double q) const {
    const uint64_t total = count();
    if (total == 0) return 0;
    if (!(q > 0.0)) return min_.get();
    if (q >= 1.0) return max_.get();
    // 0.07 · 100 is a hair above 7 in binary; the factor takes such hairs off before rounding up.
    const auto rank = static_cast<uint64_t>(std::ceil(q * static_cast<double>(total) * (1 - 1e-12)));
    uint64_t seen = 0;
    for (size_t i = 0; i < kBuckets; ++i) {
      seen += buckets_[i].get();
      if (seen >= std::max<uint64_t>(rank, 1)) return std::min(upper_bound(i), max_.get());
    }
    return max_.get();
  }

 private:
  template <typename>
  friend class BasicHistogram;

  std::array<Cell, kBuckets> buckets_{};
  Cell sum_;
  Cell min_{UINT64_MAX};
  Cell max_;
};

using Histogram = BasicHistogram<PlainCell>;
using OneWriterHistogram = BasicHistogram<OneWriterCell>;
using SharedHistogram = BasicHistogram<SharedCell>;

/// One line: "count 1000  min 1.02us  p50 1.28us  p99 3.07us  p99.9 8.19us  max 12.3us  mean 1.41us".
template <typename Cell>
std::string summary_of(const BasicHistogram<Cell>& histogram) {
  Histogram h;
  h.merge(histogram);
  const auto mean = static_cast<uint64_t>(std::llround(h.mean()));
  return fmt::format("count {}  min {}  p50 {}  p99 {}  p99.9 {}  max {}  mean {}", h.count(),
                     format_duration_short(h.min()), format_duration_short(h.percentile(0.5)),
                     format_duration_short(h.percentile(0.99)), format_duration_short(h.percentile(0.999)),
                     format_duration_short(h.max()), format_duration_short(mean));
}

/// The summary, then a row with a bar for every bucket that is not empty:
/// "   1.02us       123   12.3% ######".
template <typename Cell>
std::string text_of(const BasicHistogram<Cell>& histogram) {
  constexpr double kBarWidth = 50;
  Histogram h;
  h.merge(histogram);
  std::string out = summary_of(h) + "\n";
  const auto total = static_cast<double>(h.count());
  uint64_t fullest = 1;
  for (size_t i = 0; i < Histogram::kBuckets; ++i) fullest = std::max(fullest, h.count_in(i));
  for (size_t i = 0; i < Histogram::kBuckets; ++i) {
    const uint64_t n = h.count_in(i);
    if (n == 0) continue;
    const double share = static_cast<double>(n) / static_cast<double>(fullest);
    const auto bar = static_cast<size_t>(std::ceil(share * kBarWidth));
    fmt::format_to(std::back_inserter(out), "{:>9}{:>12}{:>7.1f}% {}\n",
                   format_duration_short(Histogram::lower_bound(i)), n, 100 * static_cast<double>(n) / total,
                   std::string(bar, '#'));
  }
  return out;
}

}  // namespace tutti
