// The emulated driver as a program finds it (dlopen, dlsym), kernels to run on it, and objects for the tests' own use.
#pragma once

#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/catch.h"
#include "tests/core/child.h"
#include "tests/gpu/emulation/driver_api.h"
#include "tests/gpu/emulation/emulated_kernel.h"

// clang-format off
#define EMULATED_FUNCTIONS(F) \
  F(cuEventElapsedTime) F(cuCtxSetCurrent) F(cuCtxSynchronize) F(cuGraphDestroy) F(cuGraphExecDestroy) F(cuGraphGetNodes) \
  F(cuGraphInstantiate) F(cuGraphLaunch) F(cuLaunchHostFunc) F(cuLaunchKernel) F(cuMemcpyDtoH) F(cuMemcpyHtoD) \
  F(cuMemsetD32Async) F(cuStreamBeginCapture) F(cuStreamEndCapture) F(cuStreamGetCaptureInfo) \
  F(cuThreadExchangeStreamCaptureMode)
// clang-format on

/// Symbol by symbol, under the names of cuda.h.
struct Emulation {
#define TUTTI_CUDA_FUNCTION(name) decltype(&::name) name;
#define TUTTI_CUDA_OPTIONAL(name) TUTTI_CUDA_FUNCTION(name)
#include "transports/cuda_ipc/driver_functions.inc"
  EMULATED_FUNCTIONS(TUTTI_CUDA_FUNCTION)
#undef TUTTI_CUDA_OPTIONAL
#undef TUTTI_CUDA_FUNCTION
  decltype(&::tutti_emulated_register) tutti_emulated_register;

  /// Loaded, with small devices unless the environment says otherwise; not initialised.
  static const Emulation& loaded();
  /// Initialised, with the kernels below.
  static const Emulation& get();
};

inline constexpr int kMultiprocessors = 4;
inline constexpr unsigned kBlockSize = 512;    // two such blocks to a multiprocessor
inline constexpr unsigned kRoomForBlocks = 8;  // so
inline constexpr size_t kDeviceMemory = size_t{64} << 20;

#define SYMBOL_NAME(name) #name
#define SYMBOL(name) SYMBOL_NAME(name)

template <class F>
void find_symbol(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  if (function == nullptr) throw std::runtime_error(std::string{name} + " is missing");
}

inline const Emulation& Emulation::loaded() {
  static const Emulation functions = [] {
    setenv("TUTTI_EMULATED_DEVICES", "2", 0);
    setenv("TUTTI_EMULATED_MULTIPROCESSORS", std::to_string(kMultiprocessors).c_str(), 0);
    setenv("TUTTI_EMULATED_MEMORY", std::to_string(kDeviceMemory).c_str(), 0);
    setenv("TUTTI_EMULATED_THREADS", "3", 0);
    void* const library = dlopen(TUTTI_EMULATED_CUDA, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw std::runtime_error(dlerror());
    Emulation table{};
#define TUTTI_CUDA_FUNCTION(name) find_symbol(library, SYMBOL(name), table.name);
#define TUTTI_CUDA_OPTIONAL(name) TUTTI_CUDA_FUNCTION(name)
#include "transports/cuda_ipc/driver_functions.inc"
    EMULATED_FUNCTIONS(TUTTI_CUDA_FUNCTION)
#undef TUTTI_CUDA_OPTIONAL
#undef TUTTI_CUDA_FUNCTION
    find_symbol(library, "tutti_emulated_register", table.tutti_emulated_register);
    return table;
  }();
  return functions;
}

using Word = std::atomic<uint32_t>;

/// Until a word has a value, at most half a minute.
inline bool await(const Word& word, uint32_t value) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds{30};
  while (word.load() != value) {
    if (std::chrono::steady_clock::now() > limit) return false;
    sched_yield();
  }
  return true;
}

/// Each block says that it is there, and ends when the gate is open.
struct GateParameters {
  Word* here;
  const Word* open;
  Word* gone;  ///< raised by the last access to any of these
};

inline void gate_kernel(const tutti::emulation::EmulatedBlock& at, void** parameters) {
  const auto& gate = *static_cast<const GateParameters*>(parameters[0]);
  if (at.thread != 0) return;
  gate.here->fetch_add(1);
  await(*gate.open, 1);
  gate.gone->fetch_add(1);
}

/// to[i] = to[i] * factor + add
struct AffineParameters {
  uint32_t* to;
  uint32_t count;
  uint32_t factor;
  uint32_t add;
};

inline void affine_kernel(const tutti::emulation::EmulatedBlock& at, void** parameters) {
  const auto& p = *static_cast<const AffineParameters*>(parameters[0]);
  const uint32_t stride = at.blocks * at.threads;
  for (uint32_t i = at.block * at.threads + at.thread; i < p.count; i += stride)
    p.to[i] = p.to[i] * p.factor + p.add;
}

/// Thread 0 tells the others something through shared memory; each writes what it has seen.
struct SharedParameters {
  uint32_t* seen;        ///< [block][thread]
  uint32_t* threads;     ///< [block]
  unsigned char* first;  ///< [block]: a byte of fresh shared memory
};

