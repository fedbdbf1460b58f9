// Names and texts of the results that the emulated driver gives.
#include <utility>

#include "tests/gpu/emulation/driver_api.h"

namespace tutti::emulation {
namespace {

struct Text {
  CUresult result;
  const char* name;
  const char* text;
};

#define TUTTI_RESULT(name, text) \
  Text {                         \
    name, #name, text            \
  }
constexpr Text kTexts[] = {
    TUTTI_RESULT(CUDA_SUCCESS, "no error"),
    TUTTI_RESULT(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    TUTTI_RESULT(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    TUTTI_RESULT(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    TUTTI_RESULT(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    TUTTI_RESULT(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    TUTTI_RESULT(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    TUTTI_RESULT(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    TUTTI_RESULT(CUDA_ERROR_MAP_FAILED, "mapping of buffer object failed"),
    TUTTI_RESULT(CUDA_ERROR_ALREADY_MAPPED, "resource already mapped"),
    TUTTI_RESULT(CUDA_ERROR_NOT_MAPPED, "resource not mapped"),
    TUTTI_RESULT(CUDA_ERROR_OPERATING_SYSTEM, "OS call failed or operation not supported on this OS"),
    TUTTI_RESULT(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    TUTTI_RESULT(CUDA_ERROR_ILLEGAL_STATE, "the operation cannot be performed in the present state"),
    TUTTI_RESULT(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    TUTTI_RESULT(CUDA_ERROR_NOT_READY, "device not ready"),
    TUTTI_RESULT(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    TUTTI_RESULT(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, "peer access is already enabled"),
    TUTTI_RESULT(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"),
    TUTTI_RESULT(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED,
                 "part or all of the requested memory range is already mapped"),
    TUTTI_RESULT(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED,
                 "pointer does not correspond to a registered memory region"),
    TUTTI_RESULT(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    TUTTI_RESULT(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, "too many blocks in cooperative launch"),
    TUTTI_RESULT(CUDA_ERROR_NOT_PERMITTED, "operation not permitted"),
    TUTTI_RESULT(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    TUTTI_RESULT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"),
    TUTTI_RESULT(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
                 "operation failed due to a previous error during capture"),
    TUTTI_RESULT(CUDA_ERROR_STREAM_CAPTURE_MERGE,
                 "operation would result in a merge of separate capture sequences"),
    TUTTI_RESULT(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "capture was not ended in the same stream as it began"),
    TUTTI_RESULT(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "capturing stream has unjoined work"),
    TUTTI_RESULT(CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
                 "dependency created on uncaptured work in another stream"),
    TUTTI_RESULT(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
                 "operation would make the legacy stream depend on a capturing blocking stream"),
    TUTTI_RESULT(CUDA_ERROR_CAPTURED_EVENT,
                 "operation not permitted on an event last recorded in a capturing stream"),
    TUTTI_RESULT(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
                 "attempt to terminate a thread-local capture sequence from another thread"),
    TUTTI_RESULT(CUDA_ERROR_UNKNOWN, "unknown error"),
};
#undef TUTTI_RESULT

CUresult find(CUresult result, const char* Text::*part, const char** answer) {
  if (answer == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *answer = nullptr;
  for (const Text& entry : kTexts) {
    if (entry.result != result) continue;
    *answer = entry.*part;
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

}  // namespace tutti::emulation

using namespace tutti::emulation;

extern "C" {

CUresult CUDAAPI cuGetErrorName(CUresult result, const char** name) {
  return find(result, &Text::name, name);
}

CUresult CUDAAPI cuGetErrorString(CUresult result, const char** text) {
  return find(result, &Text::text, text);
}

}  // extern "C"
