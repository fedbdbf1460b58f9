// The emulated driver itself: devices, contexts, memory, pointers.
#include <sys/mman.h>
#include <sys/wait.h>

#include <cstring>
#include <thread>

#include "tests/gpu/emulation_support.h"

TEST_CASE("emulation: nothing works before cuInit", "[.child]") {
  const Emulation& cuda = Emulation::loaded();
  int count = 0;
  CUcontext context = nullptr;
  CUdeviceptr pointer = 0;
  CHECK(cuda.cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED);
  CHECK(cuda.cuDevicePrimaryCtxRetain(&context, 0) == CUDA_ERROR_NOT_INITIALIZED);
  CHECK(cuda.cuMemAlloc(&pointer, 8) == CUDA_ERROR_NOT_INITIALIZED);
  CHECK(cuda.cuInit(1) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuda.cuInit(0) == CUDA_SUCCESS);
  CHECK(cuda.cuInit(0) == CUDA_SUCCESS);
  CHECK(cuda.cuDeviceGetCount(&count) == CUDA_SUCCESS);
  CHECK(count == 2);
  CHECK(cuda.cuMemAlloc(&pointer, 8) == CUDA_ERROR_INVALID_CONTEXT);
}

TEST_CASE("emulation: a machine without devices", "[.child]") {
  CHECK(Emulation::loaded().cuInit(0) == CUDA_ERROR_NO_DEVICE);
}

TEST_CASE("emulation: settings are read from the environment of a process") {
  CHECK(run_test_case("emulation: nothing works before cuInit", {}).status == 0);
  CHECK(run_test_case("emulation: a machine without devices", {"TUTTI_EMULATED_DEVICES=0"}).status == 0);
  const ChildResult refused =
      run_test_case("emulation: a machine without devices", {"TUTTI_EMULATED_DEVICES=many"});
  CHECK(refused.status != 0);
  CHECK(says(refused, "TUTTI_EMULATED_DEVICES=many"));
}

