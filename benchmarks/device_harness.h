// How a row on device memory is measured.
//
// One thread is all ranks, each with a stream of its own. Each iteration: the device writes new inputs and poisons the outputs; all streams
// are waited for; then an event, the calls, an event behind each rank's. The sample is the time from the first event to the latest of the
// others, by the device's clock. Three modes:
//
//   isolated   one call. A gate holds the device until all is enqueued, where the driver has such: what is measured is the device's part.
//   chain      K calls that follow each other on their streams; the sample is a K-th of the time. The host enqueues while the device works.
//   graph      the K calls captured once, and replayed.
//
// Beside it stands what the host spends on a call: from the call of the library to its return.
//
// A baseline takes turns with Tutti: both run once in every iteration, on the same buffers and streams, and who is first changes with
// every iteration. Results of timed iterations are checked where calling again gives the same result: not in a chain in place.
#pragma once

#include <memory>
#include <vector>

#include "benchmarks/device_library.h"
#include "benchmarks/device_message.h"
#include "benchmarks/device_ranks.h"
#include "benchmarks/row_plan.h"

namespace tutti::bench {

class DeviceHarness {
 public:
  DeviceHarness(DeviceRanks& ranks, const CollectiveInfo& collective, const Options& options,
                double copy_bandwidth);

  /// One row for each library, Tutti's first. Throws where a call fails.
  std::vector<Row> measure(const RowPlan& plan, const std::vector<DeviceLibrary*>& libraries);

 private:
  struct Subject;
  class Measurement;

  DeviceRanks& ranks_;
  const CollectiveInfo& collective_;
  const Options& options_;
  double copy_bandwidth_;
  Downloads downloads_;
  gpu::Gate gate_;
  gpu::Event start_;
  std::vector<std::unique_ptr<gpu::Event>> ends_;  // by rank
  uint64_t generation_ = 0;
  uint64_t run_start_ = 0;  // the tick of the first timed iteration
};

/// Bytes that an algorithm cannot do without reading or writing when `ranks` ranks on one device have messages of `bytes`.
double least_traffic(Kind kind, int ranks, uint64_t bytes, bool in_place);

}  // namespace tutti::bench
