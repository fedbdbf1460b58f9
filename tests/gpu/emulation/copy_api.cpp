// Copies and fills.
//
// An asynchronous copy from or to host memory that is not pinned may keep its caller waiting until it is done; here it always does.
#include <cstring>

#include "tests/gpu/emulation/memory_map.h"
#include "tests/gpu/emulation/pages.h"
#include "tests/gpu/emulation/stream.h"

namespace tutti::emulation {
namespace {

/// A copy engine writes an aligned word whole, also while kernels look at it.
void move(void* target, const void* source, size_t bytes) {
  const bool word = bytes == sizeof(uint64_t) && reinterpret_cast<uintptr_t>(target) % sizeof(uint64_t) == 0;
  if (!word) {
    std::memmove(target, source, bytes);
    return;
  }
  uint64_t value = 0;
  std::memcpy(&value, source, sizeof value);
  __atomic_store_n(static_cast<uint64_t*>(target), value, __ATOMIC_RELEASE);
}

enum class Side { device, host };

struct End {
  uintptr_t address;
  Side side;
};

/// Device sides must be known to the driver in full.
bool is_valid(const End& end, size_t bytes) {
  return end.side == Side::host ? end.address != 0 : memory_map().covers(end.address, bytes);
}

bool is_pageable(const End& end, size_t bytes) {
  return end.side == Side::host && !memory_map().covers(end.address, bytes);
}

CUresult do_in_order(CUstream handle, std::function<void()> run, bool at_once, const char* call) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  Stream* const stream = stream_of(lock, handle, *current);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  Work work;
  work.run = std::move(run);
  OperationPtr done;
  if (const CUresult result = enqueue(lock, *stream, std::move(work), &done); result != CUDA_SUCCESS)
    return result;
  if (at_once && done != nullptr) scheduler().wait(lock, {done}, call);
  return CUDA_SUCCESS;
}

CUresult copy(const End& to, const End& from, size_t bytes, CUstream stream, bool at_once, const char* call) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (bytes == 0) return CUDA_SUCCESS;
  if (!is_valid(to, bytes) || !is_valid(from, bytes)) return CUDA_ERROR_INVALID_VALUE;
  const bool waits = at_once || is_pageable(to, bytes) || is_pageable(from, bytes);
  void* const target = pointer_to(to.address);
  const void* const source = pointer_to(from.address);
  return do_in_order(
      stream, [=] { move(target, source, bytes); }, waits, call);
}

CUresult fill(CUdeviceptr target, unsigned value, size_t width, size_t count, CUstream stream, bool at_once,
              const char* call) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (count == 0) return CUDA_SUCCESS;
  if (target % width != 0 || !memory_map().covers(target, count * width)) return CUDA_ERROR_INVALID_VALUE;
  const auto run = [=] {
    auto* const bytes = static_cast<unsigned char*>(pointer_to(target));
    if (width == 1) {
      std::memset(bytes, static_cast<int>(value), count);
      return;
    }
    for (size_t i = 0; i < count; ++i) std::memcpy(bytes + i * width, &value, width);
  };
  return do_in_order(stream, run, at_once, call);
}

End device(CUdeviceptr pointer) {
  return {pointer, Side::device};
}
End host(const void* pointer) {
  return {address_of(pointer), Side::host};
}
/// A pointer of unified addressing: whatever it is.
End either(CUdeviceptr pointer) {
  return {pointer, memory_map().find(pointer).has_value() ? Side::device : Side::host};
}

}  // namespace

}  // namespace tutti::emulation

using namespace tutti::emulation;

extern "C" {

CUresult CUDAAPI cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
  return copy(device(to), host(from), bytes, stream, false, "cuMemcpyHtoDAsync from pageable memory");
}

CUresult CUDAAPI cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy(host(to), device(from), bytes, stream, false, "cuMemcpyDtoHAsync to pageable memory");
}

CUresult CUDAAPI cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy(device(to), device(from), bytes, stream, false, "cuMemcpyDtoDAsync");
}

CUresult CUDAAPI cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy(either(to), either(from), bytes, stream, false, "cuMemcpyAsync with pageable memory");
}

CUresult CUDAAPI cuMemcpyHtoD(CUdeviceptr to, const void* from, size_t bytes) {
  return copy(device(to), host(from), bytes, nullptr, true, "cuMemcpyHtoD");
}

CUresult CUDAAPI cuMemcpyDtoH(void* to, CUdeviceptr from, size_t bytes) {
  return copy(host(to), device(from), bytes, nullptr, true, "cuMemcpyDtoH");
}

CUresult CUDAAPI cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return copy(device(to), device(from), bytes, nullptr, true, "cuMemcpyDtoD");
}

CUresult CUDAAPI cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return copy(either(to), either(from), bytes, nullptr, true, "cuMemcpy");
}

CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
  return fill(to, value, 1, count, stream, false, "cuMemsetD8Async");
}

CUresult CUDAAPI cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t count, CUstream stream) {
  return fill(to, value, 4, count, stream, false, "cuMemsetD32Async");
}

CUresult CUDAAPI cuMemsetD8(CUdeviceptr to, unsigned char value, size_t count) {
  return fill(to, value, 1, count, nullptr, true, "cuMemsetD8");
}

CUresult CUDAAPI cuMemsetD32(CUdeviceptr to, unsigned int value, size_t count) {
  return fill(to, value, 4, count, nullptr, true, "cuMemsetD32");
}

}  // extern "C"
