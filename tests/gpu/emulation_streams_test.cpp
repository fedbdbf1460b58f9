// The emulated driver itself: streams, events, copies, kernels, and what a busy device makes wait.
#include <cstring>
#include <functional>
#include <map>
#include <thread>

#include "tests/gpu/emulation_support.h"

namespace {

constexpr uint32_t kCount = 1000;

AffineParameters affine(CUdeviceptr to, uint32_t factor, uint32_t add) {
  return {reinterpret_cast<uint32_t*>(to), kCount, factor, add};
}

std::vector<uint32_t> download(const InContext& in, CUdeviceptr from) {
  std::vector<uint32_t> words(kCount);
  REQUIRE(in.cuda.cuMemcpyDtoH(words.data(), from, kCount * 4) == CUDA_SUCCESS);
  return words;
}

}  // namespace

TEST_CASE("emulation: kernels and fills run in the order of their stream") {
  const InContext in;
  const CUdeviceptr data = in.allocate(kCount * 4);
  const CUstream stream = in.stream();
  for (uint32_t round = 0; round < 20; ++round) {
    REQUIRE(in.cuda.cuMemsetD32Async(data, round, kCount, stream) == CUDA_SUCCESS);
    REQUIRE(in.launch("affine", stream, affine(data, 3, 1), 5) == CUDA_SUCCESS);
    REQUIRE(in.launch("affine", stream, affine(data, 2, 5), 3) == CUDA_SUCCESS);
  }
  REQUIRE(in.cuda.cuStreamSynchronize(stream) == CUDA_SUCCESS);
  CHECK(download(in, data) == std::vector<uint32_t>(kCount, (19 * 3 + 1) * 2 + 5));
  CHECK(in.cuda.cuStreamDestroy(stream) == CUDA_SUCCESS);
  CHECK(in.cuda.cuStreamDestroy(stream) == CUDA_ERROR_INVALID_HANDLE);
  CHECK(in.cuda.cuMemFree(data) == CUDA_SUCCESS);
}

TEST_CASE("emulation: streams are independent, events order them") {
  const InContext in;
  const CUstream first = in.stream();
  const CUstream second = in.stream();
  const CUevent event = in.event();
  const CUevent later = in.event();
  const CUdeviceptr data = in.allocate(kCount * 4);
  Gate gate(in, first);
  REQUIRE(in.cuda.cuMemsetD32Async(data, 7, kCount, second) == CUDA_SUCCESS);
  CHECK(in.cuda.cuStreamSynchronize(second) == CUDA_SUCCESS);
  CHECK(gate.await_begin());
  CHECK(in.cuda.cuStreamQuery(first) == CUDA_ERROR_NOT_READY);

  CHECK(in.cuda.cuEventQuery(event) == CUDA_SUCCESS);  // never recorded
  REQUIRE(in.cuda.cuEventRecord(event, first) == CUDA_SUCCESS);
  CHECK(in.cuda.cuEventQuery(event) == CUDA_ERROR_NOT_READY);
  REQUIRE(in.cuda.cuStreamWaitEvent(second, event, 0) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuMemsetD32Async(data, 8, kCount, second) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuEventRecord(later, second) == CUDA_SUCCESS);
  CHECK(in.cuda.cuStreamQuery(second) == CUDA_ERROR_NOT_READY);
  float milliseconds = -1;
  CHECK(in.cuda.cuEventElapsedTime(&milliseconds, event, later) == CUDA_ERROR_NOT_READY);
  CHECK(*reinterpret_cast<uint32_t*>(data) == 7);

  gate.open();
  CHECK(in.cuda.cuEventSynchronize(later) == CUDA_SUCCESS);
  CHECK(*reinterpret_cast<uint32_t*>(data) == 8);
  CHECK(in.cuda.cuEventElapsedTime(&milliseconds, event, later) == CUDA_SUCCESS);
  CHECK(milliseconds > 0);
  const CUevent untimed = in.event(CU_EVENT_DISABLE_TIMING);
  REQUIRE(in.cuda.cuEventRecord(untimed, second) == CUDA_SUCCESS);
  CHECK(in.cuda.cuEventElapsedTime(&milliseconds, event, untimed) == CUDA_ERROR_INVALID_HANDLE);
  for (const CUevent each : {event, later, untimed}) CHECK(in.cuda.cuEventDestroy(each) == CUDA_SUCCESS);
  for (const CUstream each : {first, second}) CHECK(in.cuda.cuStreamDestroy(each) == CUDA_SUCCESS);
  CHECK(in.cuda.cuMemFree(data) == CUDA_SUCCESS);
}

