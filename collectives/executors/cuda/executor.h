// The kernels of one device, and how they are launched.
#pragma once

#include <array>
#include <memory>

#include "collectives/executors/cuda/launch.h"
#include "core/types.h"
#include "transports/cuda_ipc/device.h"

namespace tutti::cuda {

/// Loaded once per device and process; loading may wait for work on the device, so it happens when a communicator is made. Thread-safe.
class Kernels {
  struct Private {};

 public:
  /// Throws Error(system_error) where the driver refuses the kernels: unsupported where it has no code for the device.
  static std::shared_ptr<const Kernels> load(const DevicePtr& device);

  Kernels(Private, DevicePtr device);
  ~Kernels();
  Kernels(const Kernels&) = delete;
  Kernels& operator=(const Kernels&) = delete;

  const Device& device() const { return *device_; }
  CUfunction kernel(ReduceOp op, DataType type) const;
  /// How many blocks of any kernel the device can run at one time.
  int resident_blocks() const { return resident_blocks_; }

 private:
  static constexpr size_t kOperators = 4;  // avg is sum

  DevicePtr device_;
  std::array<CUmodule, kDataTypes> modules_{};
  std::array<std::array<CUfunction, kOperators>, kDataTypes> functions_{};
  int resident_blocks_ = 0;
};

/// Whether all blocks must be able to run at one time (ranks that wait for one another in one launch), or the caller sees to it.
enum class Residency : uint8_t { by_caller, cooperative };

/// Enqueues the operations of all ranks of `launch` on `stream`, `blocks` in all. The device's context must be current. Neither waits nor
/// allocates; may be captured.
CUresult enqueue(const Kernels& kernels, CUfunction kernel, const Launch& launch, unsigned blocks,
                 CUstream stream, Residency residency);

}  // namespace tutti::cuda
