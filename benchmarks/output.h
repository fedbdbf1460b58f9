// How results reach people and programs: a table on standard output, a file in JSON, progress on a terminal.
//
// Only rank 0 has any of these. The table's first lines, ratios and remarks begin with #, as in nccl-tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "benchmarks/collective.h"
#include "benchmarks/machine.h"
#include "benchmarks/statistics.h"

namespace tutti::bench {

/// One measured row.
struct Row {
  std::string library;
  std::string algorithm;
  Call call;
  uint64_t bytes = 0;
  int ranks = 0;
  int nodes = 1;
  Summary us;  // microseconds
  int64_t wrong = 0;
  bool verified = true;  // else `wrong` says nothing
  double bus_factor = 1;
  bool in_place = false;

  // GB/s, 10^9 bytes; of p50.
  double algbw() const;
  double busbw() const { return algbw() * bus_factor; }
};

class Table {
 public:
  Table(const CollectiveInfo& collective, bool with_library)
      : collective_(collective), with_library_(with_library) {}

  void header(const Machine& machine) const;
  void row(const Row& row) const;
  /// How many times longer the baseline takes.
  void ratio(const Row& tutti, const Row& baseline) const;
  void remark(const std::string& text) const;

 private:
  const CollectiveInfo& collective_;
  bool with_library_;
};

/// The text of a result file.
std::string to_json(const CollectiveInfo& collective, const Machine& machine, const std::vector<Row>& rows,
                    bool was_interrupted);

/// A result file, which appears whole or not at all. Its space is taken when it is opened, so that a directory that
/// does not exist or a disk that is full is known before the run. Throws std::runtime_error.
class ResultFile {
 public:
  explicit ResultFile(const std::string& path);
  ~ResultFile();
  ResultFile(const ResultFile&) = delete;
  ResultFile& operator=(const ResultFile&) = delete;

  void finish(const std::string& text);

 private:
  [[noreturn]] void fail(const char* what, int error);

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
