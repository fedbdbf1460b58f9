// What becomes of the rows of a run: the table, the result file, and the exit status.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "benchmarks/options.h"
#include "benchmarks/output.h"

namespace tutti::bench {

class Report {
 public:
  /// Opens the result file. Throws std::runtime_error where that cannot be.
  Report(const CollectiveInfo& collective, const Options& options, bool with_library)
      : collective_(collective), options_(options), table_(collective, with_library) {
    if (!options.json.empty()) file_.emplace(options.json);
  }

  void header(const Machine& machine) { table_.header(machine); }
  void remark(const std::string& text) { table_.remark(text); }

  /// Tutti's row and the baselines' beside it.
  void keep(const std::vector<Row>& rows) {
    for (const Row& row : rows) {
      wrong_ += row.wrong;
      table_.row(row);
    }
    if (rows.size() > 1) table_.ratio(rows[0], rows[1]);
    rows_.insert(rows_.end(), rows.begin(), rows.end());
    ++measured_;
  }

  /// 0: all results are right; 1: one is wrong; 130: not all `planned` rows are there, because of an interruption.
  int finish(const Machine& machine, size_t planned) {
    const bool stopped = measured_ < planned;
    if (stopped)
      table_.remark("interrupted after " + std::to_string(measured_) + " of " + std::to_string(planned) +
                    " rows");
    table_.remark(options_.checks == 0 ? "results were not verified (--check 0)"
                                       : "wrong elements: " + std::to_string(wrong_));
    if (file_) file_->finish(to_json(collective_, machine, rows_, stopped));
    if (wrong_ != 0) return 1;
    return stopped ? 130 : 0;
  }

 private:
  const CollectiveInfo& collective_;
  const Options& options_;
  Table table_;
  std::optional<ResultFile> file_;
  std::vector<Row> rows_;
  size_t measured_ = 0;
  int64_t wrong_ = 0;
};

}  // namespace tutti::bench
