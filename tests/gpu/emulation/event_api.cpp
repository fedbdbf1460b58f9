// cuEvent* and cuStreamWaitEvent.
#include <algorithm>

#include "tests/gpu/emulation/stream.h"

// Declared by cuda.h only under the name of its second version.
#undef cuEventElapsedTime
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" __attribute__((visibility("default"))) CUresult CUDAAPI cuEventElapsedTime(float* milliseconds,
                                                                                      CUevent start,
                                                                                      CUevent end);

namespace tutti::emulation {
namespace {

constexpr unsigned kEventFlags = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;

/// An event that may be asked whether it has happened.
CUresult may_await(Scheduler::Lock& lock, const Event& event) {
  if (event.capture != nullptr) {
    event.capture->invalid = true;
    return CUDA_ERROR_CAPTURED_EVENT;
  }
  return may_call_unsafely(lock);
}

void add_to(std::vector<size_t>& tail, const std::vector<size_t>& nodes) {
  for (const size_t node : nodes) {
    if (std::find(tail.begin(), tail.end(), node) == tail.end()) tail.push_back(node);
  }
}

CUresult wait_captured(Stream& stream, const Event& event) {
  if (event.capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  // A capture that has ended cannot be joined any more.
  const bool ended = event.capture->graph == nullptr;
  if (stream.legacy || ended) {
    event.capture->invalid = true;
    return stream.legacy ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT : CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
  }
  if (stream.capture == nullptr) {
    stream.capture = event.capture;
    stream.tail.clear();
  } else if (stream.capture != event.capture) {
    stream.capture->invalid = event.capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_MERGE;
  }
  add_to(stream.tail, event.at);
  return CUDA_SUCCESS;
}

}  // namespace

}  // namespace tutti::emulation

using namespace tutti::emulation;

extern "C" {

CUresult CUDAAPI cuEventCreate(CUevent* event, unsigned int flags) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  const bool timed = (flags & CU_EVENT_DISABLE_TIMING) == 0;
  if (event == nullptr || (flags & ~kEventFlags) != 0 || ((flags & CU_EVENT_INTERPROCESS) != 0 && timed)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  auto lock = scheduler().lock();
  *event = create_event(lock, current->device, timed);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventDestroy(CUevent event) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  return destroy_event(lock, event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult CUDAAPI cuEventRecord(CUevent event_handle, CUstream stream_handle) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  Event* const event = event_of(lock, event_handle);
  Stream* const stream = stream_of(lock, stream_handle, *current);
  if (event == nullptr || stream == nullptr || event->device != stream->device)
    return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture != nullptr) {
    if (const CUresult result = usable(lock, *stream); result != CUDA_SUCCESS) return result;
    event->capture = stream->capture;
    event->at = stream->tail;
    event->recorded = nullptr;
    return CUDA_SUCCESS;
  }
  OperationPtr done;
  if (const CUresult result = enqueue(lock, *stream, Work{}, &done); result != CUDA_SUCCESS) return result;
  event->capture = nullptr;
  event->recorded = std::move(done);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamWaitEvent(CUstream stream_handle, CUevent event_handle, unsigned int flags) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  auto lock = scheduler().lock();
  const Event* const event = event_of(lock, event_handle);
  Stream* const stream = stream_of(lock, stream_handle, *current);
  if (event == nullptr || stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult result = usable(lock, *stream); result != CUDA_SUCCESS) return result;
  if (event->capture != nullptr) return wait_captured(*stream, *event);
  if (stream->capture != nullptr) {
    if (event->recorded == nullptr) return CUDA_SUCCESS;
    stream->capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
  }
  if (event->recorded == nullptr || event->recorded->ended) return CUDA_SUCCESS;
  std::vector<OperationPtr> before = before_next(lock, *stream);
  before.push_back(event->recorded);
  Work nothing;
  nothing.device = stream->device;
  stream->last = scheduler().submit(lock, std::move(nothing), before);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventQuery(CUevent handle) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  const Event* const event = event_of(lock, handle);
  if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult result = may_await(lock, *event); result != CUDA_SUCCESS) return result;
  return event->recorded == nullptr || event->recorded->ended ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult CUDAAPI cuEventSynchronize(CUevent handle) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  const Event* const event = event_of(lock, handle);
  if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult result = may_await(lock, *event); result != CUDA_SUCCESS) return result;
  scheduler().wait(lock, {event->recorded}, "cuEventSynchronize");
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventElapsedTime(float* milliseconds, CUevent start_handle, CUevent end_handle) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (milliseconds == nullptr) return CUDA_ERROR_INVALID_VALUE;
  auto lock = scheduler().lock();
  const Event* const start = event_of(lock, start_handle);
  const Event* const end = event_of(lock, end_handle);
  for (const Event* const event : {start, end}) {
    if (event == nullptr || !event->timed) return CUDA_ERROR_INVALID_HANDLE;
    if (event->capture != nullptr) return CUDA_ERROR_CAPTURED_EVENT;
    if (event->recorded == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  }
  if (!start->recorded->ended || !end->recorded->ended) return CUDA_ERROR_NOT_READY;
  *milliseconds = std::chrono::duration<float, std::milli>(end->recorded->end - start->recorded->end).count();
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventElapsedTime_v2(float* milliseconds, CUevent start, CUevent end) {
  return cuEventElapsedTime(milliseconds, start, end);
}

}  // extern "C"
