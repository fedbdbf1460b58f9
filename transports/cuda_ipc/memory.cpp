#include "transports/cuda_ipc/memory.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "transports/cuda_ipc/virtual_range.h"

namespace tutti::cuda {
namespace {

CUdeviceptr number_of(const void* pointer) {
  return reinterpret_cast<CUdeviceptr>(pointer);
}

/// Work that waits for no other work.
class OwnStream {
 public:
  explicit OwnStream(const Driver& driver) : driver_(driver) {
    driver.check(driver.cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  }
  ~OwnStream() { driver_.cuStreamDestroy(stream_); }
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  CUstream get() const { return stream_; }

 private:
  const Driver& driver_;
  CUstream stream_ = nullptr;
};

CUmemAllocationProp properties_on(const DeviceFacts& facts) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = facts.ordinal;
  properties.requestedHandleTypes = facts.posix_handles    ? CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
                                    : facts.fabric_handles ? CU_MEM_HANDLE_TYPE_FABRIC
                                                           : CU_MEM_HANDLE_TYPE_NONE;
  properties.allocFlags.gpuDirectRDMACapable = facts.gpu_direct_rdma ? 1 : 0;
  return properties;
}

CUdeviceptr device_address_of(const Device& device, void* host) {
  const Driver& driver = device.driver();
  CUdeviceptr address = 0;
  driver.check(driver.cuMemHostGetDevicePointer(&address, host, 0),
               fmt::format("the address of pinned memory on CUDA device {} (cuMemHostGetDevicePointer)",
                           device.ordinal()));
  return address;
}

/// What `free(driver, memory)` gives back, in the device's context, once nobody has it any more.
template <typename Free>
std::shared_ptr<void> owned(const DevicePtr& device, void* memory, Free free) {
  return {memory,
          [device, free](void* last) { device->in_context([&] { return free(device->driver(), last); }); }};
}

/// Null where the device has no virtual memory, or not with the properties needed.
std::shared_ptr<void> create_virtual(const DevicePtr& device, size_t bytes,
                                     std::span<const DevicePtr> peers) {
  const Driver& driver = device->driver();
  if (!device->facts().virtual_memory) return nullptr;
  const CUmemAllocationProp properties = properties_on(device->facts());
  size_t granularity = 0;
  driver.check(
      driver.cuMemGetAllocationGranularity(&granularity, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED),
      "cuMemGetAllocationGranularity");
  if (bytes > SIZE_MAX - granularity)
    raise(Result::invalid_argument, "{} bytes of device memory are too many", bytes);
  const size_t rounded = (bytes + granularity - 1) / granularity * granularity;
  CUmemGenericAllocationHandle handle{};
  const CUresult created = driver.cuMemCreate(&handle, rounded, &properties, 0);
  if (created == CUDA_ERROR_NOT_SUPPORTED || created == CUDA_ERROR_NOT_PERMITTED) return nullptr;
  driver.check(created, fmt::format("cuMemCreate of {} bytes on CUDA device {}", rounded, device->ordinal()));
  const PhysicalMemory memory(driver, handle);
  const auto range = std::make_shared<VirtualRange>(device, rounded);
  range->append(memory, rounded, peers);
  return {range, pointer_to(range->address())};
}

std::shared_ptr<void> allocate(const DevicePtr& device, size_t bytes, std::span<const DevicePtr> peers) {
  const Driver& driver = device->driver();
  for (const DevicePtr& peer : peers) peer->enable_access(*device);
  CUdeviceptr address = 0;
  driver.check(driver.cuMemAlloc(&address, bytes),
               fmt::format("cuMemAlloc of {} bytes on CUDA device {}", bytes, device->ordinal()));
  return owned(device, pointer_to(address),
               [](const Driver& with, void* memory) { return with.cuMemFree(number_of(memory)); });
}

}  // namespace

PointerInfo inspect(const Device& device, const void* pointer) noexcept {
  constexpr std::array kAttributes = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE,      CU_POINTER_ATTRIBUTE_IS_MANAGED,
                                      CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,   CU_POINTER_ATTRIBUTE_BUFFER_ID,
                                      CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, CU_POINTER_ATTRIBUTE_RANGE_SIZE};
  PointerInfo info;
  uint32_t type = 0;
  uint32_t managed = 0;
  int ordinal = -1;
  const std::array<void*, kAttributes.size()> values = {&type,           &managed,   &ordinal,
                                                        &info.buffer_id, &info.base, &info.size};
  info.result = device.attributes(number_of(pointer), kAttributes, values);
  if (info.result != CUDA_SUCCESS || (type != CU_MEMORYTYPE_DEVICE && type != CU_MEMORYTYPE_HOST)) {
    return {.result = info.result};
  }
  info.kind = managed != 0                   ? MemoryKind::managed
              : type == CU_MEMORYTYPE_DEVICE ? MemoryKind::device
                                             : MemoryKind::pinned;
  info.device = ordinal;
  return info;
}

