#include "tests/gpu/emulation/handles.h"

#include <iterator>
#include <utility>

#include "tests/gpu/emulation/lasting.h"

namespace tutti::emulation {

Handles& handles() {
  return lasting<Handles>();
}

CUmemAllocationProp properties_of(const Physical& memory) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.requestedHandleTypes = memory.handle_types();
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = memory.device();
  return properties;
}

CUmemGenericAllocationHandle Handles::add(std::shared_ptr<Physical> memory) {
  const std::lock_guard lock(mutex_);
  entries_.emplace(++last_, Entry{std::move(memory), 1});
  return last_;
}

CUmemGenericAllocationHandle Handles::retain(const std::shared_ptr<Physical>& memory) {
  {
    const std::lock_guard lock(mutex_);
    for (auto& [handle, entry] : entries_) {
      if (entry.memory != memory) continue;
      ++entry.references;
      return handle;
    }
  }
  return add(memory);
}

bool Handles::release(CUmemGenericAllocationHandle handle) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(handle);
  if (found == entries_.end()) return false;
  if (--found->second.references == 0) entries_.erase(found);
  return true;
}

std::shared_ptr<Physical> Handles::find(CUmemGenericAllocationHandle handle) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(handle);
  return found == entries_.end() ? nullptr : found->second.memory;
}

void Handles::add_reservation(uintptr_t base, size_t bytes) {
  const std::lock_guard lock(mutex_);
  reservations_.emplace(base, bytes);
}

bool Handles::remove_reservation(uintptr_t base, size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = reservations_.find(base);
  if (found == reservations_.end() || found->second != bytes) return false;
  reservations_.erase(found);
  return true;
}

bool Handles::is_reserved(uintptr_t base, size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto after = reservations_.upper_bound(base);
  if (after == reservations_.begin()) return false;
  const auto& [begin, size] = *std::prev(after);
  return base + bytes <= begin + size;
}

}  // namespace tutti::emulation
