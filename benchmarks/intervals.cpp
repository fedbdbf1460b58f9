// Resampling of blocks, by counts: how many samples of each block lie in each step of the sorted samples.
#include "benchmarks/intervals.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <vector>

namespace tutti::bench {
namespace {

using Weights = std::array<uint32_t, kBlocks>;  // how often each block was drawn

size_t blocks_of(size_t samples) {
  const size_t length = (samples + kBlocks - 1) / kBlocks;
  return (samples + length - 1) / length;
}

Weights draw(size_t blocks, std::minstd_rand& random) {
  Weights weights{};
  std::uniform_int_distribution<size_t> one(0, blocks - 1);
  for (size_t i = 0; i < blocks; ++i) ++weights[one(random)];
  return weights;
}

/// The samples of one library, ready to be drawn.
class Pool {
 public:
  explicit Pool(std::span<const double> in_order)
      : bins_(std::min(in_order.size(), kBins)), blocks_(blocks_of(in_order.size())) {
    std::vector<double> sorted(in_order.begin(), in_order.end());
    std::sort(sorted.begin(), sorted.end());
    for (size_t bin = 0; bin < bins_; ++bin) {
      const double edge = sorted[(bin + 1) * sorted.size() / bins_ - 1];
      if (edges_.empty() || edge > edges_.back()) edges_.push_back(edge);
    }
    bins_ = edges_.size();
    counts_.assign(blocks_ * bins_, 0);
    const size_t length = (in_order.size() + kBlocks - 1) / kBlocks;
    for (size_t i = 0; i < in_order.size(); ++i) {
      const auto bin = std::lower_bound(edges_.begin(), edges_.end(), in_order[i]) - edges_.begin();
      ++counts_[i / length * bins_ + static_cast<size_t>(bin)];
    }
  }

  size_t blocks() const { return blocks_; }

  /// Of the resample in which each block is there as often as its weight says.
  double percentile_of(const Weights& weights, int share) {
    drawn_.assign(bins_, 0);
    for (size_t block = 0; block < blocks_; ++block) {
      const uint32_t weight = weights[block];
      if (weight == 0) continue;
      const uint32_t* counts = &counts_[block * bins_];
      for (size_t bin = 0; bin < bins_; ++bin) drawn_[bin] += weight * counts[bin];
    }
    uint64_t all = 0;
    for (const uint32_t count : drawn_) all += count;
    const uint64_t nearest_rank = (all * static_cast<uint64_t>(share) + 9999) / 10'000;
    uint64_t below = 0;
    size_t bin = 0;
    while (bin + 1 < bins_ && (below += drawn_[bin]) < nearest_rank) ++bin;
    return edges_[bin];
  }

 private:
  size_t bins_;
  size_t blocks_;
  std::vector<double> edges_;     // the largest sample of each bin, ascending
  std::vector<uint32_t> counts_;  // by block, then bin
  std::vector<uint32_t> drawn_;   // by bin
};

/// Enough samples, and enough of them beyond the percentile that resamples differ there.
bool supported(size_t samples, int share) {
  constexpr size_t kLeast = 20;
  constexpr size_t kBeyond = 10;
  return samples >= kLeast && samples * static_cast<size_t>(10'000 - share) >= kBeyond * 10'000;
}

Interval middle(std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  const size_t cut = values.size() / 40;  // 2.5 % on either side
  return {values[cut], values[values.size() - 1 - cut]};
}

}  // namespace

std::optional<Interval> confidence(std::span<const double> in_order, int share) {
  if (!supported(in_order.size(), share)) return std::nullopt;
  Pool pool(in_order);
  std::minstd_rand random(1);
  std::vector<double> values;
  for (size_t i = 0; i < kResamples; ++i)
    values.push_back(pool.percentile_of(draw(pool.blocks(), random), share));
  return middle(values);
}

std::optional<Interval> ratio_confidence(std::span<const double> above, std::span<const double> below,
                                         int share) {
  if (above.size() != below.size() || !supported(above.size(), share)) return std::nullopt;
  Pool upper(above);
  Pool lower(below);
  std::minstd_rand random(1);
  std::vector<double> values;
  for (size_t i = 0; i < kResamples; ++i) {
    const Weights weights = draw(upper.blocks(), random);
    const double under = lower.percentile_of(weights, share);
    if (under <= 0) return std::nullopt;
    values.push_back(upper.percentile_of(weights, share) / under);
  }
  return middle(values);
}

}  // namespace tutti::bench
