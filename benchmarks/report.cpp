// One rank prints and writes, all count.
#include "benchmarks/report.h"

#include <fmt/format.h>

#include <utility>

#include "benchmarks/document.h"

namespace tutti::bench {
namespace {

constexpr int kWrong = 1;
constexpr int kInterrupted = 130;

bool has_baseline(const Options& options) {
  return !options.baselines.empty() || (options.device && options.device->baseline_nccl);
}

}  // namespace

Report::Report(const CollectiveInfo& collective, const Options& options, bool first)
    : collective_(collective),
      options_(options),
      first_(first),
      table_(collective, has_baseline(options), options.wide) {
  if (first && !options.json.empty()) file_.emplace(options.json);
  if (first && !options.raw.empty()) raw_.emplace(options.raw);
}

void Report::header(const Machine& machine) {
  if (first_) table_.header(machine);
  if (options_.rate)
    remark(fmt::format(
        "{} calls in a second at fixed times, each timed from when it was due, without barrier or check",
        *options_.rate));
  if (options_.chain > 1)
    remark(fmt::format("a sample is the mean of {} calls that follow each other", options_.chain));
  if (raw_) raw_->header(collective_, machine);
}

void Report::remark(const std::string& text) const {
  if (first_) table_.remark(text);
}

void Report::no_row_of(const char* library, const std::string& why) {
  if (!why.empty() && why != said_) remark(fmt::format("no row of {}: {}", library, why));
  said_ = why;
}

void Report::keep(std::vector<Row> rows, const std::vector<LeftOut>& left_out) {
  ++measured_;
  for (const Row& row : rows) wrong_ += row.wrong;
  if (!first_) return;
  for (Row& row : rows) {
    if (!row.trace.us.empty()) row.add_intervals(rows.front());
    table_.row(row);
    if (row.trace.windows.size() > 1) table_.windows(row);
    if (row.alone) table_.tail(row);
  }
  if (rows.front().machine_changed()) {
    const std::array<double, 2>& line = *rows.front().cache_line_ns;
    remark(
        fmt::format("the machine changed: a cache line took {:.0f} ns before this row and {:.0f} ns after it",
                    line[0], line[1]));
  }
  for (size_t i = 1; i < rows.size(); ++i) table_.ratio(rows.front(), rows[i]);
  for (const LeftOut& one : left_out) {
    table_.no_ratio(one.library, one.why);
    rows.front().no_baseline += (rows.front().no_baseline.empty() ? "" : "; ") + one.why;
  }
  for (Row& row : rows) {
    if (raw_) raw_->row(collective_, row);
    row.trace.drop_samples();
    rows_.push_back(std::move(row));
  }
}

int Report::finish(const Machine& machine, size_t planned, bool was_interrupted) {
  if (was_interrupted) remark(fmt::format("interrupted after {} of {} rows", measured_, planned));
  remark(options_.checks == 0 ? "results were not verified (--check 0)"
                              : fmt::format("wrong elements: {}", wrong_));
  if (file_) file_->finish(to_json(collective_, machine, rows_, was_interrupted));
  if (wrong_ != 0) return kWrong;
  return was_interrupted ? kInterrupted : 0;
}

}  // namespace tutti::bench
