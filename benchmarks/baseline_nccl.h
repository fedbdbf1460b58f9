// NCCL as a baseline on device memory. It is loaded at run time; the few declarations it takes are here, and no header of it is needed.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "benchmarks/device_library.h"

namespace tutti::bench {

/// Why there is no baseline; not an error of the run.
class NoBaseline : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// "2.30.7" of ncclGetVersion's number.
std::string nccl_version_text(int version);

/// Why an NCCL of this version cannot run several ranks on one device; empty where it can.
std::string nccl_too_old(int version);

/// Why NCCL has no such call; empty where it has.
std::string nccl_cannot(const CollectiveInfo& collective, const Call& call);

/// Loads the library and looks at its version, without starting it; returns the version. Throws NoBaseline.
int nccl_version(const std::string& library, bool several_on_one_device);

struct NcclOnDevice {
  std::unique_ptr<DeviceLibrary> library;
  std::string version;
};
/// `devices` by rank; NCCL uses at most `blocks` thread blocks for each rank, unless the environment says otherwise (NCCL_MAX_CTAS). Throws
/// NoBaseline.
NcclOnDevice make_nccl_library(const CollectiveInfo& collective, const std::string& library,
                               const std::vector<int>& devices, int blocks);

}  // namespace tutti::bench
