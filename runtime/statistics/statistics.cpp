#include "runtime/statistics/statistics.h"

#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"
#include "runtime/statistics/file_name.h"
#include "runtime/statistics/report.h"
#include "runtime/statistics/summary.h"

namespace tutti {

namespace {

using statistics::NodePart;
using statistics::Scope;
using statistics::Summary;

/// How long the last operations of other ranks are awaited before the file is written.
constexpr uint64_t kPatienceNs = 100'000'000;

Scope scope_of(const World& world) {
  const int node = world.placement.node_of(world.rank);
  return {.rank = world.rank,
          .size = world.ranks(),
          .node = node,
          .nodes = world.placement.node_count(),
          .communicator = world.node->number,
          .ranks = world.placement.ranks_of(node)};
}

Summary summary_of(const OperationStatistics& recorder, const Scope& scope) {
  return statistics::summarize(recorder.parts(), recorder.place(), scope.ranks);
}

Summary settled_summary(const OperationStatistics& recorder, const Scope& scope) {
  const uint64_t start = now_ns();
  for (;;) {
    Summary summary = summary_of(recorder, scope);
    if (summary.pending == 0 || now_ns() - start >= kPatienceNs) return summary;
    sched_yield();
  }
}

/// Whole or not at all: readers never see half a file.
void write_file(const std::string& path, const std::string& text) {
  const std::string draft = fmt::format("{}.{}.part", path, getpid());
  {
    std::ofstream file(draft, std::ios::trunc);
    file << text;
    file.close();
    if (!file) raise_errno(errno, "writing {}", draft);
  }
  if (std::rename(draft.c_str(), path.c_str()) == 0) return;
  const int error = errno;
  static_cast<void>(std::remove(draft.c_str()));
  raise_errno(error, "renaming {} to {}", draft, path);
}

}  // namespace

OperationStatistics make_statistics(const World& world, uint64_t first_epoch) {
  std::vector<NodePart> parts;
  parts.reserve(static_cast<size_t>(world.node->ranks()));
  for (int place = 0; place < world.node->ranks(); ++place)
    parts.push_back(NodePart::at(world.node->window(place).annex, world.node->most));
  return {std::move(parts), world.place(), first_epoch};
}

std::string statistics_text(const OperationStatistics& recorder, const World& world,
                            const std::string& format) {
  const Scope scope = scope_of(world);
  if (format == "json") return as_json(summary_of(recorder, scope), scope);
  if (format == "prometheus") return as_prometheus(summary_of(recorder, scope), scope);
  raise(Result::invalid_argument, "format '{}' does not exist; expected json or prometheus", format);
}

void write_statistics(const OperationStatistics& recorder, const World& world,
                      const std::string& pattern) noexcept {
  try {
    const Scope scope = scope_of(world);
    const std::string path = statistics_file(pattern, scope.rank, scope.communicator);
    if (!path.empty()) write_file(path, as_json(settled_summary(recorder, scope), scope));
  } catch (const std::exception& e) {
    log(Level::warn, "TUTTI_STATS={}: {}", pattern, e.what());
  }
}

void check_statistics_file(const World& world, const std::string& pattern) {
  const std::string path = statistics_file(pattern, world.rank, world.node->number);
  if (path.empty()) return;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const std::string place = folder.empty() ? "." : folder.string();
  if (access(place.c_str(), W_OK | X_OK) != 0)
    log(Level::warn, "TUTTI_STATS={}: {} cannot be written: {}", pattern, path, std::strerror(errno));
}

}  // namespace tutti
