// The buffers of one rank in a row on device memory: filled and poisoned by the device, checked on the host.
//
// The pattern of inputs (verify.h) lies on the device once, repeated: the tape. The input of a generation is a copy out of it, so that data
// change with every iteration and nothing is uploaded. Outputs are filled with a byte that changes with the generation. Around a verified
// call everything is downloaded and compared; around a timed call the spans of message.h are, and all of a message up to kWholeOnDevice.
#pragma once

#include <cstddef>
#include <cstdint>

#include "benchmarks/collective.h"
#include "benchmarks/device_ranks.h"
#include "benchmarks/message.h"
#include "benchmarks/verify.h"

namespace tutti::bench {

inline constexpr int64_t kWholeOnDevice = int64_t{64} << 10;

/// Pinned memory that all downloads of a run go through.
class Downloads {
 public:
  static constexpr size_t kBytes = size_t{8} << 20;

  std::byte* data() { return memory_.data(); }

 private:
  gpu::Pinned memory_{kBytes};
};

class DeviceMessage {
 public:
  /// `call` has this rank's buffers; in place when they are the same. Fills the rank's tape.
  DeviceMessage(const CollectiveInfo& collective, const Call& call, const DeviceRanks& ranks, int rank,
                Downloads& downloads);

  /// Enqueues that the input is written and the output poisoned.
  void prepare(uint64_t generation);
  /// Wrong elements of the output, and of an input that the call must not have changed. Waits for the rank's stream.
  int64_t check(Extent extent, uint64_t generation);
  /// Spoils one element of the output, one that the check of this extent and generation looks at.
  void plant_error(Extent extent, uint64_t generation);

 private:
  Spans spans(Extent extent, uint64_t generation) const;
  bool has_own_input() const { return send_ != recv_ && contributes_; }
  void fetch(const Span& span, CUdeviceptr message, std::byte* to);
  int64_t check_whole(uint64_t generation);
  int64_t check_spans(uint64_t generation);
  void fill_tape();

  Patterns patterns_;
  const DeviceRanks& ranks_;
  Downloads& downloads_;
  int rank_;
  int64_t count_;
  CUdeviceptr send_;
  CUdeviceptr recv_;
  bool contributes_;  // has an input: all ranks of an all-reduce, the root of a broadcast
};

}  // namespace tutti::bench
