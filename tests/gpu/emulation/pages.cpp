#include "tests/gpu/emulation/pages.h"

#include <sys/mman.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "tests/gpu/emulation/lasting.h"

namespace tutti::emulation {
namespace {

struct FreePages {
  std::mutex mutex;
  std::map<std::pair<size_t, size_t>, std::vector<uintptr_t>> by_size_and_alignment;
};

}  // namespace

uintptr_t take_pages(size_t bytes, size_t alignment) {
  auto& free = lasting<FreePages>();
  {
    const std::lock_guard lock(free.mutex);
    auto& same = free.by_size_and_alignment[{bytes, alignment}];
    if (!same.empty()) {
      const uintptr_t address = same.back();
      same.pop_back();
      return address;
    }
  }
  const size_t whole = bytes + kPage + (alignment > kPage ? alignment : 0);
  void* const mapped = mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return 0;
  return round_up(reinterpret_cast<uintptr_t>(mapped), alignment);
}

void hide_pages(uintptr_t address, size_t bytes) {
  if (mmap(pointer_to(address), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
           0) == MAP_FAILED)
    std::abort();
}

void give_pages_back(uintptr_t address, size_t bytes, size_t alignment) {
  hide_pages(address, bytes);
  auto& free = lasting<FreePages>();
  const std::lock_guard lock(free.mutex);
  free.by_size_and_alignment[{bytes, alignment}].push_back(address);
}

}  // namespace tutti::emulation
