// A range of device addresses and the physical memory mapped there, piece after piece; RAII for the driver's virtual memory.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "transports/cuda_ipc/device.h"

namespace tutti::cuda {

/// A handle of physical memory, released at the end of the scope (the memory stays while it is mapped anywhere).
class PhysicalMemory {
 public:
  PhysicalMemory(const Driver& driver, CUmemGenericAllocationHandle handle)
      : driver_(driver), handle_(handle) {}
  ~PhysicalMemory() { driver_.cuMemRelease(handle_); }
  PhysicalMemory(const PhysicalMemory&) = delete;
  PhysicalMemory& operator=(const PhysicalMemory&) = delete;
  CUmemGenericAllocationHandle handle() const { return handle_; }

 private:
  const Driver& driver_;
  CUmemGenericAllocationHandle handle_;
};

class VirtualRange {
 public:
  /// Reserves `bytes` addresses, a multiple of the granularity.
  VirtualRange(DevicePtr device, size_t bytes);
  VirtualRange(const VirtualRange&) = delete;
  VirtualRange& operator=(const VirtualRange&) = delete;
  /// Unmaps all and gives the addresses back.
  ~VirtualRange();

  /// Maps the first `bytes` of `memory` behind what is mapped already, for the device and those in `peers` to read and write.
  void append(const PhysicalMemory& memory, size_t bytes, std::span<const DevicePtr> peers = {});

  CUdeviceptr address() const { return address_; }

 private:
  DevicePtr device_;
  CUdeviceptr address_ = 0;
  size_t reserved_;
  size_t mapped_ = 0;
  std::vector<size_t> pieces_;  // bytes of each
};

}  // namespace tutti::cuda
