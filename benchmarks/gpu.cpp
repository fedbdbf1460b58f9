// Loading the driver, and its objects.
#include "benchmarks/gpu.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <tutti/tutti.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string_view>
#include <type_traits>

#include "benchmarks/options.h"

namespace tutti::bench::gpu {
namespace {

/// Older drivers have this function, of the same parameters, under its older name only.
constexpr std::string_view kElapsedTime = "cuEventElapsedTime";
/// What can be done without.
constexpr std::string_view kWaitValue = "cuStreamWaitValue32";

template <typename Function>
void find(void* library, Function& function, const std::string& name, const std::string& library_name) {
  void* symbol = dlsym(library, name.c_str());
  if (symbol == nullptr && name.starts_with(kElapsedTime)) symbol = dlsym(library, kElapsedTime.data());
  if (symbol == nullptr && !name.starts_with(kWaitValue))
    throw std::runtime_error(fmt::format("--memory device: {} has no function {}", library_name, name));
  function = reinterpret_cast<Function>(symbol);
}

Driver load() {
  const char* chosen = std::getenv("TUTTI_CUDA_LIBRARY");
  const std::string name = chosen == nullptr || *chosen == '\0' ? "libcuda.so.1" : chosen;
  // Never closed: a driver does not survive it.
  void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    throw std::runtime_error(fmt::format("--memory device: no CUDA driver: {}", why == nullptr ? name : why));
  }
  Driver driver;
// The second macro sees the name that cuda.h has made of the first one's.
#define TUTTI_BENCH_FIND(function) find(library, driver.function, #function, name);
#define TUTTI_BENCH_CUDA(function) TUTTI_BENCH_FIND(function)
#include "benchmarks/gpu_functions.inc"
#undef TUTTI_BENCH_CUDA
#undef TUTTI_BENCH_FIND
  driver.check(driver.cuInit(0), "--memory device: cuInit");
  driver.check(driver.cuDriverGetVersion(&driver.version), "cuDriverGetVersion");
  return driver;
}

}  // namespace

const Driver& Driver::get() {
  static const Driver driver = load();
  return driver;
}

std::string Driver::text(CUresult result) const {
  const char* name = nullptr;
  const char* meaning = nullptr;
  if (cuGetErrorName(result, &name) != CUDA_SUCCESS || name == nullptr)
    return fmt::format("CUDA error {}", static_cast<int>(result));
  if (cuGetErrorString(result, &meaning) != CUDA_SUCCESS || meaning == nullptr) return name;
  return fmt::format("{} ({})", name, meaning);
}

void Driver::check(CUresult result, const char* what) const {
  if (result != CUDA_SUCCESS) throw std::runtime_error(fmt::format("{}: {}", what, text(result)));
}

// ---- Device ----

Device::Device(int ordinal) : ordinal_(ordinal) {
  const Driver& driver = Driver::get();
  int devices = 0;
  driver.check(driver.cuDeviceGetCount(&devices), "cuDeviceGetCount");
  if (ordinal >= devices)
    throw UsageError(
        fmt::format("--devices: device {} does not exist; this machine has {}", ordinal, devices));
  driver.check(driver.cuDeviceGet(&device_, ordinal), "cuDeviceGet");
  std::array<char, 256> name{};
  driver.check(driver.cuDeviceGetName(name.data(), name.size(), device_), "cuDeviceGetName");
  name_ = name.data();
  driver.check(driver.cuDevicePrimaryCtxRetain(&context_, device_), "cuDevicePrimaryCtxRetain");
  make_current();
}

Device::~Device() {
  Driver::get().cuDevicePrimaryCtxRelease(device_);
}

void Device::make_current() const {
  Driver::get().check(Driver::get().cuCtxSetCurrent(context_), "cuCtxSetCurrent");
}

size_t Device::free_bytes() const {
  make_current();
  size_t free = 0;
  size_t total = 0;
  Driver::get().check(Driver::get().cuMemGetInfo(&free, &total), "cuMemGetInfo");
  return free;
}

// ---- Memory ----

