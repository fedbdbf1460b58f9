// cuStream* and cuCtxSynchronize, without capture (graph_api.cpp).
#include "tests/gpu/emulation/stream.h"

namespace tutti::emulation {
namespace {

/// A stream that may be asked how far it is.
CUresult may_await(Scheduler::Lock& lock, const Stream& stream) {
  if (stream.capture != nullptr) {
    stream.capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  if (const CUresult result = usable(lock, stream); result != CUDA_SUCCESS) return result;
  return may_call_unsafely(lock);
}

std::vector<OperationPtr> awaited(Scheduler::Lock& lock, const Stream& stream) {
  if (stream.legacy) return before_next(lock, stream);
  return {stream.last};
}

}  // namespace

}  // namespace tutti::emulation

using namespace tutti::emulation;

extern "C" {

CUresult CUDAAPI cuStreamCreate(CUstream* stream, unsigned int flags) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (stream == nullptr || (flags & ~static_cast<unsigned>(CU_STREAM_NON_BLOCKING)) != 0)
    return CUDA_ERROR_INVALID_VALUE;
  auto lock = scheduler().lock();
  *stream = create_stream(lock, current->device, flags == CU_STREAM_DEFAULT);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamCreateWithPriority(CUstream* stream, unsigned int flags, int) {
  return cuStreamCreate(stream, flags);
}

CUresult CUDAAPI cuStreamDestroy(CUstream stream) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  return destroy_stream(lock, stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult CUDAAPI cuStreamQuery(CUstream handle) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  const Stream* const stream = stream_of(lock, handle, *current);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult result = may_await(lock, *stream); result != CUDA_SUCCESS) return result;
  for (const OperationPtr& operation : awaited(lock, *stream)) {
    if (operation != nullptr && !operation->ended) return CUDA_ERROR_NOT_READY;
  }
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamSynchronize(CUstream handle) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  const Stream* const stream = stream_of(lock, handle, *current);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult result = may_await(lock, *stream); result != CUDA_SUCCESS) return result;
  scheduler().wait(lock, awaited(lock, *stream), "cuStreamSynchronize");
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxSynchronize() {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  if (is_capturing(lock, current->device)) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  scheduler().wait(lock, everything_on(lock, current->device), "cuCtxSynchronize");
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuLaunchHostFunc(CUstream handle, CUhostFn function, void* data) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  auto lock = scheduler().lock();
  Stream* const stream = stream_of(lock, handle, *current);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  Work work;
  work.run = [function, data] { function(data); };
  return enqueue(lock, *stream, std::move(work));
}

}  // extern "C"
