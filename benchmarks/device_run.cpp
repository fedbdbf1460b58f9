// Ranks, libraries and rows of a run on device memory, and what is said where the baseline is left out.
#include "benchmarks/device_run.h"

#include <fmt/format.h>

#include <cstdlib>

#include "benchmarks/baseline_nccl.h"
#include "benchmarks/device_harness.h"
#include "benchmarks/local_ranks.h"
#include "benchmarks/nccl_sweep.h"
#include "benchmarks/report.h"

namespace tutti::bench {
namespace {

std::vector<RowPlan> plans_of(const CollectiveInfo& collective, const Options& options) {
  return plan_rows(collective, options, roots_for(options, options.device->ranks()));
}

std::string cuda_version() {
  const int version = gpu::Driver::get().version;
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

class DeviceRun {
 public:
  DeviceRun(const CollectiveInfo& collective, const Options& options, int argc, char** argv)
      : collective_(collective),
        options_(options),
        plans_(plans_of(collective, options)),
        report_(collective, options, true),
        ranks_(options, longest(plans_)),
        tutti_(collective, ranks_.ordinals(), options.algorithm, options.timeout_ns),
        machine_(describe_machine(ranks_.size(), argc, argv)) {
    Gpu gpu;
    gpu.name = ranks_.device(0).name();
    gpu.devices = static_cast<int>(options.device->devices.size());
    gpu.cuda = cuda_version();
    gpu.copy_gbs = ranks_.copy_bandwidth();
    gpu.blocks = tutti_.blocks();
    machine_.gpu = gpu;
    if (options.device->baseline_nccl) load_nccl();
  }

  int all_rows() {
    DeviceHarness harness(ranks_, collective_, options_, machine_.gpu->copy_gbs);
    report_.header(machine_);
    if (!no_nccl_.empty()) report_.remark(fmt::format("no rows of nccl: {}", no_nccl_));
    Progress progress(true, plans_.size());
    bool stopped = false;
    for (size_t i = 0; i < plans_.size() && !stopped; ++i) {
      progress.at(i, plans_[i].label(collective_));
      std::vector<DeviceLibrary*> libraries{&tutti_};
      const std::string why_not = why_no_baseline(plans_[i]);
      if (nccl_ != nullptr && why_not.empty()) libraries.push_back(nccl_.get());
      std::vector<Row> rows = harness.measure(plans_[i], libraries);
      rows.front().no_baseline = why_not;
      progress.clear();
      report_.keep(std::move(rows));
      stopped = interrupted();
    }
    return report_.finish(machine_, plans_.size(), stopped);
  }

 private:
  void load_nccl() {
    try {
      NcclOnDevice nccl =
          make_nccl_library(collective_, options_.device->nccl, ranks_.ordinals(), machine_.gpu->blocks);
      nccl_ = std::move(nccl.library);
      machine_.gpu->nccl = nccl.version;
    } catch (const NoBaseline& why) {
      no_nccl_ = why.what();
    }
  }

  std::string why_no_baseline(const RowPlan& plan) {
    if (!options_.device->baseline_nccl) return {};
    if (nccl_ == nullptr) return no_nccl_;
    std::string why = nccl_cannot(collective_, plan.call);
    report_.no_row_of("nccl", why);
    return why;
  }

  const CollectiveInfo& collective_;
  const Options& options_;
  std::vector<RowPlan> plans_;
  Report report_;
  DeviceRanks ranks_;
  TuttiOnDevice tutti_;
  Machine machine_;
  std::unique_ptr<DeviceLibrary> nccl_;
  std::string no_nccl_;
};

}  // namespace

int run_on_device(const CollectiveInfo& collective, const Options& options, int argc, char** argv) {
  const DeviceOptions& device = *options.device;
  // As many queues to the device as there may be streams; read when the driver starts.
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  if (!device.nccl_sweep) return DeviceRun(collective, options, argc, argv).all_rows();
  try {
    nccl_version(device.nccl, device.ranks_per_gpu > 1);
  } catch (const NoBaseline&) {  // nothing to sweep; the run says why
    return DeviceRun(collective, options, argc, argv).all_rows();
  }
  return sweep_nccl(collective, options, argc, argv);
}

}  // namespace tutti::bench