TEST_CASE("emulation: the default stream waits for blocking streams, and they for it") {
  const InContext in;
  const CUstream blocking = in.stream(CU_STREAM_DEFAULT);
  const CUstream other = in.stream(CU_STREAM_DEFAULT);
  const CUstream free = in.stream(CU_STREAM_NON_BLOCKING);
  Gate gate(in, blocking);
  const CUevent on_default = in.event();
  const CUevent on_other = in.event();
  const CUevent on_free = in.event();
  REQUIRE(in.cuda.cuEventRecord(on_default, nullptr) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuEventRecord(on_other, other) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuEventRecord(on_free, free) == CUDA_SUCCESS);
  CHECK(in.cuda.cuEventSynchronize(on_free) == CUDA_SUCCESS);
  CHECK(in.cuda.cuEventQuery(on_default) == CUDA_ERROR_NOT_READY);
  CHECK(in.cuda.cuEventQuery(on_other) == CUDA_ERROR_NOT_READY);
  // A stream that is gone is waited for all the same.
  CHECK(in.cuda.cuStreamDestroy(blocking) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuEventRecord(on_default, CU_STREAM_PER_THREAD) == CUDA_SUCCESS);
  CHECK(in.cuda.cuEventQuery(on_default) == CUDA_ERROR_NOT_READY);
  gate.open();
  CHECK(in.cuda.cuEventSynchronize(on_default) == CUDA_SUCCESS);
  CHECK(in.cuda.cuCtxSynchronize() == CUDA_SUCCESS);
  for (const CUevent each : {on_default, on_other, on_free})
    CHECK(in.cuda.cuEventDestroy(each) == CUDA_SUCCESS);
  for (const CUstream each : {other, free}) CHECK(in.cuda.cuStreamDestroy(each) == CUDA_SUCCESS);
}

TEST_CASE("emulation: copies with pinned memory are asynchronous, their pointers are checked") {
  const InContext in;
  const CUstream stream = in.stream();
  const CUdeviceptr device = in.allocate(4096);
  void* pinned = nullptr;
  REQUIRE(in.cuda.cuMemHostAlloc(&pinned, 4096, 0) == CUDA_SUCCESS);
  std::memset(pinned, 1, 4096);
  {
    Gate gate(in, stream);
    REQUIRE(in.cuda.cuMemcpyHtoDAsync(device, pinned, 4096, stream) == CUDA_SUCCESS);
    CHECK(gate.await_begin());
    CHECK(*reinterpret_cast<unsigned char*>(device) == 0xA7);
  }
  std::vector<unsigned char> plain(4096);
  // With pageable memory the call returns when it is done.
  REQUIRE(in.cuda.cuMemcpyDtoHAsync(plain.data(), device, 4096, stream) == CUDA_SUCCESS);
  CHECK(plain == std::vector<unsigned char>(4096, 1));
  CHECK(in.cuda.cuMemcpyDtoHAsync(plain.data(), device + 1, 4096, stream) == CUDA_ERROR_INVALID_VALUE);
  CHECK(in.cuda.cuMemcpyHtoDAsync(device, nullptr, 8, stream) == CUDA_ERROR_INVALID_VALUE);
  CHECK(in.cuda.cuMemcpyDtoDAsync(device, reinterpret_cast<CUdeviceptr>(plain.data()), 8, stream) ==
        CUDA_ERROR_INVALID_VALUE);
  CHECK(in.cuda.cuMemsetD8Async(device + 4000, 0, 97, stream) == CUDA_ERROR_INVALID_VALUE);
  CHECK(in.cuda.cuMemFreeHost(pinned) == CUDA_SUCCESS);
  CHECK(in.cuda.cuMemFree(device) == CUDA_SUCCESS);
  CHECK(in.cuda.cuStreamDestroy(stream) == CUDA_SUCCESS);
}

