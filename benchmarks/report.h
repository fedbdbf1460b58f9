// What becomes of the rows of a run: the table, the result file, and the exit status.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "benchmarks/options.h"
#include "benchmarks/output.h"
#include "benchmarks/raw_file.h"

namespace tutti::bench {

class Report {
 public:
  /// Of the one that is `first` among the ranks people and programs get something; the others keep count. Opens the result file; throws
  /// UsageError where that cannot be.
  Report(const CollectiveInfo& collective, const Options& options, bool first);

  void header(const Machine& machine);
  void remark(const std::string& text) const;
  /// Says once why rows have no baseline; nothing for an empty `why`.
  void no_row_of(const char* library, const std::string& why);

  /// Tutti's row and the baselines' beside it; and which baselines it goes without.
  void keep(std::vector<Row> rows, const std::vector<LeftOut>& left_out = {});

  /// The exit status: 0 all results are right, 1 one is wrong, 130 the run was interrupted.
  int finish(const Machine& machine, size_t planned, bool was_interrupted);

 private:
  const CollectiveInfo& collective_;
  const Options& options_;
  bool first_;
  Table table_;
  std::optional<ResultFile> file_;
  std::optional<RawFile> raw_;
  std::vector<Row> rows_;
  std::string said_;
  size_t measured_ = 0;  // rows of the plan; with a baseline each gives two results
  int64_t wrong_ = 0;
};

}  // namespace tutti::bench
