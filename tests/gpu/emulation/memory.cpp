// cuMemAlloc and pinned host memory.
//
// An allocation ends as close to an inaccessible page as its alignment of 512 bytes allows: it begins, as on a device, anywhere but
// at the start of a page.
#include <sys/mman.h>

#include <cstring>
#include <utility>

#include "tests/gpu/emulation/capture.h"
#include "tests/gpu/emulation/context.h"
#include "tests/gpu/emulation/memory_map.h"
#include "tests/gpu/emulation/pages.h"
#include "tests/gpu/emulation/poison.h"
#include "tests/gpu/emulation/settings.h"

namespace tutti::emulation {
namespace {

constexpr size_t kAlignment = 512;

constexpr unsigned kHostAllocFlags =
    CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
constexpr unsigned kRegisterFlags = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP |
                                    CU_MEMHOSTREGISTER_IOMEMORY | CU_MEMHOSTREGISTER_READ_ONLY;

}  // namespace

}  // namespace tutti::emulation

using namespace tutti::emulation;

extern "C" {

CUresult CUDAAPI cuMemAlloc(CUdeviceptr* pointer, size_t bytes) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (pointer == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = may_synchronise("cuMemAlloc", current->device); result != CUDA_SUCCESS)
    return result;
  if (bytes > settings().memory) return CUDA_ERROR_OUT_OF_MEMORY;
  Range range;
  range.bytes = bytes;
  range.device = current->device;
  range.page_bytes = round_up(bytes, kPage);
  CUresult why = CUDA_SUCCESS;
  range.physical = Physical::create(current->device, range.page_bytes, CU_MEM_HANDLE_TYPE_NONE, why);
  if (range.physical == nullptr) return why;
  range.pages = take_pages(range.page_bytes);
  if (range.pages == 0 || !range.physical->show(range.pages, range.page_bytes, 0, true))
    return CUDA_ERROR_OUT_OF_MEMORY;
  range.base = range.pages + range.page_bytes - round_up(bytes, kAlignment);
  *pointer = range.base;
  memory_map().add(std::move(range));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemFree(CUdeviceptr pointer) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (pointer == 0) return CUDA_SUCCESS;
  const std::optional<Range> known = memory_map().find(pointer);
  if (!known || known->kind != Kind::allocated || known->base != pointer) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = may_synchronise("cuMemFree", known->device); result != CUDA_SUCCESS)
    return result;
  const std::optional<Range> range = memory_map().remove(pointer, Kind::allocated);
  if (!range) return CUDA_ERROR_INVALID_VALUE;
  give_pages_back(range->pages, range->page_bytes);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemGetInfo(size_t* free, size_t* total) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (free != nullptr) *free = settings().memory - bytes_in_use(current->device);
  if (total != nullptr) *total = settings().memory;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemGetAddressRange(CUdeviceptr* base, size_t* bytes, CUdeviceptr pointer) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  const std::optional<Range> range = memory_map().find(pointer);
  if (!range) return CUDA_ERROR_NOT_FOUND;
  if (base != nullptr) *base = range->base;
  if (bytes != nullptr) *bytes = range->bytes;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemHostAlloc(void** pointer, size_t bytes, unsigned int flags) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (pointer == nullptr || bytes == 0 || (flags & ~kHostAllocFlags) != 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = may_synchronise("cuMemHostAlloc", kAllDevices); result != CUDA_SUCCESS)
    return result;
  Range range;
  range.kind = Kind::pinned;
  range.bytes = bytes;
  range.device = current->device;
  range.page_bytes = round_up(bytes, kPage);
  range.base = range.pages = take_pages(range.page_bytes);
  if (range.base == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  void* const memory = pointer_to(range.base);
  if (mprotect(memory, range.page_bytes, PROT_READ | PROT_WRITE) != 0) return CUDA_ERROR_OUT_OF_MEMORY;
  std::memset(memory, kPoison, range.page_bytes);
  memory_map().add(std::move(range));
  *pointer = memory;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemAllocHost(void** pointer, size_t bytes) {
  return cuMemHostAlloc(pointer, bytes, 0);
}

CUresult CUDAAPI cuMemFreeHost(void* pointer) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (pointer == nullptr) return CUDA_SUCCESS;
  const std::optional<Range> known = memory_map().find(address_of(pointer));
  if (!known || known->kind != Kind::pinned || known->base != address_of(pointer))
    return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = may_synchronise("cuMemFreeHost", kAllDevices); result != CUDA_SUCCESS)
    return result;
  const std::optional<Range> range = memory_map().remove(known->base, Kind::pinned);
  if (!range) return CUDA_ERROR_INVALID_VALUE;
  give_pages_back(range->pages, range->page_bytes);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemHostRegister(void* pointer, size_t bytes, unsigned int flags) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (pointer == nullptr || bytes == 0 || (flags & ~kRegisterFlags) != 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = may_synchronise("cuMemHostRegister", kAllDevices); result != CUDA_SUCCESS)
    return result;
  Range range;
  range.kind = Kind::registered;
  range.base = address_of(pointer);
  range.bytes = bytes;
  range.device = current->device;
  return memory_map().add_if_free(std::move(range)) ? CUDA_SUCCESS
                                                    : CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
}

CUresult CUDAAPI cuMemHostUnregister(void* pointer) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  const std::optional<Range> known = memory_map().find(address_of(pointer));
  if (!known || known->kind != Kind::registered || known->base != address_of(pointer)) {
    return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
  }
  if (const CUresult result = may_synchronise("cuMemHostUnregister", kAllDevices); result != CUDA_SUCCESS)
    return result;
  memory_map().remove(known->base, Kind::registered);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemHostGetDevicePointer(CUdeviceptr* device, void* pointer, unsigned int flags) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  const std::optional<Range> range = memory_map().find(address_of(pointer));
  if (device == nullptr || flags != 0 || !range || range->on_device()) return CUDA_ERROR_INVALID_VALUE;
  *device = address_of(pointer);
  return CUDA_SUCCESS;
}

}  // extern "C"