TEST_CASE("emulation: the threads of a block share memory and a barrier") {
  const InContext in;
  constexpr unsigned kBlocks = 30;  // more than are resident at once
  std::vector<uint32_t> seen(kBlocks * 3);
  std::vector<uint32_t> threads(kBlocks);
  std::vector<unsigned char> first(kBlocks);
  const SharedParameters parameters{seen.data(), threads.data(), first.data()};
  REQUIRE(in.launch("shared", nullptr, parameters, kBlocks) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuStreamSynchronize(nullptr) == CUDA_SUCCESS);
  CHECK(threads == std::vector<uint32_t>(kBlocks, 3));
  CHECK(first == std::vector<unsigned char>(kBlocks, 0xA7));
  for (unsigned i = 0; i < seen.size(); ++i) CHECK(seen[i] == i / 3 + 100);
  // A block of two threads has two, whatever the environment says.
  REQUIRE(in.launch("shared", nullptr, parameters, 1, false, 2) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuStreamSynchronize(nullptr) == CUDA_SUCCESS);
  CHECK(threads[0] == 2);
}

TEST_CASE("emulation: kernels that have no room wait for it") {
  const InContext in;
  const CUstream first = in.stream();
  const CUstream second = in.stream();
  const CUstream third = in.stream();
  int resident = 0;
  CHECK(in.cuda.cuOccupancyMaxActiveBlocksPerMultiprocessor(&resident, in.function("gate"), 512, 0) ==
        CUDA_SUCCESS);
  CHECK(resident == 2);
  {
    Gate most(in, first, kRoomForBlocks - 1);
    CHECK(most.await_begin());
    // One of the two blocks finds room, the other does not.
    Gate two(in, second, 2);
    while (two.begun() == 0) sched_yield();
    CHECK(in.launch("gate", third, GateParameters{}, kRoomForBlocks + 1, true) ==
          CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    two.open();
    CHECK(in.cuda.cuStreamSynchronize(second) == CUDA_SUCCESS);
    CHECK(two.begun() == 2);
    CHECK(in.cuda.cuStreamQuery(first) == CUDA_ERROR_NOT_READY);
  }
  {
    Gate one(in, first);
    CHECK(one.await_begin());
    // All together or not at all.
    Word here{0};
    Word open{1};
    Word gone{0};
    REQUIRE(in.launch("gate", second, GateParameters{&here, &open, &gone}, kRoomForBlocks, true) ==
            CUDA_SUCCESS);
    CHECK(in.cuda.cuStreamQuery(second) == CUDA_ERROR_NOT_READY);
    CHECK(here.load() == 0);
    one.open();
    CHECK(in.cuda.cuStreamSynchronize(second) == CUDA_SUCCESS);
    CHECK(here.load() == kRoomForBlocks);
  }
  for (const CUstream each : {first, second, third}) CHECK(in.cuda.cuStreamDestroy(each) == CUDA_SUCCESS);
}

TEST_CASE("emulation: launches that are wrong") {
  const InContext in;
  CUfunction none = nullptr;
  CUmodule module = nullptr;
  CHECK(in.cuda.cuModuleGetFunction(&none, in.module, "no such kernel") == CUDA_ERROR_NOT_FOUND);
  CHECK(in.cuda.cuModuleLoadData(&module, nullptr) == CUDA_ERROR_INVALID_VALUE);
  const GateParameters gate{};
  CHECK(in.launch("gate", nullptr, gate, 0) == CUDA_ERROR_INVALID_VALUE);
  CHECK(in.launch("gate", nullptr, gate, 1, false, 1025) == CUDA_ERROR_INVALID_VALUE);
  CHECK(in.launch("gate", reinterpret_cast<CUstream>(uintptr_t{0x1234}), gate) == CUDA_ERROR_INVALID_HANDLE);
  CHECK(in.cuda.cuLaunchKernel(in.function("gate"), 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, nullptr) ==
        CUDA_ERROR_INVALID_VALUE);
  const CUfunction function = in.function("gate");
  int most = 0;
  CHECK(in.cuda.cuFuncGetAttribute(&most, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, function) ==
        CUDA_SUCCESS);
  CHECK(most == 48 << 10);
  CHECK(in.cuda.cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 300 << 10) ==
        CUDA_ERROR_INVALID_VALUE);
  CHECK(in.cuda.cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 128 << 10) ==
        CUDA_SUCCESS);
  int resident = 0;
  CHECK(in.cuda.cuOccupancyMaxActiveBlocksPerMultiprocessor(&resident, function, 512, 128 << 10) ==
        CUDA_SUCCESS);
  CHECK(resident == 1);
  const InContext other(1);
  CHECK(other.cuda.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, nullptr) ==
        CUDA_ERROR_INVALID_VALUE);
  CHECK(in.cuda.cuModuleUnload(in.module) == CUDA_SUCCESS);
  CHECK(in.cuda.cuModuleUnload(in.module) == CUDA_ERROR_INVALID_HANDLE);
}