CUdeviceptr device_address(const Device& device, void* pinned) {
  const ContextGuard context(device);
  return device_address_of(device, pinned);
}

DeviceMemory::DeviceMemory(DevicePtr device, size_t bytes, std::span<const DevicePtr> peers)
    : device_(std::move(device)), size_(bytes) {
  if (bytes == 0)
    raise(Result::invalid_argument, "0 bytes of device memory were asked for; expected 1 or more");
  const ContextGuard context(*device_);
  memory_ = create_virtual(device_, bytes, peers);
  if (memory_ == nullptr) memory_ = allocate(device_, bytes, peers);
}

/// `start(stream)` enqueues what is done to those bytes.
template <typename Start>
void DeviceMemory::change(size_t offset, size_t bytes, const char* what, Start&& start) const {
  if (offset > size_ || bytes > size_ - offset)
    raise(Result::internal_error, "bytes {} to {} of {} were to be {}", offset, offset + bytes, size_, what);
  if (bytes == 0) return;
  const Driver& driver = device_->driver();
  const ContextGuard context(*device_);
  const OwnStream stream(driver);
  driver.check(start(stream.get()), fmt::format("{} bytes to be {}", bytes, what));
  driver.check(driver.cuStreamSynchronize(stream.get()), fmt::format("{} bytes to be {}", bytes, what));
}

void DeviceMemory::clear(size_t offset, size_t bytes) const {
  change(offset, bytes, "cleared", [&](CUstream stream) {
    return device_->driver().cuMemsetD8Async(address() + offset, 0, bytes, stream);
  });
}

void DeviceMemory::write(size_t offset, const void* from, size_t bytes) const {
  change(offset, bytes, "written", [&](CUstream stream) {
    return device_->driver().cuMemcpyHtoDAsync(address() + offset, from, bytes, stream);
  });
}

PinnedMemory::PinnedMemory(const DevicePtr& device, size_t bytes) : size_(bytes) {
  if (bytes == 0)
    raise(Result::invalid_argument, "0 bytes of pinned memory were asked for; expected 1 or more");
  const Driver& driver = device->driver();
  const ContextGuard context(*device);
  void* host = nullptr;
  driver.check(driver.cuMemHostAlloc(&host, bytes, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP),
               fmt::format("cuMemHostAlloc of {} bytes", bytes));
  host_ = owned(device, host, [](const Driver& with, void* memory) { return with.cuMemFreeHost(memory); });
  address_ = device_address_of(*device, host);
  std::memset(host, 0, bytes);
}

HostRegistration::HostRegistration(const DevicePtr& device, void* host, size_t bytes) {
  const Driver& driver = device->driver();
  const ContextGuard context(*device);
  driver.check(
      driver.cuMemHostRegister(host, bytes, CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP),
      fmt::format("cuMemHostRegister of {} bytes", bytes));
  host_ =
      owned(device, host, [](const Driver& with, void* memory) { return with.cuMemHostUnregister(memory); });
  address_ = device_address_of(*device, host);
}

}  // namespace tutti::cuda
