#include "transports/cuda_ipc/memory.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <utility>

#include "core/error.h"

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

/// What a destructor does: nothing where the device's context is gone, and no error.
template <typename Call>
void in_context(const Device& device, Call&& call) noexcept {
  const Driver& driver = device.driver();
  if (driver.cuCtxPushCurrent(device.context()) != CUDA_SUCCESS) return;
  call(driver);
  CUcontext popped = nullptr;
  driver.cuCtxPopCurrent(&popped);
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
  if (!create_virtual(peers)) allocate(peers);
}

/// False where the device has no virtual memory, or not with the properties needed.
bool DeviceMemory::create_virtual(std::span<const DevicePtr> peers) {
  const Driver& driver = device_->driver();
  if (!device_->facts().virtual_memory) return false;
  const CUmemAllocationProp properties = properties_on(device_->facts());
  size_t granularity = 0;
  driver.check(
      driver.cuMemGetAllocationGranularity(&granularity, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED),
      "cuMemGetAllocationGranularity");
  if (size_ > SIZE_MAX - granularity)
    raise(Result::invalid_argument, "{} bytes of device memory are too many", size_);
  const size_t rounded = (size_ + granularity - 1) / granularity * granularity;
  CUmemGenericAllocationHandle handle{};
  const CUresult created = driver.cuMemCreate(&handle, rounded, &properties, 0);
  if (created == CUDA_ERROR_NOT_SUPPORTED || created == CUDA_ERROR_NOT_PERMITTED) return false;
  driver.check(created,
               fmt::format("cuMemCreate of {} bytes on CUDA device {}", rounded, device_->ordinal()));
  const PhysicalMemory memory(driver, handle);
  range_ = VirtualRange(device_, rounded);
  range_.append(memory, rounded, peers);
  address_ = range_.address();
  return true;
}

void DeviceMemory::allocate(std::span<const DevicePtr> peers) {
  const Driver& driver = device_->driver();
  for (const DevicePtr& peer : peers) peer->enable_access(*device_);
  driver.check(driver.cuMemAlloc(&address_, size_),
               fmt::format("cuMemAlloc of {} bytes on CUDA device {}", size_, device_->ordinal()));
}

DeviceMemory::DeviceMemory(DeviceMemory&& other) noexcept
    : device_(std::move(other.device_)),
      range_(std::move(other.range_)),
      address_(std::exchange(other.address_, 0)),
      size_(std::exchange(other.size_, 0)) {}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  if (this != &other) {
    reset();
    device_ = std::move(other.device_);
    range_ = std::move(other.range_);
    address_ = std::exchange(other.address_, 0);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void DeviceMemory::clear(size_t offset, size_t bytes) const {
  if (offset > size_ || bytes > size_ - offset)
    raise(Result::internal_error, "bytes {} to {} of {} were to be cleared", offset, offset + bytes, size_);
  if (bytes == 0) return;
  const Driver& driver = device_->driver();
  const ContextGuard context(*device_);
  const OwnStream stream(driver);
  driver.check(driver.cuMemsetD8Async(address_ + offset, 0, bytes, stream.get()),
               fmt::format("cuMemsetD8Async of {} bytes", bytes));
  driver.check(driver.cuStreamSynchronize(stream.get()), fmt::format("clearing {} bytes", bytes));
}

void DeviceMemory::reset() noexcept {
  if (address_ == 0) return;
  if (range_.address() != 0) {
    range_.reset();
  } else {
    in_context(*device_, [&](const Driver& driver) { driver.cuMemFree(address_); });
  }
  address_ = 0;
  size_ = 0;
  device_.reset();
}

PinnedMemory::PinnedMemory(DevicePtr device, size_t bytes) : device_(std::move(device)), size_(bytes) {
  if (bytes == 0)
    raise(Result::invalid_argument, "0 bytes of pinned memory were asked for; expected 1 or more");
  const Driver& driver = device_->driver();
  const ContextGuard context(*device_);
  void* host = nullptr;
  driver.check(driver.cuMemHostAlloc(&host, bytes, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP),
               fmt::format("cuMemHostAlloc of {} bytes", bytes));
  try {
    address_ = device_address_of(*device_, host);
  } catch (...) {
    driver.cuMemFreeHost(host);
    throw;
  }
  host_ = host;
  std::memset(host_, 0, bytes);
}

PinnedMemory::PinnedMemory(PinnedMemory&& other) noexcept
    : device_(std::move(other.device_)),
      host_(std::exchange(other.host_, nullptr)),
      address_(std::exchange(other.address_, 0)),
      size_(std::exchange(other.size_, 0)) {}

PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
  if (this != &other) {
    reset();
    device_ = std::move(other.device_);
    host_ = std::exchange(other.host_, nullptr);
    address_ = std::exchange(other.address_, 0);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void PinnedMemory::reset() noexcept {
  if (host_ == nullptr) return;
  in_context(*device_, [&](const Driver& driver) { driver.cuMemFreeHost(host_); });
  host_ = nullptr;
  address_ = 0;
  size_ = 0;
  device_.reset();
}

HostRegistration::HostRegistration(DevicePtr device, void* host, size_t bytes) : device_(std::move(device)) {
  const Driver& driver = device_->driver();
  const ContextGuard context(*device_);
  driver.check(
      driver.cuMemHostRegister(host, bytes, CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP),
      fmt::format("cuMemHostRegister of {} bytes", bytes));
  try {
    address_ = device_address_of(*device_, host);
  } catch (...) {
    driver.cuMemHostUnregister(host);
    throw;
  }
  host_ = host;
}

HostRegistration::HostRegistration(HostRegistration&& other) noexcept
    : device_(std::move(other.device_)),
      host_(std::exchange(other.host_, nullptr)),
      address_(std::exchange(other.address_, 0)) {}

HostRegistration& HostRegistration::operator=(HostRegistration&& other) noexcept {
  if (this != &other) {
    reset();
    device_ = std::move(other.device_);
    host_ = std::exchange(other.host_, nullptr);
    address_ = std::exchange(other.address_, 0);
  }
  return *this;
}

void HostRegistration::reset() noexcept {
  if (host_ == nullptr) return;
  in_context(*device_, [&](const Driver& driver) { driver.cuMemHostUnregister(host_); });
  host_ = nullptr;
  address_ = 0;
  device_.reset();
}

}  // namespace tutti::cuda
