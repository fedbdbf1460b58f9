// Types, operators, roots, sizes and placements multiplied out.
#include "benchmarks/row_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/units.h"

namespace tutti::bench {

std::string RowPlan::label(const CollectiveInfo& collective) const {
  return fmt::format("{} of {} {}, {}{}, {} place", collective.name, format_size(bytes),
                     tutti_datatype_name(call.datatype), collective.has_op() ? "" : "root ",
                     collective.has_op() ? tutti_op_name(call.op) : std::to_string(call.root),
                     in_place ? "in" : "out of");
}

Row RowPlan::row(const CollectiveInfo& collective, const Options& options, int ranks, Trace trace) const {
  Row row;
  row.call = call;
  row.bytes = bytes;
  row.in_place = in_place;
  row.ranks = ranks;
  row.bus_factor = collective.bus_factor(ranks);
  row.verified = options.checks > 0;
  if (const auto& late = options.late_rank) {
    row.disturbance = fmt::format("rank {} late by {} us", late->rank, late->us);
    if (late->period > 1) row.disturbance += fmt::format(" in every {}th iteration", late->period);
  }
  row.us = summarize(trace.us);
  row.us.samples = trace.iterations;
  row.us.max = trace.max_us;
  row.arrivals = arrivals_of(trace);
  row.trace = std::move(trace);
  return row;
}

std::vector<RowPlan> plan_rows(const CollectiveInfo& collective, const Options& options,
                               const std::vector<int>& roots) {
  const std::vector<tutti_op_t> ops = collective.has_op() ? options.ops : std::vector<tutti_op_t>{TUTTI_SUM};
  std::vector<RowPlan> plans;
  for (const tutti_datatype_t datatype : options.datatypes) {
    const uint64_t element = tutti_datatype_size(datatype);
    for (const tutti_op_t op : ops) {
      for (const int root : roots) {
        for (const uint64_t size : options.sizes) {
          // Whole elements, and at least one where any bytes were asked for.
          const uint64_t count = size == 0 ? 0 : std::max<uint64_t>(size / element, 1);
          for (const bool in_place : options.placements) {
            const Call call{
                .count = static_cast<int64_t>(count), .datatype = datatype, .op = op, .root = root};
            plans.push_back({call, count * element, in_place});
          }
        }
      }
    }
  }
  return plans;
}

size_t whose_turn(int64_t iteration, size_t turn, size_t libraries) {
  const auto round = static_cast<uint64_t>(iteration);
  // An odd number takes the same square backwards as well: one alone has some successions twice and others never.
  const bool backwards = libraries % 2 == 1 && round / libraries % 2 == 1;
  const size_t place = backwards ? libraries - 1 - turn : turn;
  // 0, 1, n - 1, 2, n - 2, ...: all steps from one to the next are different.
  const size_t base = place % 2 == 1 ? (place + 1) / 2 : (libraries - place / 2) % libraries;
  return (base + round) % libraries;
}

uint64_t longest(const std::vector<RowPlan>& plans) {
  uint64_t bytes = 0;
  for (const RowPlan& plan : plans) bytes = std::max(bytes, plan.bytes);
  return bytes;
}

}  // namespace tutti::bench