inline void shared_kernel(const tutti::emulation::EmulatedBlock& at, void** parameters) {
  const auto& p = *static_cast<const SharedParameters*>(parameters[0]);
  const tutti::cuda::Block block(at.thread, at.threads, *at.barrier);
  auto* const words = static_cast<uint32_t*>(at.shared);
  if (block.is_leader()) {
    p.threads[at.block] = at.threads;
    p.first[at.block] = static_cast<unsigned char*>(at.shared)[at.shared_bytes - 1];
    *words = at.block + 100;
  }
  block.sync();
  p.seen[at.block * at.threads + at.thread] = *words;
}

inline const Emulation& Emulation::get() {
  static const tutti::emulation::EmulatedKernel kernels[] = {
      {"gate", gate_kernel, sizeof(GateParameters)},
      {"affine", affine_kernel, sizeof(AffineParameters)},
      {"shared", shared_kernel, sizeof(SharedParameters)},
  };
  static const bool ready = [] {
    if (loaded().cuInit(0) != CUDA_SUCCESS) throw std::runtime_error("cuInit");
    loaded().tutti_emulated_register(kernels, std::size(kernels));
    return true;
  }();
  (void)ready;
  return loaded();
}

/// The primary context of a device, current while this object lives, and a module with all kernels.
class InContext {
 public:
  explicit InContext(int device = 0) : cuda(Emulation::get()), device_(device) {
    REQUIRE(cuda.cuDevicePrimaryCtxRetain(&context, device) == CUDA_SUCCESS);
    REQUIRE(cuda.cuCtxPushCurrent(context) == CUDA_SUCCESS);
    REQUIRE(cuda.cuModuleLoadData(&module, "an image") == CUDA_SUCCESS);
  }
  InContext(const InContext&) = delete;
  InContext& operator=(const InContext&) = delete;
  ~InContext() {
    CUcontext popped = nullptr;
    cuda.cuCtxPopCurrent(&popped);
    cuda.cuDevicePrimaryCtxRelease(device_);
  }

  CUfunction function(const char* name) const {
    CUfunction found = nullptr;
    REQUIRE(cuda.cuModuleGetFunction(&found, module, name) == CUDA_SUCCESS);
    return found;
  }
  CUstream stream(unsigned flags = CU_STREAM_NON_BLOCKING) const {
    CUstream made = nullptr;
    REQUIRE(cuda.cuStreamCreate(&made, flags) == CUDA_SUCCESS);
    return made;
  }
  CUevent event(unsigned flags = CU_EVENT_DEFAULT) const {
    CUevent made = nullptr;
    REQUIRE(cuda.cuEventCreate(&made, flags) == CUDA_SUCCESS);
    return made;
  }
  CUdeviceptr allocate(size_t bytes) const {
    CUdeviceptr pointer = 0;
    REQUIRE(cuda.cuMemAlloc(&pointer, bytes) == CUDA_SUCCESS);
    return pointer;
  }
  template <class P>
  CUresult launch(const char* name, CUstream on, const P& parameter, unsigned blocks = 1,
                  bool cooperative = false, unsigned block_size = kBlockSize) const {
    CUlaunchAttribute attribute{};
    attribute.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
    attribute.value.cooperative = cooperative ? 1 : 0;
    CUlaunchConfig config{};
    config.gridDimX = blocks;
    config.blockDimX = block_size;
    config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1;
    config.hStream = on;
    config.attrs = &attribute;
    config.numAttrs = 1;
    P copy = parameter;
    void* parameters[] = {&copy};
    const CUresult result = cuda.cuLaunchKernelEx(&config, function(name), parameters, nullptr);
    copy = P{};  // the launch has taken its own
    return result;
  }

  const Emulation& cuda;
  CUcontext context = nullptr;
  CUmodule module = nullptr;

 private:
  int device_;
};

/// A gate kernel that has begun on a stream, and ends when it is opened (or this object ends, which waits for it).
class Gate {
 public:
  Gate(const InContext& in, CUstream on, unsigned blocks = 1) : blocks_(blocks) {
    REQUIRE(in.launch("gate", on, GateParameters{&here_, &open_, &gone_}, blocks) == CUDA_SUCCESS);
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  ~Gate() {
    open();
    await(gone_, blocks_);
  }

  bool await_begin() const { return await(here_, blocks_); }
  uint32_t begun() const { return here_.load(); }
  void open() { open_.store(1); }

 private:
  unsigned blocks_;
  Word here_{0};
  Word open_{0};
  Word gone_{0};
};

inline bool says(const ChildResult& child, const std::string& text) {
  return child.output.find(text) != std::string::npos;
}

/// Can the program read a byte there? Asked of the kernel, which does not crash.
inline bool is_readable(uintptr_t address) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const bool readable = write(ends[1], reinterpret_cast<const void*>(address), 1) == 1;
  close(ends[0]);
  close(ends[1]);
  return readable;
}
