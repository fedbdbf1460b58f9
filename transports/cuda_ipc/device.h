// The CUDA devices of this process: what they can do, and one of them in use.
//
// Tutti works in a device's primary context, the one that frameworks and the CUDA run-time library use, and keeps it alive as
// long as anything of Tutti's lives on the device. It never changes a thread's current context but for the life of a ContextGuard.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "transports/cuda_ipc/driver.h"

namespace tutti::cuda {

/// What a device is and can do; asking needs no context.
struct DeviceFacts {
  int ordinal = 0;  // as the driver counts them in this process
  std::string name;
  std::array<uint8_t, 16> uuid{};  // the same in all processes
  std::string pci_bus_id;          // "0000:1b:00.0"
  int major = 0;                   // compute capability
  int minor = 0;
  int multiprocessors = 0;
  uint64_t l2_bytes = 0;
  uint64_t memory_bytes = 0;
  bool virtual_memory = false;  // cuMemCreate and what belongs to it
  bool posix_handles = false;   // memory can be shared as a descriptor
  bool fabric_handles = false;  // memory can be shared between nodes of one NVLink fabric
  bool multicast = false;       // NVLS
  bool gpu_direct_rdma = false;
  bool dma_buf = false;  // GPUDirect RDMA without a kernel module of its own
  bool cooperative_launch = false;
  bool stream_ordered_memory = false;

  /// "9.0".
  std::string capability() const;
  /// "GPU-1c3b2a40-...", as nvidia-smi prints it.
  std::string uuid_text() const;
};

/// Throws Error(invalid_argument) where there is no such device.
DeviceFacts device_facts(const Driver& driver, int ordinal);

/// All devices, or why there are none. Never throws on account of the driver.
struct DeviceList {
  int driver_version = 0;  // 13000 for CUDA 13.0; 0 without a driver
  std::vector<DeviceFacts> devices;
  std::string why_none;  // empty where there are devices
};
DeviceList list_devices();

/// The device of the calling thread's current context; -1 where it has none, or where this process does not use CUDA.
int current_device();

class Device {
  struct Private {};

 public:
  /// Throws Error: unsupported without a driver, invalid_argument without such a device, system_error where its context fails.
  /// Threads that open the same device share one object.
  static std::shared_ptr<const Device> open(int ordinal);

  Device(Private, const Driver& driver, int ordinal);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const Driver& driver() const { return driver_; }
  const DeviceFacts& facts() const { return facts_; }
  int ordinal() const { return facts_.ordinal; }
  CUdevice handle() const { return handle_; }
  CUcontext context() const { return context_; }

  /// Whether kernels on this device can reach the memory of `peer` directly; true for the device itself.
  bool can_access(const Device& peer) const;
  /// Makes memory that was allocated on `peer` (by cuMemAlloc, cudaMalloc) usable by kernels on this device. Doing it again, or
  /// for the device itself, is no error.
  void enable_access(const Device& peer) const;

  /// Runs `call`, which gives a CUresult, in the device's context; where the context is gone, it is not called. Throws nothing: for
  /// destructors and the data path. Elsewhere a ContextGuard does it.
  template <typename Call>
  CUresult in_context(Call&& call) const noexcept {
    if (const CUresult pushed = driver_.cuCtxPushCurrent(context_); pushed != CUDA_SUCCESS) return pushed;
    const CUresult result = call();
    CUcontext popped = nullptr;
    driver_.cuCtxPopCurrent(&popped);
    return result;
  }

  /// cuPointerGetAttributes: all in one call, which needs no context of the thread and does not synchronise. A pointer that CUDA
  /// does not know is no error; its values are zero.
  template <size_t N>
  CUresult attributes(CUdeviceptr pointer, const std::array<CUpointer_attribute, N>& which,
                      const std::array<void*, N>& values) const noexcept {
    return attributes(pointer, N, which.data(), values.data());
  }

 private:
  CUresult attributes(CUdeviceptr pointer, size_t count, const CUpointer_attribute* which,
                      void* const* values) const noexcept;

  const Driver& driver_;
  DeviceFacts facts_;
  CUdevice handle_ = 0;
  CUcontext context_ = nullptr;
};

using DevicePtr = std::shared_ptr<const Device>;

/// Makes the device's context the current one of this thread until the end of the scope. Costs next to nothing where it is
/// already. Throws Error(system_error); the destructor never does.
class ContextGuard {
 public:
  explicit ContextGuard(const Device& device);
  ~ContextGuard();
  ContextGuard(const ContextGuard&) = delete;
  ContextGuard& operator=(const ContextGuard&) = delete;

 private:
  const Driver& driver_;
  bool pushed_ = false;
};

}  // namespace tutti::cuda
