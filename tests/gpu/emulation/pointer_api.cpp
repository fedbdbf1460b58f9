// What the driver says about a pointer. Of memory that it does not know it says nothing: zeros, and success.
#include <cstdint>
#include <cstring>

#include "tests/gpu/emulation/context.h"
#include "tests/gpu/emulation/memory_map.h"

namespace tutti::emulation {
namespace {

template <class T>
void put(void* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

/// False for an attribute that this driver does not know.
bool put_attribute(CUpointer_attribute attribute, void* to, const Range* range, CUdeviceptr pointer) {
  const bool on_device = range != nullptr && range->on_device();
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: {
      // Mapped memory belongs to a device, not to a context.
      const bool some = range != nullptr && range->kind != Kind::mapped;
      put<uintptr_t>(to, some ? reinterpret_cast<uintptr_t>(handle_of(primary_context(range->device))) : 0);
      return true;
    }
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: {
      const unsigned known = on_device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
      put<unsigned>(to, range == nullptr ? 0 : known);
      return true;
    }
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      put<CUdeviceptr>(to, range == nullptr ? 0 : pointer);
      return true;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      put<uintptr_t>(to, range == nullptr || on_device ? 0 : pointer);
      return true;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
      put<uint64_t>(to, range == nullptr ? 0 : range->id);
      return true;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      put<int>(to, range == nullptr ? CU_DEVICE_INVALID : range->device);
      return true;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      put<uintptr_t>(to, range == nullptr ? 0 : range->base);
      return true;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      put<size_t>(to, range == nullptr ? 0 : range->bytes);
      return true;
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
      put<unsigned>(to, range != nullptr && range->kind == Kind::allocated ? 1 : 0);
      return true;
    case CU_POINTER_ATTRIBUTE_MAPPED:
      put<unsigned>(to, range != nullptr ? 1 : 0);
      return true;
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
      put<uint64_t>(to, on_device ? range->physical->handle_types() : CU_MEM_HANDLE_TYPE_NONE);
      return true;
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS: {
      const auto access =
          range == nullptr ? CU_MEM_ACCESS_FLAGS_PROT_NONE : CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
      put<unsigned>(to, range != nullptr && range->kind == Kind::mapped ? range->access : access);
      return true;
    }
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
      put<unsigned>(to, 0);
      return true;
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
      put<uintptr_t>(to, 0);
      return true;
    default:
      return false;
  }
}

}  // namespace

}  // namespace tutti::emulation

using namespace tutti::emulation;

extern "C" {

CUresult CUDAAPI cuPointerGetAttributes(unsigned int count, CUpointer_attribute* attributes, void** data,
                                        CUdeviceptr pointer) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (attributes == nullptr || data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::optional<Range> range = memory_map().find(pointer);
  for (unsigned i = 0; i < count; ++i) {
    if (!put_attribute(attributes[i], data[i], range ? &*range : nullptr, pointer))
      return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr pointer) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  const std::optional<Range> range = memory_map().find(pointer);
  if (data == nullptr || !range) return CUDA_ERROR_INVALID_VALUE;
  return put_attribute(attribute, data, &*range, pointer) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // extern "C"
