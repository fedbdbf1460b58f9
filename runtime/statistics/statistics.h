// Statistics as a communicator sees them. Where they are not built in (CMake: TUTTI_STATS=OFF) nothing is left of them but the answer that
// this is so.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "runtime/communicator/signature.h"
#include "runtime/communicator/world.h"
#include "runtime/statistics/built_in.h"
#ifdef TUTTI_HAVE_STATISTICS
#include "runtime/statistics/exporter.h"
#include "runtime/statistics/job.h"
#include "runtime/statistics/recorder.h"
#endif

namespace tutti {

#ifdef TUTTI_HAVE_STATISTICS

using OperationStatistics = StatisticsRecorder;

/// Of all nodes together. Nothing where there is one.
struct JobStatistics {
  std::unique_ptr<statistics::StampExporter> exporter;  // on the first rank of each node
  std::unique_ptr<statistics::JobFigures> figures;      // on rank 0
};

#else

struct NoStatistics {
  static void arrive() {}
  static void retry() {}
  static void leave(uint64_t /*epoch*/, const Call& /*call*/) {}
  static void idle() {}
};
using OperationStatistics = NoStatistics;
struct JobStatistics {};

#endif

OperationStatistics make_statistics(const World& world, uint64_t first_epoch);

JobStatistics make_job_statistics(const World& world, const OperationStatistics& statistics,
                                  uint64_t first_epoch);

/// What the control thread has to do for them. `job` outlives it.
void serve_job_statistics(JobStatistics& job, const World& world, ControlEvents& events);

/// What tutti_comm_stats gives: `format` is "json" or "prometheus". Any thread, while operations run. Rank 0 of several nodes waits a
/// moment for what they have to say of operations up to `finished`. Throws Error.
std::string statistics_text(const OperationStatistics& statistics, const JobStatistics& job,
                            const World& world, uint64_t finished, const std::string& format);

/// Writes the file of TUTTI_STATS, if it asks for one of this rank. Waits a moment for what other ranks are about to say of the last
/// operations. What goes wrong is logged.
void write_statistics(const OperationStatistics& statistics, const JobStatistics& job, const World& world,
                      uint64_t finished, const std::string& pattern) noexcept;

/// Logs a warning where that file could not be written.
void check_statistics_file(const World& world, const std::string& pattern);

}  // namespace tutti
