// Physical memory, address ranges, and the mapping of one to the other.
//
// Mapped memory is inaccessible until cuMemSetAccess; the emulation has one access for all devices, that of the last call.
#include <fcntl.h>
#include <sys/mman.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>

#include "tests/gpu/emulation/capture.h"
#include "tests/gpu/emulation/context.h"
#include "tests/gpu/emulation/handles.h"
#include "tests/gpu/emulation/memory_map.h"
#include "tests/gpu/emulation/pages.h"
#include "tests/gpu/emulation/settings.h"

namespace tutti::emulation {
namespace {

bool is_granular(size_t bytes) {
  return bytes != 0 && bytes % kGranularity == 0;
}

bool is_device(const CUmemLocation& location) {
  return location.type == CU_MEM_LOCATION_TYPE_DEVICE && location.id >= 0 && location.id < settings().devices;
}

CUresult check(const CUmemAllocationProp* properties) {
  if (properties == nullptr || properties->type != CU_MEM_ALLOCATION_TYPE_PINNED ||
      !is_device(properties->location)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const unsigned unknown = static_cast<unsigned>(properties->requestedHandleTypes) &
                           ~static_cast<unsigned>(CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  return unknown != 0 ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

}  // namespace
}  // namespace tutti::emulation

using namespace tutti::emulation;

extern "C" {

CUresult CUDAAPI cuMemGetAllocationGranularity(size_t* granularity, const CUmemAllocationProp* properties,
                                               CUmemAllocationGranularity_flags) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  if (granularity == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *granularity = kGranularity;
  return check(properties);
}

CUresult CUDAAPI cuMemCreate(CUmemGenericAllocationHandle* handle, size_t bytes,
                             const CUmemAllocationProp* properties, unsigned long long flags) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  if (const CUresult result = check(properties); result != CUDA_SUCCESS) return result;
  if (handle == nullptr || !is_granular(bytes) || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  const int device = properties->location.id;
  if (const CUresult result = may_synchronise("cuMemCreate", device); result != CUDA_SUCCESS) return result;
  CUresult why = CUDA_SUCCESS;
  std::shared_ptr<Physical> memory = Physical::create(device, bytes, properties->requestedHandleTypes, why);
  if (memory == nullptr) return why;
  *handle = handles().add(std::move(memory));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemRelease(CUmemGenericAllocationHandle handle) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  if (const CUresult result = may_synchronise("cuMemRelease", kAllDevices); result != CUDA_SUCCESS)
    return result;
  return handles().release(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult CUDAAPI cuMemAddressReserve(CUdeviceptr* pointer, size_t bytes, size_t alignment, CUdeviceptr,
                                     unsigned long long flags) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  if (pointer == nullptr || !is_granular(bytes) || flags != 0 ||
      (alignment != 0 && !std::has_single_bit(alignment))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const uintptr_t base = take_pages(bytes, std::max(alignment, kGranularity));
  if (base == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  handles().add_reservation(base, bytes);
  *pointer = base;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemAddressFree(CUdeviceptr pointer, size_t bytes) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  if (memory_map().touches(pointer, bytes)) return CUDA_ERROR_INVALID_VALUE;  // still mapped
  if (!handles().remove_reservation(pointer, bytes)) return CUDA_ERROR_INVALID_VALUE;
  give_pages_back(pointer, bytes, kGranularity);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemMap(CUdeviceptr pointer, size_t bytes, size_t offset,
                          CUmemGenericAllocationHandle handle, unsigned long long flags) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  std::shared_ptr<Physical> memory = handles().find(handle);
  if (memory == nullptr || flags != 0 || offset != 0 || pointer % kGranularity != 0 || !is_granular(bytes) ||
      bytes > memory->bytes() || !handles().is_reserved(pointer, bytes)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (const CUresult result = may_synchronise("cuMemMap", memory->device()); result != CUDA_SUCCESS)
    return result;
  if (memory_map().touches(pointer, bytes)) return CUDA_ERROR_INVALID_VALUE;
  if (!memory->show(pointer, bytes, offset, false)) return CUDA_ERROR_MAP_FAILED;
  Range range;
  range.kind = Kind::mapped;
  range.base = range.pages = pointer;
  range.bytes = range.page_bytes = bytes;
  range.device = memory->device();
  range.physical = std::move(memory);
  return memory_map().add_if_free(std::move(range)) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult CUDAAPI cuMemUnmap(CUdeviceptr pointer, size_t bytes) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  const std::vector<Range> ranges = memory_map().mapped_in(pointer, bytes);
  if (ranges.empty()) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = may_synchronise("cuMemUnmap", ranges.front().device); result != CUDA_SUCCESS)
    return result;
  for (const Range& range : ranges) {
    memory_map().remove(range.base, Kind::mapped);
    hide_pages(range.pages, range.page_bytes);
  }
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemSetAccess(CUdeviceptr pointer, size_t bytes, const CUmemAccessDesc* accesses,
                                size_t count) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  const std::vector<Range> ranges = memory_map().mapped_in(pointer, bytes);
  if (ranges.empty() || accesses == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  CUmemAccess_flags most = CU_MEM_ACCESS_FLAGS_PROT_NONE;
  for (size_t i = 0; i < count; ++i) {
    if (!is_device(accesses[i].location)) return CUDA_ERROR_INVALID_VALUE;
    most = std::max(most, accesses[i].flags);
  }
  if (const CUresult result = may_synchronise("cuMemSetAccess", ranges.front().device);
      result != CUDA_SUCCESS) {
    return result;
  }
  int protection = PROT_NONE;
  if (most != CU_MEM_ACCESS_FLAGS_PROT_NONE) protection |= PROT_READ;
  if (most == CU_MEM_ACCESS_FLAGS_PROT_READWRITE) protection |= PROT_WRITE;
  for (const Range& range : ranges) {
    if (mprotect(pointer_to(range.pages), range.page_bytes, protection) != 0) return CUDA_ERROR_INVALID_VALUE;
    memory_map().set_access(range.base, most);
  }
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemExportToShareableHandle(void* shareable, CUmemGenericAllocationHandle handle,
                                              CUmemAllocationHandleType type, unsigned long long flags) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  const std::shared_ptr<Physical> memory = handles().find(handle);
  if (shareable == nullptr || memory == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) return CUDA_ERROR_NOT_SUPPORTED;
  if ((static_cast<unsigned>(memory->handle_types()) & static_cast<unsigned>(type)) == 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const int descriptor = fcntl(memory->descriptor(), F_DUPFD_CLOEXEC, 0);
  if (descriptor < 0) return CUDA_ERROR_OPERATING_SYSTEM;
  std::memcpy(shareable, &descriptor, sizeof descriptor);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemImportFromShareableHandle(CUmemGenericAllocationHandle* handle, void* shareable,
                                                CUmemAllocationHandleType type) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) return CUDA_ERROR_NOT_SUPPORTED;
  // The descriptor itself takes the place of a pointer to it; it stays the caller's.
  const int given = static_cast<int>(reinterpret_cast<intptr_t>(shareable));
  const int descriptor = fcntl(given, F_DUPFD_CLOEXEC, 0);
  if (descriptor < 0) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<Physical> memory = Physical::adopt(descriptor);
  if (memory == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *handle = handles().add(std::move(memory));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle, void* pointer) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  const std::optional<Range> range = memory_map().find(address_of(pointer));
  if (handle == nullptr || !range || range->kind != Kind::mapped) return CUDA_ERROR_INVALID_VALUE;
  *handle = handles().retain(range->physical);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* properties,
                                                        CUmemGenericAllocationHandle handle) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  const std::shared_ptr<Physical> memory = handles().find(handle);
  if (properties == nullptr || memory == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *properties = properties_of(*memory);
  return CUDA_SUCCESS;
}

}  // extern "C"
