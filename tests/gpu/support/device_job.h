// One rank's part of a case of tests/runtime/support/workload.h, in device memory.
#pragma once

#include <algorithm>

#include "tests/gpu/support/allocations.h"
#include "tests/gpu/support/copies.h"
#include "tests/runtime/support/workload.h"

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