Memory::Memory(const Device& device, size_t bytes, From from) : from_(from) {
  if (bytes == 0) return;
  device.make_current();
  if (from == From::driver) {
    Driver::get().check(Driver::get().cuMemAlloc(&address_, bytes),
                        fmt::format("{} bytes of device memory", bytes).c_str());
    return;
  }
  void* pointer = nullptr;
  if (tutti_mem_alloc(&pointer, bytes, device.ordinal()) != TUTTI_SUCCESS)
    throw std::runtime_error(tutti_last_error());
  address_ = reinterpret_cast<CUdeviceptr>(pointer);
}

Memory::~Memory() {
  if (address_ == 0) return;
  if (from_ == From::driver) {
    Driver::get().cuMemFree(address_);
  } else {
    tutti_mem_free(pointer());
  }
}

Pinned::Pinned(size_t bytes) {
  Driver::get().check(Driver::get().cuMemHostAlloc(&data_, bytes, CU_MEMHOSTALLOC_DEVICEMAP),
                      "pinned host memory");
}

Pinned::~Pinned() {
  Driver::get().cuMemFreeHost(data_);
}

CUdeviceptr Pinned::on_device() const {
  CUdeviceptr address = 0;
  Driver::get().check(Driver::get().cuMemHostGetDevicePointer(&address, data_, 0),
                      "cuMemHostGetDevicePointer");
  return address;
}

// ---- Streams, events, graphs ----

Stream::Stream() {
  Driver::get().check(Driver::get().cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
}

Stream::~Stream() {
  Driver::get().cuStreamDestroy(stream_);
}

Event::Event() {
  Driver::get().check(Driver::get().cuEventCreate(&event_, CU_EVENT_DEFAULT), "cuEventCreate");
}

Event::~Event() {
  Driver::get().cuEventDestroy(event_);
}

void Event::record(CUstream stream) const {
  Driver::get().check(Driver::get().cuEventRecord(event_, stream), "cuEventRecord");
}

void Event::hold(CUstream stream) const {
  Driver::get().check(Driver::get().cuStreamWaitEvent(stream, event_, 0), "cuStreamWaitEvent");
}

bool Event::reached() const {
  const CUresult result = Driver::get().cuEventQuery(event_);
  if (result == CUDA_ERROR_NOT_READY) return false;
  Driver::get().check(result, "cuEventQuery");
  return true;
}

double Event::since(const Event& start) const {
  float milliseconds = 0;
  Driver::get().check(Driver::get().cuEventElapsedTime(&milliseconds, start.event_, event_),
                      "cuEventElapsedTime");
  return static_cast<double>(milliseconds) * 1e6;
}

void Graph::start(CUstream origin) {
  const Driver& driver = Driver::get();
  driver.check(driver.cuStreamBeginCapture(origin, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
               "cuStreamBeginCapture");
}

Graph::Graph(CUstream origin) {
  const Driver& driver = Driver::get();
  driver.check(driver.cuStreamEndCapture(origin, &graph_), "cuStreamEndCapture");
  const CUresult made = driver.cuGraphInstantiate(&executable_, graph_, 0);
  if (made != CUDA_SUCCESS) driver.cuGraphDestroy(graph_);
  driver.check(made, "cuGraphInstantiate");
}

Graph::~Graph() {
  Driver::get().cuGraphExecDestroy(executable_);
  Driver::get().cuGraphDestroy(graph_);
}

CUresult Graph::launch(CUstream stream) const {
  return Driver::get().cuGraphLaunch(executable_, stream);
}

// ---- Gate ----

Gate::Gate() : word_(sizeof(uint32_t)), usable_(Driver::get().cuStreamWaitValue32 != nullptr) {
  open();
}

void Gate::close(CUstream stream) {
  if (!usable_) return;
  std::atomic_ref(*reinterpret_cast<uint32_t*>(word_.data())).store(0);
  usable_ = Driver::get().cuStreamWaitValue32(stream, word_.on_device(), 1, CU_STREAM_WAIT_VALUE_GEQ) ==
            CUDA_SUCCESS;
}

void Gate::open() {
  std::atomic_ref(*reinterpret_cast<uint32_t*>(word_.data())).store(1);
}

}  // namespace tutti::bench::gpu
