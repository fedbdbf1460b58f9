// How results reach people and programs: a table on standard output, a result file, progress on a terminal.
//
// Only rank 0 has any of these. The table's first lines, ratios and remarks begin with #, as in nccl-tests.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "benchmarks/collective.h"
#include "benchmarks/cpu_cost.h"
#include "benchmarks/intervals.h"
#include "benchmarks/machine.h"
#include "benchmarks/statistics.h"
#include "benchmarks/trace.h"

namespace tutti::bench {

/// What a row on device memory has besides.
struct OnDevice {
  int ranks_per_gpu = 0;
  double call_ns = 0;    // what the host spends on one call, p50
  std::string settings;  // of a baseline
};

/// One measured row.
struct Row {
  std::string library;
  std::string algorithm;
  Call call;
  uint64_t bytes = 0;
  int ranks = 0;
  int nodes = 1;
  std::string mode = "isolated";  // or chain, rate, graph
  int64_t chain = 1;              // calls in one sample
  std::optional<double> rate;     // calls in a second, where they come at fixed times
  bool interrupted = false;       // ended early
  std::string disturbance;        // on purpose, while this was measured; empty: none
  std::optional<Summary> alone;   // the same without it
  Summary us;                     // microseconds
  Trace trace;                    // what the summary is of; its samples are gone once the row is reported
  std::optional<Interval> p50_interval;
  std::optional<Interval> p99_interval;
  // Of a baseline: its percentile over Tutti's in the same iterations.
  std::optional<Interval> p50_ratio_interval;
  std::optional<Interval> p99_ratio_interval;
  std::optional<Arrivals> arrivals;
  std::optional<CpuCost> cpu;
  int64_t wrong = 0;
  bool verified = true;  // else `wrong` says nothing
  double bus_factor = 1;
  bool in_place = false;
  std::optional<std::array<double, 2>> cache_line_ns;  // before and after
  std::optional<double> bound_us;  // what no algorithm can do without; empty where it is not known
  std::optional<OnDevice> device;  // empty: host memory
  std::string no_baseline;         // why a baseline that was asked for is not there

  // GB/s, 10^9 bytes; of p50.
  double algbw() const;
  double busbw() const { return algbw() * bus_factor; }
  /// From the traces of this row and of the one of Tutti that it took turns with; both have one.
  void add_intervals(const Row& tutti);
  /// Of what the bound allows, how much is reached: bound / p50.
  std::optional<double> bound_fraction() const;
  /// Whether a cache line took a different time after the row than before it, by more than three tenths.
  bool machine_changed() const;
};

/// A baseline that a row goes without.
struct LeftOut {
  std::string library;
  std::string why;
};

class Table {
 public:
  Table(const CollectiveInfo& collective, bool with_library, bool wide)
      : collective_(collective), with_library_(with_library), wide_(wide) {}

  void header(const Machine& machine) const;
  void row(const Row& row) const;
  /// How the windows of a long row differ.
  void windows(const Row& row) const;
  /// How many times longer it takes while it is disturbed.
  void tail(const Row& row) const;
  /// How many times longer the baseline takes.
  void ratio(const Row& tutti, const Row& baseline) const;
  /// Why there is no such row.
  void no_ratio(const std::string& library, const std::string& why) const;
  void remark(const std::string& text) const;

 private:
  static void device_columns(const Row& row);
  static void wide_header();
  static void wide_columns(const Row& row);

  const CollectiveInfo& collective_;
  bool with_library_;
  bool wide_;  // all columns
};

/// A result file, which appears whole or not at all. Its space is taken when it is opened, so that a directory that
/// does not exist or a disk that is full is known before the run.
class ResultFile {
 public:
  /// Throws UsageError where the file cannot be.
  explicit ResultFile(const std::string& path);
  ~ResultFile();
  ResultFile(const ResultFile&) = delete;
  ResultFile& operator=(const ResultFile&) = delete;

  /// Throws std::runtime_error where the text cannot be written.
  void finish(const std::string& text);

 private:
  /// Leaves nothing behind; what to say of it.
  std::string give_up(const char* what, int error);

  std::string path_;
  std::string temporary_;
  int fd_ = -1;
};

/// One line on standard error that is overwritten; nothing where that is no terminal, or in the first second.
class Progress {
 public:
  Progress(bool wanted, size_t rows);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void at(size_t row, const std::string& label);
  void clear();

 private:
  bool wanted_;
  size_t rows_;
  uint64_t start_ns_;
  bool shown_ = false;
};

}  // namespace tutti::bench
