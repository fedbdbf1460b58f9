// Memory that a device can reach: what a pointer is, and owners of memory that Tutti makes for itself and its users.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "transports/cuda_ipc/device.h"
#include "transports/cuda_ipc/virtual_range.h"

namespace tutti::cuda {

enum class MemoryKind : uint8_t {
  host,     // pageable: no device can reach it
  pinned,   // page-locked, allocated or registered with CUDA
  managed,  // moves between host and devices
  device,
};

constexpr std::string_view name_of(MemoryKind kind) {
  constexpr std::string_view kNames[] = {"host", "pinned", "managed", "device"};
  return kNames[static_cast<size_t>(kind)];
}

/// What the driver knows about a pointer.
struct PointerInfo {
  MemoryKind kind = MemoryKind::host;
  int device = -1;  // the ordinal of the device it was allocated on or registered with; -1 for host memory
  /// The allocation: for virtual memory (expandable segments) the whole reserved range, of which parts may be unmapped.
  CUdeviceptr base = 0;
  size_t size = 0;
  /// Differs between allocations that had the same address one after the other; 0 for host memory.
  uint64_t buffer_id = 0;
  /// Not success: the driver could not say (a device failed before, for example), and nothing above is known.
  CUresult result = CUDA_SUCCESS;
};

/// One call of the driver, which does not synchronise: cheap enough for every operation. Knows memory of all devices; `device` only
/// lends its context, where one is needed.
PointerInfo inspect(const Device& device, const void* pointer) noexcept;

/// The address through which kernels on `device` reach pinned memory.
CUdeviceptr device_address(const Device& device, void* pinned);

/// Memory of a device, as virtual memory where the device supports that (so that it can be shared as descriptors), else from
/// cuMemAlloc. Its bytes are undefined at first. Freeing it waits for all work on the device, so free it where that may be.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  /// Also usable by kernels on the `peers`. Throws Error(system_error) where there is not enough memory.
  DeviceMemory(DevicePtr device, size_t bytes, std::span<const DevicePtr> peers = {});
  DeviceMemory(DeviceMemory&& other) noexcept;
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() { reset(); }

  CUdeviceptr address() const { return address_; }
  /// The same, for kernels' arguments; not to be followed on the host.
  template <typename T = void>
  T* as() const {
    // A device pointer is a number: NOLINTNEXTLINE(performance-no-int-to-ptr)
    return reinterpret_cast<T*>(address_);
  }
  size_t size() const { return size_; }  // what was asked for
  explicit operator bool() const { return address_ != 0; }
  const DevicePtr& device() const { return device_; }

  /// Sets bytes to zero and waits for it; on a stream of its own, so it waits for no other work.
  void clear(size_t offset, size_t bytes) const;
  void clear() const { clear(0, size_); }
  void reset() noexcept;

 private:
  bool create_virtual(std::span<const DevicePtr> peers);
  void allocate(std::span<const DevicePtr> peers);

  DevicePtr device_;
  VirtualRange range_;  // empty where the memory is from cuMemAlloc
  CUdeviceptr address_ = 0;
  size_t size_ = 0;
};

/// Page-locked host memory that all devices can reach; zeroed.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  PinnedMemory(DevicePtr device, size_t bytes);
  PinnedMemory(PinnedMemory&& other) noexcept;
  PinnedMemory& operator=(PinnedMemory&& other) noexcept;
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  ~PinnedMemory() { reset(); }

  template <typename T = void>
  T* as() const {
    return static_cast<T*>(host_);
  }
  CUdeviceptr device_address() const { return address_; }
  size_t size() const { return size_; }
  explicit operator bool() const { return host_ != nullptr; }
  void reset() noexcept;

 private:
  DevicePtr device_;
  void* host_ = nullptr;
  CUdeviceptr address_ = 0;
  size_t size_ = 0;
};

/// Host memory of somebody else (a window of shared memory, for example) that devices can reach while this lives. The memory
/// must outlive it.
class HostRegistration {
 public:
  HostRegistration() = default;
  HostRegistration(DevicePtr device, void* host, size_t bytes);
  HostRegistration(HostRegistration&& other) noexcept;
  HostRegistration& operator=(HostRegistration&& other) noexcept;
  HostRegistration(const HostRegistration&) = delete;
  HostRegistration& operator=(const HostRegistration&) = delete;
  ~HostRegistration() { reset(); }

  CUdeviceptr device_address() const { return address_; }
  explicit operator bool() const { return host_ != nullptr; }
  void reset() noexcept;

 private:
  DevicePtr device_;
  void* host_ = nullptr;
  CUdeviceptr address_ = 0;
};

}  // namespace tutti::cuda
