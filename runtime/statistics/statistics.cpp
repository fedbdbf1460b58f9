#include "runtime/statistics/statistics.h"

#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"
#include "runtime/device.h"
#include "runtime/statistics/file_name.h"
#include "runtime/statistics/report.h"
#include "runtime/statistics/summary.h"

namespace tutti {

namespace {

using statistics::JobSummary;
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

/// What all nodes have to say of operations up to `finished`, or what they have said until patience ends. Nothing but on rank 0.
std::optional<JobSummary> summary_of_job(const JobStatistics& job, const World& world, uint64_t finished) {
  constexpr uint64_t kAskAgainNs = 5'000'000;
  if (!job.figures) return std::nullopt;
  const uint64_t start = now_ns();
  do {
    world.control->ask_stamps();
  } while (!job.figures->wait_for(finished, kAskAgainNs) && now_ns() - start < kPatienceNs);
  return job.figures->summary();
}

/// Whatever memory the bytes came from.
std::vector<RailStatistics> rails_of(const World& world) {
  std::vector<RailStatistics> rails;
  if (world.networks) add_rails(rails, world.networks->rail_statistics());
  if (world.devices) add_rails(rails, device_rail_statistics(*world.devices));
  return rails;
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
  return {std::move(parts), world.place(), first_epoch, world.placement.node_count() > 1};
}

JobStatistics make_job_statistics(const World& world, const OperationStatistics& recorder,
                                  uint64_t first_epoch) {
  JobStatistics job;
  const int nodes = world.placement.node_count();
  if (nodes == 1) return job;
  const auto selection = statistics::Selection::for_nodes(nodes);
  const int node = world.placement.node_of(world.rank);
  if (world.place() == 0) {
    job.exporter = std::make_unique<statistics::StampExporter>(
        recorder.parts(), node, world.placement.ranks_of(node), first_epoch, selection);
  }
  if (world.rank == 0) {
    const std::vector<int> node_of(world.placement.nodes.begin(), world.placement.nodes.end());
    job.figures = std::make_unique<statistics::JobFigures>(node_of, first_epoch, selection);
  }
  return job;
}

void serve_job_statistics(JobStatistics& job, const World& world, ControlEvents& events) {
  events.nodes.assign(world.placement.nodes.begin(), world.placement.nodes.end());
  if (job.exporter) {
    events.stamps = [exporter = job.exporter.get()](const ClockMap& to_root,
                                                    std::vector<StampBatch>& batches) {
      return exporter->collect(to_root, batches);
    };
  }
  if (job.figures)
    events.heard_stamps = [figures = job.figures.get()](const StampBatch& batch) { figures->hear(batch); };
}

std::string statistics_text(const OperationStatistics& recorder, const JobStatistics& job, const World& world,
                            uint64_t finished, const std::string& format) {
  const bool is_json = format == "json";
  if (is_json || format == "prometheus") {
    const Scope scope = scope_of(world);
    const std::optional<JobSummary> of_job = summary_of_job(job, world, finished);
    const Summary summary = summary_of(recorder, scope);
    const std::vector<RailStatistics> rails = rails_of(world);
    return is_json ? as_json(summary, scope, of_job, rails) : as_prometheus(summary, scope, of_job, rails);
  }
  raise(Result::invalid_argument, "format '{}' does not exist; expected json or prometheus", format);
}

void write_statistics(const OperationStatistics& recorder, const JobStatistics& job, const World& world,
                      uint64_t finished, const std::string& pattern) noexcept {
  try {
    const Scope scope = scope_of(world);
    const std::string path = statistics_file(pattern, scope.rank, scope.communicator);
    if (path.empty()) return;
    const std::optional<JobSummary> of_job = summary_of_job(job, world, finished);
    write_file(path, as_json(settled_summary(recorder, scope), scope, of_job, rails_of(world)));
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
