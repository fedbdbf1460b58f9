// The ranks of a run on device memory: their devices, streams and buffers.
//
// Every wait for a device is bounded. One that is not over in time ends the process with a line that names what was awaited: kernels that
// hang cannot be waited for, and freeing what they use would wait for them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "benchmarks/gpu.h"
#include "benchmarks/options.h"

namespace tutti::bench {

class DeviceRanks {
 public:
  /// `largest` in bytes is the longest message there will be. Throws UsageError where the memory does not suffice.
  DeviceRanks(const Options& options, uint64_t largest);

  int size() const { return static_cast<int>(places_.size()); }
  const gpu::Device& device(int rank) const { return *places_[static_cast<size_t>(rank)].device; }
  CUstream stream(int rank) const { return places_[static_cast<size_t>(rank)].stream; }
  /// Of rank `rank`; `send` is empty where all rows are in place.
  const gpu::Memory& send(int rank) const { return places_[static_cast<size_t>(rank)].send; }
  const gpu::Memory& recv(int rank) const { return places_[static_cast<size_t>(rank)].recv; }
  /// What inputs are copied from; a period longer than the longest message.
  const gpu::Memory& tape(int rank) const { return places_[static_cast<size_t>(rank)].tape; }
  /// Device numbers by rank.
  std::vector<int> ordinals() const;

  /// Waits until all that was enqueued is done; `what` is for the message of a wait that takes too long.
  void settle(const std::string& what) const;
  /// The same of one rank's stream.
  void settle(int rank, const char* what) const;
  /// Waits for one event.
  void await(const gpu::Event& event, std::string_view what) const;

  /// Bytes per nanosecond that large copies within the first device read and write, together.
  double copy_bandwidth() const;

 private:
  struct Place {
    const gpu::Device* device = nullptr;
    CUstream stream = nullptr;
    gpu::Memory send;
    gpu::Memory recv;
    gpu::Memory tape;
    std::unique_ptr<gpu::Event> settled;
  };

  std::vector<std::unique_ptr<gpu::Device>> devices_;
  std::vector<std::unique_ptr<gpu::Stream>> streams_;
  std::vector<Place> places_;
  uint64_t limit_ns_;
};

}  // namespace tutti::bench
