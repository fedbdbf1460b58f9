// How sure a percentile of one run is.
//
// Samples that follow each other resemble each other: what disturbs one iteration lasts into the next ones. So not samples
// are drawn again but blocks of them. The samples of a row, in their order, are cut into kBlocks blocks of equal length (the last may be
// shorter; with fewer samples than that each is a block). A resample draws as many blocks with replacement and has a percentile of its
// own; the interval spans the middle 95 % of those of kResamples resamples. A block is a 64th of the row: whatever disturbs
// for a shorter time lies within a block or two.
//
// The samples of two libraries that took turns are cut at the same iterations, and one drawing serves both: what disturbed both
// cancels in their ratio.
//
// This covers what varies within a launch. Launches differ too (placement of memory, of ranks on cores): what it takes to
// compare two programs is several launches of each.
//
// Drawings are the same in every run: the same samples have the same interval. The percentile of a resample is found among
// kBins steps of the sorted samples, exactly where there are no more samples than that.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

namespace tutti::bench {

inline constexpr size_t kBlocks = 64;
inline constexpr size_t kResamples = 500;
inline constexpr size_t kBins = 2048;

struct Interval {
  double low = 0;
  double high = 0;
};

/// Of the percentile `share` in parts of ten thousand. Empty with fewer than 20 samples, or fewer than ten beyond the percentile.
std::optional<Interval> confidence(std::span<const double> in_order, int share);

/// Of the percentile of `above` over that of `below`: samples of the same iterations, as many of each. Empty where either
/// has no interval.
std::optional<Interval> ratio_confidence(std::span<const double> above, std::span<const double> below,
                                         int share);

}  // namespace tutti::bench
