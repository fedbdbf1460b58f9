#include "tests/gpu/emulation/capture.h"

#include <algorithm>
#include <utility>

#include "tests/gpu/emulation/context.h"
#include "tests/gpu/emulation/lasting.h"

namespace tutti::emulation {
namespace {

struct Captures {
  std::vector<std::shared_ptr<Capture>> active;
  uint64_t last_id = 0;
};

CUstreamCaptureMode& thread_mode() {
  static thread_local CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  return mode;
}

bool forbids(const Capture& capture) {
  if (thread_mode() == CU_STREAM_CAPTURE_MODE_RELAXED || capture.mode == CU_STREAM_CAPTURE_MODE_RELAXED)
    return false;
  if (capture.thread == std::this_thread::get_id()) return true;
  return thread_mode() == CU_STREAM_CAPTURE_MODE_GLOBAL && capture.mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
}

}  // namespace

std::shared_ptr<Capture> begin_capture(Scheduler::Lock&, CUstreamCaptureMode mode, const Stream& origin) {
  auto& captures = lasting<Captures>();
  auto capture = std::make_shared<Capture>();
  capture->id = ++captures.last_id;
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->origin = &origin;
  capture->graph = std::make_shared<Graph>();
  captures.active.push_back(capture);
  return capture;
}

void end_capture(Scheduler::Lock&, const Capture& capture) {
  std::erase_if(lasting<Captures>().active, [&](const auto& active) { return active.get() == &capture; });
}

CUresult may_call_unsafely(Scheduler::Lock&) {
  CUresult result = CUDA_SUCCESS;
  for (const std::shared_ptr<Capture>& capture : lasting<Captures>().active) {
    if (!forbids(*capture)) continue;
    capture->invalid = true;
    result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return result;
}

CUresult may_synchronise(const char* call, int device) {
  {
    auto lock = scheduler().lock();
    if (const CUresult result = may_call_unsafely(lock); result != CUDA_SUCCESS) return result;
  }
  scheduler().wait_for_kernels(device, call);
  return CUDA_SUCCESS;
}

}  // namespace tutti::emulation

using namespace tutti::emulation;

extern "C" {

CUresult CUDAAPI cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  if (mode == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::swap(*mode, thread_mode());
  return CUDA_SUCCESS;
}

}  // extern "C"
