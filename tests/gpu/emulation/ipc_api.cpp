// Allocations of other processes, by cuIpcMemHandle.
//
//   byte  0 .. 7 | 8 .. 11 | 12 ..... 15 | 16 ....... 23 | 24 .......... 31 | 32 .. 63
//          magic | process | descriptor  | user's bytes  | where they begin | random key
//
// The handle names an allocation, whatever pointer into it was asked about. The key, which is part of the file's name, makes sure that the
// descriptor still is what it was.
#include <sys/types.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "tests/gpu/emulation/capture.h"
#include "tests/gpu/emulation/context.h"
#include "tests/gpu/emulation/memory_map.h"
#include "tests/gpu/emulation/pages.h"

namespace tutti::emulation {
namespace {

constexpr uint64_t kMagic = 0x7475747469697063;  // "tuttiipc"
constexpr size_t kKeyBytes = 32;

struct Handle {
  uint64_t magic;
  int32_t process;
  int32_t descriptor;
  uint64_t bytes;
  uint64_t offset;
  char key[kKeyBytes];
};
static_assert(sizeof(Handle) == sizeof(CUipcMemHandle));

std::string_view key_of(std::string_view name) {
  const size_t end = std::min(name.find(' '), name.size());
  return name.substr(end - kKeyBytes, kKeyBytes);
}

}  // namespace
}  // namespace tutti::emulation

using namespace tutti::emulation;

extern "C" {

CUresult CUDAAPI cuIpcGetMemHandle(CUipcMemHandle* handle, CUdeviceptr pointer) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  const std::optional<Range> range = memory_map().find(pointer);
  if (handle == nullptr || !range || range->kind != Kind::allocated) return CUDA_ERROR_INVALID_VALUE;
  Handle said{kMagic, getpid(), range->physical->descriptor(), range->bytes, range->base - range->pages, {}};
  const std::string name = range->physical->name();
  std::memcpy(said.key, key_of(name).data(), kKeyBytes);
  std::memcpy(handle, &said, sizeof said);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuIpcOpenMemHandle(CUdeviceptr* pointer, CUipcMemHandle handle, unsigned int flags) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  Handle said{};
  std::memcpy(&said, &handle, sizeof said);
  if (pointer == nullptr || flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS || said.magic != kMagic) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  // A process cannot open what it has itself allocated.
  if (said.process == getpid()) return CUDA_ERROR_INVALID_CONTEXT;
  if (const CUresult result = may_synchronise("cuIpcOpenMemHandle", current->device);
      result != CUDA_SUCCESS) {
    return result;
  }
  Range range;
  range.kind = Kind::imported;
  range.physical = Physical::open(said.process, said.descriptor);
  if (range.physical == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  const std::string name = range.physical->name();
  if (key_of(name) != std::string_view{said.key, kKeyBytes}) return CUDA_ERROR_INVALID_HANDLE;
  if (const std::optional<Range> again = memory_map().open_again(name)) {
    *pointer = again->base;
    return CUDA_SUCCESS;
  }
  range.device = range.physical->device();
  range.bytes = said.bytes;
  range.page_bytes = range.physical->bytes();
  range.pages = take_pages(range.page_bytes);
  if (range.pages == 0 || !range.physical->show(range.pages, range.page_bytes, 0, true))
    return CUDA_ERROR_MAP_FAILED;
  range.base = range.pages + said.offset;
  *pointer = range.base;
  memory_map().add(std::move(range));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuIpcCloseMemHandle(CUdeviceptr pointer) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  const std::optional<Range> known = memory_map().find(pointer);
  if (!known || known->kind != Kind::imported) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = may_synchronise("cuIpcCloseMemHandle", known->device); result != CUDA_SUCCESS) {
    return result;
  }
  bool found = false;
  if (const std::optional<Range> range = memory_map().close_once(pointer, found)) {
    give_pages_back(range->pages, range->page_bytes);
  }
  return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // extern "C"
