// A build without statistics.
#include "core/error.h"
#include "core/log.h"
#include "runtime/statistics/statistics.h"

// Tools that look at every source see it in builds with statistics too.
#ifndef TUTTI_HAVE_STATISTICS

namespace tutti {

namespace {

constexpr const char* kReason = "this build of Tutti has no statistics (CMake: TUTTI_STATS=OFF)";

}  // namespace

OperationStatistics make_statistics(const World& /*world*/, uint64_t /*first_epoch*/) {
  return {};
}

JobStatistics make_job_statistics(const World& /*world*/, const OperationStatistics& /*statistics*/,
                                  uint64_t /*first_epoch*/) {
  return {};
}

void serve_job_statistics(JobStatistics& /*job*/, const World& /*world*/, ControlEvents& /*events*/) {}

std::string statistics_text(const OperationStatistics& /*statistics*/, const JobStatistics& /*job*/,
                            const World& /*world*/, uint64_t /*finished*/, const std::string& /*format*/) {
  raise(Result::unsupported, "{}", kReason);
}

void write_statistics(const OperationStatistics& /*statistics*/, const JobStatistics& /*job*/,
                      const World& /*world*/, uint64_t /*finished*/,
                      const std::string& /*pattern*/) noexcept {}

void check_statistics_file(const World& /*world*/, const std::string& pattern) {
  if (!pattern.empty()) log(Level::warn, "TUTTI_STATS={} is not written: {}", pattern, kReason);
}

}  // namespace tutti

#endif