namespace {

std::vector<char> registered(4096);

/// Calls during which a driver may wait for kernels that run. Each is ready to be made: what it needs is there already.
std::map<std::string, std::function<void()>> waiting_calls(const InContext& in) {
  const CUdeviceptr device = in.allocate(4096);
  void* pinned = nullptr;
  in.cuda.cuMemHostAlloc(&pinned, 4096, 0);
  CUmodule module = nullptr;
  in.cuda.cuModuleLoadData(&module, "an image");
  CUcontext peer = nullptr;
  in.cuda.cuDevicePrimaryCtxRetain(&peer, 1);
  const Emulation& cuda = in.cuda;
  return {
      {"cuMemAlloc",
       [&] {
         CUdeviceptr p = 0;
         cuda.cuMemAlloc(&p, 8);
       }},
      {"cuMemFree", [&cuda, device] { cuda.cuMemFree(device); }},
      {"cuMemHostAlloc",
       [&] {
         void* p = nullptr;
         cuda.cuMemHostAlloc(&p, 8, 0);
       }},
      {"cuMemFreeHost", [&cuda, pinned] { cuda.cuMemFreeHost(pinned); }},
      {"cuMemHostRegister", [&] { cuda.cuMemHostRegister(registered.data(), 4096, 0); }},
      {"cuModuleLoadData",
       [&] {
         CUmodule m = nullptr;
         cuda.cuModuleLoadData(&m, "an image");
       }},
      {"cuModuleUnload", [&cuda, module] { cuda.cuModuleUnload(module); }},
      {"cuCtxEnablePeerAccess", [&cuda, peer] { cuda.cuCtxEnablePeerAccess(peer, 0); }},
      {"cuMemcpyDtoHAsync to pageable memory",
       [&cuda, device] { cuda.cuMemcpyDtoHAsync(registered.data(), device, 8, CU_STREAM_PER_THREAD); }},
      {"cuStreamSynchronize", [&] { cuda.cuStreamSynchronize(nullptr); }},
  };
}

}  // namespace

TEST_CASE("emulation: a call made while a kernel spins", "[.child]") {
  const InContext in;
  const auto calls = waiting_calls(in);
  Gate gate(in, nullptr);
  calls.at(std::getenv("CALL"))();
}

TEST_CASE(
    "emulation: a call that a driver may delay until the kernels have ended is stuck behind one that spins") {
  const InContext in;
  for (const auto& [call, function] : waiting_calls(in)) {
    const ChildResult stuck = run_test_case("emulation: a call made while a kernel spins",
                                            {"TUTTI_EMULATED_PATIENCE_MS=20", "CALL=" + call});
    INFO(stuck.output);
    CHECK(stuck.status != 0);
    CHECK(says(stuck, "emulated CUDA: " + call + " has waited"));
    CHECK(says(stuck, "kernel 'gate'"));
  }
}

TEST_CASE("emulation: a call that a driver may delay goes on when the kernels have ended") {
  const InContext in;
  const CUstream stream = in.stream();
  for (int round = 0; round < 10; ++round) {
    Gate gate(in, stream);
    std::atomic<bool> opened{false};
    std::thread opener([&] {
      gate.await_begin();
      opened.store(true);
      gate.open();
    });
    const CUdeviceptr pointer = in.allocate(8);
    CHECK(opened.load());
    CHECK(in.cuda.cuStreamQuery(stream) == CUDA_SUCCESS);
    CHECK(in.cuda.cuMemFree(pointer) == CUDA_SUCCESS);
    opener.join();
  }
  CHECK(in.cuda.cuStreamDestroy(stream) == CUDA_SUCCESS);
}
