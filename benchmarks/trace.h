// The timed iterations of one library: what each rank stamps, and what becomes of all ranks' stamps.
//
//   due       when the call was to begin: the arrival itself, or a fixed moment (--rate)
//   arrival   the rank enters the call
//   exit      it has returned
//
// A sample is the maximum over the ranks of (exit - own due), of one call: a chain's time is divided by its calls. Where all ranks are on one node they read one clock, so
// arrivals of different ranks can be compared: by iteration
//
//   skew      last arrival - first arrival
//   service   last exit - last arrival
//   culprit   the rank that arrived last
//
// The tick counter of a node is one counter; a rate measured by each rank for itself is not. So ticks are exchanged,
// and only differences are turned into time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "benchmarks/launcher.h"

namespace tutti::bench {

/// One iteration on this rank, in ticks.
struct Stamps {
  uint64_t due = 0;
  uint64_t arrival = 0;
  uint64_t exit = 0;
};

/// A part of a long row.
struct RowWindow {
  double start_s = 0;  // since the row's first iteration
  int64_t iterations = 0;
  double p50_us = 0;
  std::optional<double> p99_us;
  double max_us = 0;
};

/// Iterations in their order, combined over the ranks; in microseconds.
struct Trace {
  int64_t iterations = 0;  // that were timed
  int64_t every = 1;       // of so many one is kept in the arrays
  double max_us = 0;       // of all
  std::vector<RowWindow> windows;
  std::vector<double> start_us;  // since the first timed iteration of the run
  std::vector<double> us;
  // Empty where the ranks have no common clock, or there is one rank only.
  std::vector<double> skew_us;
  std::vector<double> service_us;
  std::vector<int64_t> times_last;  // by rank, of all iterations
  std::vector<std::vector<float>>
      late_us;  // by rank: arrival since the first rank's; only where it was asked for

  /// Makes a window of the iterations from the `first` in the arrays on, which are all there still.
  void end_window(size_t first);
  /// Leaves the counts and windows.
  void drop_samples();
  /// Of the iterations from the `first` on keeps one in `every`; and of all half, again and again, until there are at most `most`.
  void thin(size_t first, size_t most);
};

/// Who was late, and what the calls took once all were there.
struct Arrivals {
  double skew_p50_us = 0;
  double service_p50_us = 0;
  std::optional<double> service_p99_us;
  int culprit_rank = 0;      // the most frequent
  double culprit_share = 0;  // of the iterations
};
std::optional<Arrivals> arrivals_of(const Trace& trace);

/// Appends all ranks' stamps to a trace.
class Combiner {
 public:
  /// Each iteration is so many calls. `run_start` is the tick of the run's first timed iteration on this rank.
  Combiner(World& world, bool keep_lateness, int64_t calls, uint64_t run_start)
      : world_(world),
        keep_lateness_(keep_lateness),
        calls_(static_cast<double>(calls)),
        run_start_(run_start) {}

  /// Collective: all ranks add as many. Equal on all ranks, but for the starts.
  void add(std::span<const Stamps> stamps, Trace& trace);

 private:
  void add_times(std::span<const Stamps> stamps, Trace& trace);
  void add_arrivals(std::span<const Stamps> stamps, Trace& trace);

  World& world_;
  bool keep_lateness_;
  double calls_;
  uint64_t run_start_;
};

}  // namespace tutti::bench
