// Memory that a device can reach: what a pointer is, and owners of memory that Tutti makes for itself and its users.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "transports/cuda_ipc/device.h"

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

/// An address of a device as kernels' arguments and some of the driver's functions want it; not to be followed on the host.
inline void* pointer_to(CUdeviceptr address) {
  return reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr)
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
  DeviceMemory(DeviceMemory&&) noexcept = default;
  DeviceMemory& operator=(DeviceMemory&&) noexcept = default;

  CUdeviceptr address() const { return reinterpret_cast<CUdeviceptr>(memory_.get()); }
  /// The same, for kernels' arguments; not to be followed on the host.
  template <typename T = void>
  T* as() const {
    return static_cast<T*>(memory_.get());
  }
  size_t size() const { return size_; }  // what was asked for
  explicit operator bool() const { return memory_ != nullptr; }
  const DevicePtr& device() const { return device_; }

  /// Sets bytes to zero and waits for it; on a stream of its own, so it waits for no other work.
  void clear(size_t offset, size_t bytes) const;
  void clear() const { clear(0, size_); }
  /// Copies from the host, likewise.
  void write(size_t offset, const void* from, size_t bytes) const;
  void reset() noexcept { *this = {}; }

 private:
  template <typename Start>
  void change(size_t offset, size_t bytes, const char* what, Start&& start) const;

  DevicePtr device_;
  std::shared_ptr<void> memory_;  // has one owner; knows how it ends
  size_t size_ = 0;
};

/// Page-locked host memory that all devices can reach; zeroed.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  PinnedMemory(const DevicePtr& device, size_t bytes);
  PinnedMemory(PinnedMemory&&) noexcept = default;
  PinnedMemory& operator=(PinnedMemory&&) noexcept = default;

  template <typename T = void>
  T* as() const {
    return static_cast<T*>(host_.get());
  }
  CUdeviceptr device_address() const { return address_; }
  size_t size() const { return size_; }
  explicit operator bool() const { return host_ != nullptr; }

 private:
  std::shared_ptr<void> host_;  // has one owner
  CUdeviceptr address_ = 0;
  size_t size_ = 0;
};

/// Host memory of somebody else (a window of shared memory, for example) that devices can reach while this lives. The memory
/// must outlive it.
class HostRegistration {
 public:
  HostRegistration() = default;
  HostRegistration(const DevicePtr& device, void* host, size_t bytes);
  HostRegistration(HostRegistration&&) noexcept = default;
  HostRegistration& operator=(HostRegistration&&) noexcept = default;

  CUdeviceptr device_address() const { return address_; }
  explicit operator bool() const { return host_ != nullptr; }
  void reset() noexcept { *this = {}; }

 private:
  std::shared_ptr<void> host_;  // has one owner
  CUdeviceptr address_ = 0;
};

}  // namespace tutti::cuda
