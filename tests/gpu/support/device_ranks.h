// Ranks of a test that are threads of its process and work on device memory.
#pragma once

#include <tutti/tutti.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "tests/gpu/support/allocations.h"
#include "tests/gpu/support/copies.h"
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

/// One rank's part of a case, its buffers in device memory.
class DeviceJob {
 public:
  DeviceJob(const workload::Case& c, int rank, int ranks, const tutti::cuda::DevicePtr& device)
      : job_(c, rank, ranks),
        device_(device),
        send_(device, std::max<size_t>(job_.send_image().size(), 1)),
        recv_(device, job_.recv_image().size()) {
    if (!job_.send_image().empty()) upload(*device_, send_.address(), job_.send_image());
    upload(*device_, recv_.address(), job_.recv_image());
  }

  tutti_result_t run(tutti_comm_t comm, const CopyStream& stream) const {
    return job_.run_at(pointer(send_), pointer(recv_), comm, stream.get());
  }
  /// After the stream has come so far.
  void check(const workload::Bytes& wanted, bool in_rank_order) {
    if (!job_.send_image().empty())
      job_.send_image() = download(*device_, send_.address(), job_.send_image().size());
    job_.recv_image() = download(*device_, recv_.address(), job_.recv_image().size());
    job_.check(wanted, in_rank_order);
  }
  uint64_t hash() const { return job_.hash(); }

 private:
  static unsigned char* pointer(const Allocation& memory) {
    return reinterpret_cast<unsigned char*>(memory.address());  // NOLINT(performance-no-int-to-ptr)
  }

  workload::Job job_;
  tutti::cuda::DevicePtr device_;
  Allocation send_;
  Allocation recv_;
};
