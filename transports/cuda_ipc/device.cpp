#include "transports/cuda_ipc/device.h"

#include <fmt/format.h>

#include <iterator>
#include <map>
#include <mutex>
#include <span>

#include "core/error.h"

namespace tutti::cuda {
namespace {

int attribute(const Driver& driver, CUdevice device, CUdevice_attribute which) {
  int value = 0;
  // A driver that does not know an attribute says so; then the device lacks what it stands for.
  return driver.cuDeviceGetAttribute(&value, which, device) == CUDA_SUCCESS ? value : 0;
}

int count_devices(const Driver& driver) {
  int count = 0;
  driver.check(driver.cuDeviceGetCount(&count), "cuDeviceGetCount");
  return count;
}

CUdevice handle_of(const Driver& driver, int ordinal) {
  const int count = count_devices(driver);
  if (ordinal < 0 || ordinal >= count) {
    raise(Result::invalid_argument, "CUDA device {} does not exist: expected 0 to {}, as there are {}",
          ordinal, count - 1, count);
  }
  CUdevice device = 0;
  driver.check(driver.cuDeviceGet(&device, ordinal), fmt::format("cuDeviceGet of device {}", ordinal));
  return device;
}

void append_hex(std::string& out, std::span<const uint8_t> bytes) {
  for (const uint8_t byte : bytes) fmt::format_to(std::back_inserter(out), "{:02x}", byte);
}

}  // namespace

std::string DeviceFacts::capability() const {
  return fmt::format("{}.{}", major, minor);
}

std::string DeviceFacts::uuid_text() const {
  std::string text = "GPU";
  size_t at = 0;
  for (const size_t length : {4, 2, 2, 2, 6}) {
    text += '-';
    append_hex(text, std::span(uuid).subspan(at, length));
    at += length;
  }
  return text;
}

DeviceFacts device_facts(const Driver& driver, int ordinal) {
  const CUdevice device = handle_of(driver, ordinal);
  DeviceFacts facts;
  facts.ordinal = ordinal;
  char text[256] = {};
  driver.check(driver.cuDeviceGetName(text, sizeof text, device),
               fmt::format("cuDeviceGetName of device {}", ordinal));
  facts.name = text;
  char bus[32] = {};
  driver.check(driver.cuDeviceGetPCIBusId(bus, sizeof bus, device),
               fmt::format("cuDeviceGetPCIBusId of device {}", ordinal));
  facts.pci_bus_id = bus;
  CUuuid uuid{};
  driver.check(driver.cuDeviceGetUuid(&uuid, device), fmt::format("cuDeviceGetUuid of device {}", ordinal));
  for (size_t i = 0; i < facts.uuid.size(); ++i) facts.uuid[i] = static_cast<uint8_t>(uuid.bytes[i]);
  size_t memory = 0;
  driver.check(driver.cuDeviceTotalMem(&memory, device),
               fmt::format("cuDeviceTotalMem of device {}", ordinal));
  facts.memory_bytes = memory;

  const auto ask = [&](CUdevice_attribute which) { return attribute(driver, device, which); };
  facts.major = ask(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  facts.minor = ask(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  facts.multiprocessors = ask(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  facts.l2_bytes = static_cast<uint64_t>(ask(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE));
  facts.virtual_memory = ask(CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED) != 0;
  facts.posix_handles = ask(CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED) != 0;
  facts.fabric_handles = ask(CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED) != 0;
  facts.multicast = ask(CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED) != 0;
  facts.gpu_direct_rdma = ask(CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED) != 0;
  facts.dma_buf = ask(CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED) != 0;
  facts.cooperative_launch = ask(CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH) != 0;
  facts.stream_ordered_memory = ask(CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED) != 0;
  return facts;
}

DeviceList list_devices() {
  DeviceList list;
  const Driver* driver = Driver::find();
  if (driver == nullptr) {
    list.why_none = Driver::why();
    return list;
  }
  list.driver_version = driver->version;
  try {
    const int count = count_devices(*driver);
    for (int ordinal = 0; ordinal < count; ++ordinal) list.devices.push_back(device_facts(*driver, ordinal));
    if (count == 0) list.why_none = "the CUDA driver finds no device";
  } catch (const Error& error) {
    list.devices.clear();
    list.why_none = error.what();
  }
  return list;
}

int current_device() {
  const Driver* driver = Driver::find_loaded();
  if (driver == nullptr) return -1;
  CUcontext context = nullptr;
  CUdevice device = -1;
  if (driver->cuCtxGetCurrent(&context) != CUDA_SUCCESS || context == nullptr) return -1;
  return driver->cuCtxGetDevice(&device) == CUDA_SUCCESS ? device : -1;
}

DevicePtr Device::open(int ordinal) {
  static std::mutex mutex;
  static std::map<int, std::weak_ptr<const Device>> open;
  const Driver& driver = Driver::get();
  const std::lock_guard lock(mutex);
  if (DevicePtr known = open[ordinal].lock()) return known;
  DevicePtr device = std::make_shared<Device>(Private{}, driver, ordinal);
  open[ordinal] = device;
  return device;
}

Device::Device(Private, const Driver& driver, int ordinal)
    : driver_(driver), facts_(device_facts(driver, ordinal)), handle_(handle_of(driver, ordinal)) {
  driver_.check(driver_.cuDevicePrimaryCtxRetain(&context_, handle_),
                fmt::format("the primary context of CUDA device {} (cuDevicePrimaryCtxRetain)", ordinal));
}

Device::~Device() {
  // After the driver has ended, at the end of the process, there is nothing left to release.
  driver_.cuDevicePrimaryCtxRelease(handle_);
}

bool Device::can_access(const Device& peer) const {
  if (peer.ordinal() == ordinal()) return true;
  int possible = 0;
  driver_.check(driver_.cuDeviceCanAccessPeer(&possible, handle_, peer.handle_),
                fmt::format("cuDeviceCanAccessPeer of devices {} and {}", ordinal(), peer.ordinal()));
  return possible != 0;
}

void Device::enable_access(const Device& peer) const {
  if (peer.ordinal() == ordinal()) return;
  const ContextGuard context(*this);
  const CUresult result = driver_.cuCtxEnablePeerAccess(peer.context_, 0);
  if (result == CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED) return;
  driver_.check(result,
                fmt::format("access of CUDA device {} to the memory of device {} (cuCtxEnablePeerAccess)",
                            ordinal(), peer.ordinal()));
}

CUresult Device::attributes(CUdeviceptr pointer, size_t count, const CUpointer_attribute* which,
                            void* const* values) const noexcept {
  // The driver changes neither list, though it does not promise so.
  const auto ask = [&] {
    return driver_.cuPointerGetAttributes(static_cast<unsigned>(count),
                                          const_cast<CUpointer_attribute*>(which), const_cast<void**>(values),
                                          pointer);
  };
  const CUresult result = ask();
  return result == CUDA_ERROR_INVALID_CONTEXT ? in_context(ask) : result;
}

ContextGuard::ContextGuard(const Device& device) : driver_(device.driver()) {
  CUcontext current = nullptr;
  if (driver_.cuCtxGetCurrent(&current) == CUDA_SUCCESS && current == device.context()) return;
  driver_.check(driver_.cuCtxPushCurrent(device.context()),
                fmt::format("cuCtxPushCurrent for CUDA device {}", device.ordinal()));
  pushed_ = true;
}

ContextGuard::~ContextGuard() {
  if (!pushed_) return;
  CUcontext popped = nullptr;
  driver_.cuCtxPopCurrent(&popped);
}

}  // namespace tutti::cuda
