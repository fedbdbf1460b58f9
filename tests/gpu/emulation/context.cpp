#include "tests/gpu/emulation/context.h"

#include <unistd.h>

#include <array>
#include <vector>

#include "tests/gpu/emulation/capture.h"
#include "tests/gpu/emulation/lasting.h"
#include "tests/gpu/emulation/memory_map.h"
#include "tests/gpu/emulation/scheduler.h"
#include "tests/gpu/emulation/settings.h"

namespace tutti::emulation {
namespace {

std::atomic<pid_t> initialised_by{0};

struct Contexts {
  std::array<Context, kMaxDevices> all;
};

std::vector<Context*>& stack() {
  static thread_local std::vector<Context*> contexts;
  return contexts;
}

bool has_device(int device) {
  return device >= 0 && device < settings().devices;
}

}  // namespace

Context& primary_context(int device) {
  return lasting<Contexts>().all.at(static_cast<size_t>(device));
}

Context* context_of(CUcontext handle) {
  for (int device = 0; device < settings().devices; ++device) {
    if (handle == handle_of(primary_context(device))) return &primary_context(device);
  }
  return nullptr;
}

CUresult enter() {
  return initialised_by.load(std::memory_order_acquire) == getpid() ? CUDA_SUCCESS
                                                                    : CUDA_ERROR_NOT_INITIALIZED;
}

CUresult enter(Context*& current) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  if (stack().empty() || stack().back() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (stack().back()->retained.load() == 0) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  current = stack().back();
  return CUDA_SUCCESS;
}

}  // namespace tutti::emulation

using namespace tutti::emulation;

extern "C" {

CUresult CUDAAPI cuInit(unsigned int flags) {
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (settings().devices == 0) return CUDA_ERROR_NO_DEVICE;
  pid_t nobody = 0;
  if (!initialised_by.compare_exchange_strong(nobody, getpid())) return enter();
  for (int device = 0; device < settings().devices; ++device) primary_context(device).device = device;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  if (!has_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
  primary_context(device).retained.fetch_add(1);
  *context = handle_of(primary_context(device));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice device) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  if (!has_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  Context& context = primary_context(device);
  unsigned count = context.retained.load();
  do {
    if (count == 0) return CUDA_ERROR_INVALID_CONTEXT;
  } while (!context.retained.compare_exchange_weak(count, count - 1));
  if (count == 1) {
    scheduler().wait_for_kernels(device, "cuDevicePrimaryCtxRelease of the last reference");
    memory_map().forget_device(device);
  }
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDevicePrimaryCtxGetState(CUdevice device, unsigned int* flags, int* active) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  if (!has_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  if (flags != nullptr) *flags = 0;
  if (active != nullptr) *active = primary_context(device).retained.load() != 0 ? 1 : 0;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxGetCurrent(CUcontext* context) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const bool some = !stack().empty() && stack().back() != nullptr;
  *context = some ? handle_of(*stack().back()) : nullptr;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxSetCurrent(CUcontext context) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  Context* const wanted = context_of(context);
  if (context != nullptr && wanted == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (!stack().empty()) stack().pop_back();
  if (wanted != nullptr) stack().push_back(wanted);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxGetDevice(CUdevice* device) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *device = current->device;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxPushCurrent(CUcontext context) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  Context* const wanted = context_of(context);
  if (wanted == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (wanted->retained.load() == 0) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  stack().push_back(wanted);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxPopCurrent(CUcontext* context) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  if (stack().empty()) return CUDA_ERROR_INVALID_CONTEXT;
  if (context != nullptr) *context = handle_of(*stack().back());
  stack().pop_back();
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  const Context* const other = context_of(peer);
  if (other == nullptr || other == current) return CUDA_ERROR_INVALID_CONTEXT;
  if (const CUresult result = may_synchronise("cuCtxEnablePeerAccess", current->device);
      result != CUDA_SUCCESS) {
    return result;
  }
  const unsigned bit = 1U << static_cast<unsigned>(other->device);
  return (current->peers.fetch_or(bit) & bit) != 0 ? CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED : CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  if (!has_device(device) || !has_device(peer)) return CUDA_ERROR_INVALID_DEVICE;
  if (can == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *can = device == peer ? 0 : 1;
  return CUDA_SUCCESS;
}

}  // extern "C"
