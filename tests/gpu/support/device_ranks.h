// Ranks of a test that are threads of its process and work on device memory.
#pragma once

#include <tutti/tutti.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "tests/gpu/support/allocations.h"
#include "tests/gpu/support/copies.h"
#include "tests/gpu/support/device_job.h"
#include "tests/runtime/support/local_ranks.h"
#include "tests/runtime/support/workload.h"

/// The ranks' devices: rank r has device r modulo the number of devices that are to be used.
inline std::vector<int> devices_for(int ranks, int devices = 1) {
  std::vector<int> ordinals;
  for (int r = 0; r < ranks; ++r) ordinals.push_back(r % devices);
  return ordinals;
}

/// A communicator of `ranks` ranks with devices; each rank has a stream.
class DeviceRanks {
 public:
  explicit DeviceRanks(int ranks, const char* algorithm = nullptr, int devices = 1,
                       int64_t timeout_ns = 120 * kSecond)
      : ordinals_(devices_for(ranks, devices)), local_(ranks, config(algorithm, timeout_ns)) {
    for (const int ordinal : ordinals_) {
      devices_.push_back(tutti::cuda::Device::open(ordinal));
      streams_.push_back(std::make_unique<CopyStream>(*devices_.back()));
    }
  }

  int size() const { return local_.size(); }
  LocalRanks& local() { return local_; }
  tutti_comm_t operator[](int rank) const { return local_[rank]; }
  const tutti::cuda::DevicePtr& device(int rank) const { return devices_[static_cast<size_t>(rank)]; }
  const CopyStream& stream(int rank) const { return *streams_[static_cast<size_t>(rank)]; }

 private:
  tutti_comm_config_t config(const char* algorithm, int64_t timeout_ns) const {
    tutti_comm_config_t made = patient_config(algorithm, timeout_ns);
    made.devices = ordinals_.data();
    return made;
  }

  std::vector<int> ordinals_;
  std::vector<tutti::cuda::DevicePtr> devices_;
  LocalRanks local_;
  std::vector<std::unique_ptr<CopyStream>> streams_;
};