TEST_CASE("emulation: a forked child has no driver") {
  const InContext in;
  const CUdeviceptr pointer = in.allocate(8);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int count = 0;
    const bool refused = in.cuda.cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED &&
                         in.cuda.cuInit(0) == CUDA_ERROR_NOT_INITIALIZED &&
                         in.cuda.cuStreamSynchronize(nullptr) == CUDA_ERROR_NOT_INITIALIZED;
    int ends[2];
    const bool readable = pipe(ends) == 0 && write(ends[1], reinterpret_cast<void*>(pointer), 1) == 1;
    _exit(refused && !readable ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(is_readable(pointer));
  CHECK(in.cuda.cuMemFree(pointer) == CUDA_SUCCESS);
}

TEST_CASE("emulation: devices") {
  const Emulation& cuda = Emulation::get();
  CUuuid uuids[2];
  char name[64];
  char bus[2][16];
  for (int device = 0; device < 2; ++device) {
    CUdevice handle = -1;
    REQUIRE(cuda.cuDeviceGet(&handle, device) == CUDA_SUCCESS);
    int value = 0;
    CHECK(cuda.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, handle) ==
          CUDA_SUCCESS);
    CHECK(value == kMultiprocessors);
    CHECK(cuda.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, handle) ==
          CUDA_SUCCESS);
    CHECK(value == 9);
    CHECK(cuda.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED, handle) == CUDA_SUCCESS);
    CHECK(value == 0);
    size_t bytes = 0;
    CHECK(cuda.cuDeviceTotalMem(&bytes, handle) == CUDA_SUCCESS);
    CHECK(bytes == kDeviceMemory);
    CHECK(cuda.cuDeviceGetUuid(&uuids[device], handle) == CUDA_SUCCESS);
    CHECK(cuda.cuDeviceGetName(name, sizeof name, handle) == CUDA_SUCCESS);
    CHECK(std::string{name} == "Tutti emulated device");
    CHECK(cuda.cuDeviceGetPCIBusId(bus[device], sizeof bus[device], handle) == CUDA_SUCCESS);
  }
  CHECK(std::memcmp(&uuids[0], &uuids[1], sizeof(CUuuid)) != 0);
  CHECK(std::string{bus[0]} != bus[1]);
  CUdevice none = -1;
  int can = -1;
  CHECK(cuda.cuDeviceGet(&none, 2) == CUDA_ERROR_INVALID_DEVICE);
  CHECK(cuda.cuDeviceCanAccessPeer(&can, 0, 1) == CUDA_SUCCESS);
  CHECK(can == 1);
  const char* text = nullptr;
  CHECK(cuda.cuGetErrorName(CUDA_ERROR_NOT_READY, &text) == CUDA_SUCCESS);
  CHECK(std::string{text} == "CUDA_ERROR_NOT_READY");
  CHECK(cuda.cuGetErrorName(static_cast<CUresult>(998), &text) == CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("emulation: contexts are current per thread, and end with the last reference") {
  const Emulation& cuda = Emulation::get();
  CUcontext first = nullptr;
  CUcontext second = nullptr;
  CUcontext current = nullptr;
  REQUIRE(cuda.cuDevicePrimaryCtxRetain(&first, 0) == CUDA_SUCCESS);
  REQUIRE(cuda.cuDevicePrimaryCtxRetain(&second, 1) == CUDA_SUCCESS);
  CHECK(cuda.cuCtxGetCurrent(&current) == CUDA_SUCCESS);
  CHECK(current == nullptr);
  CHECK(cuda.cuCtxPushCurrent(first) == CUDA_SUCCESS);
  CHECK(cuda.cuCtxPushCurrent(second) == CUDA_SUCCESS);
  int device = -1;
  CHECK(cuda.cuCtxGetDevice(&device) == CUDA_SUCCESS);
  CHECK(device == 1);
  CUresult elsewhere = CUDA_SUCCESS;
  std::thread([&] { elsewhere = cuda.cuCtxGetDevice(&device); }).join();
  CHECK(elsewhere == CUDA_ERROR_INVALID_CONTEXT);
  CHECK(cuda.cuCtxEnablePeerAccess(first, 0) == CUDA_SUCCESS);
  CHECK(cuda.cuCtxEnablePeerAccess(first, 0) == CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);

  CUdeviceptr pointer = 0;
  REQUIRE(cuda.cuMemAlloc(&pointer, 4096) == CUDA_SUCCESS);
  CHECK(is_readable(pointer));
  CHECK(cuda.cuDevicePrimaryCtxRelease(1) == CUDA_SUCCESS);
  CHECK(cuda.cuDevicePrimaryCtxRelease(1) == CUDA_ERROR_INVALID_CONTEXT);
  CHECK_FALSE(is_readable(pointer));
  CHECK(cuda.cuMemFree(pointer) == CUDA_ERROR_CONTEXT_IS_DESTROYED);
  CHECK(cuda.cuCtxPopCurrent(&current) == CUDA_SUCCESS);
  CHECK(current == second);
  CHECK(cuda.cuCtxPopCurrent(&current) == CUDA_SUCCESS);
  CHECK(cuda.cuCtxPopCurrent(&current) == CUDA_ERROR_INVALID_CONTEXT);
  CHECK(cuda.cuDevicePrimaryCtxRelease(0) == CUDA_SUCCESS);
}

namespace {

uint64_t buffer_id(const InContext& in, CUdeviceptr pointer) {
  uint64_t id = 0;
  CUpointer_attribute attribute = CU_POINTER_ATTRIBUTE_BUFFER_ID;
  void* data = &id;
  REQUIRE(in.cuda.cuPointerGetAttributes(1, &attribute, &data, pointer) == CUDA_SUCCESS);
  return id;
}

struct PointerFacts {
  unsigned type = 77;
  CUdeviceptr start = 77;
  size_t bytes = 77;
  int device = 77;
};

PointerFacts facts(const InContext& in, CUdeviceptr pointer) {
  PointerFacts said;
  CUpointer_attribute attributes[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,
                                      CU_POINTER_ATTRIBUTE_RANGE_SIZE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
  void* data[] = {&said.type, &said.start, &said.bytes, &said.device};
  REQUIRE(in.cuda.cuPointerGetAttributes(4, attributes, data, pointer) == CUDA_SUCCESS);
  return said;
}

}  // namespace

TEST_CASE("emulation: memory is poison, ends at a wall, and its address comes back under another id") {
  const InContext in;
  constexpr size_t kBytes = 100'000;
  const CUdeviceptr pointer = in.allocate(kBytes);
  CHECK(pointer % 512 == 0);
  const auto* const bytes = reinterpret_cast<const unsigned char*>(pointer);
  CHECK((bytes[0] == 0xA7 && bytes[kBytes - 1] == 0xA7));
  CHECK(is_readable(pointer + kBytes - 1));
  CHECK_FALSE(is_readable(pointer + kBytes + 511));
  const uint64_t id = buffer_id(in, pointer + 5);

  CUdeviceptr base = 0;
  size_t size = 0;
  CHECK(in.cuda.cuMemGetAddressRange(&base, &size, pointer + 777) == CUDA_SUCCESS);
  CHECK((base == pointer && size == kBytes));
  CHECK(in.cuda.cuMemFree(pointer + 512) == CUDA_ERROR_INVALID_VALUE);
  CHECK(in.cuda.cuMemFree(pointer) == CUDA_SUCCESS);
  CHECK_FALSE(is_readable(pointer));
  CHECK(in.cuda.cuMemFree(pointer) == CUDA_ERROR_INVALID_VALUE);
  CHECK(in.cuda.cuMemGetAddressRange(&base, &size, pointer) == CUDA_ERROR_NOT_FOUND);

  const CUdeviceptr again = in.allocate(kBytes);
  CHECK(again == pointer);
  CHECK(buffer_id(in, again) != id);
  CHECK(in.cuda.cuMemFree(again) == CUDA_SUCCESS);
  CHECK(in.cuda.cuMemFree(0) == CUDA_SUCCESS);
}

TEST_CASE("emulation: a device's memory is limited") {
  const InContext in;
  size_t before = 0;
  size_t free = 0;
  size_t total = 0;
  REQUIRE(in.cuda.cuMemGetInfo(&before, &total) == CUDA_SUCCESS);
  CHECK(total == kDeviceMemory);
  const CUdeviceptr half = in.allocate(kDeviceMemory / 2);
  CUdeviceptr more = 0;
  CHECK(in.cuda.cuMemAlloc(&more, kDeviceMemory / 2 + 4096) == CUDA_ERROR_OUT_OF_MEMORY);
  REQUIRE(in.cuda.cuMemGetInfo(&free, &total) == CUDA_SUCCESS);
  CHECK(before - free == kDeviceMemory / 2);
  CHECK(in.cuda.cuMemFree(half) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuMemGetInfo(&free, &total) == CUDA_SUCCESS);
  CHECK(free == before);
  CHECK(in.cuda.cuMemAlloc(&more, 0) == CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("emulation: pointers to device, pinned, registered and unknown memory") {
  const InContext in;
  const CUdeviceptr device = in.allocate(1000);
  const PointerFacts of_device = facts(in, device + 10);
  CHECK((of_device.type == CU_MEMORYTYPE_DEVICE && of_device.start == device && of_device.bytes == 1000));
  CHECK(of_device.device == 0);

  void* pinned = nullptr;
  CUdeviceptr mapped = 0;
  REQUIRE(in.cuda.cuMemHostAlloc(&pinned, 5000, CU_MEMHOSTALLOC_DEVICEMAP) == CUDA_SUCCESS);
  CHECK(facts(in, reinterpret_cast<CUdeviceptr>(pinned) + 4999).type == CU_MEMORYTYPE_HOST);
  CHECK(in.cuda.cuMemHostGetDevicePointer(&mapped, pinned, 0) == CUDA_SUCCESS);
  CHECK(mapped == reinterpret_cast<CUdeviceptr>(pinned));

  std::vector<char> plain(5000);
  const auto host = reinterpret_cast<CUdeviceptr>(plain.data());
  CHECK(facts(in, host).type == 0);
  CHECK(buffer_id(in, host) == 0);
  CHECK(in.cuda.cuMemHostGetDevicePointer(&mapped, plain.data(), 0) == CUDA_ERROR_INVALID_VALUE);
  CHECK(in.cuda.cuMemHostUnregister(plain.data()) == CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
  REQUIRE(in.cuda.cuMemHostRegister(plain.data(), 3000, 0) == CUDA_SUCCESS);
  CHECK(in.cuda.cuMemHostRegister(plain.data() + 2000, 3000, 0) == CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  CHECK(facts(in, host + 2999).type == CU_MEMORYTYPE_HOST);
  CHECK(facts(in, host + 3000).type == 0);
  CHECK(in.cuda.cuMemHostUnregister(plain.data()) == CUDA_SUCCESS);
  CHECK(facts(in, host).type == 0);

  CHECK(in.cuda.cuMemFree(reinterpret_cast<CUdeviceptr>(pinned)) == CUDA_ERROR_INVALID_VALUE);
  CHECK(in.cuda.cuMemFreeHost(pinned) == CUDA_SUCCESS);
  CHECK_FALSE(is_readable(reinterpret_cast<uintptr_t>(pinned)));
  CHECK(in.cuda.cuMemFree(device) == CUDA_SUCCESS);
}
