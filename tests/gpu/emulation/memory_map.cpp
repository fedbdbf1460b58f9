#include "tests/gpu/emulation/memory_map.h"

#include <iterator>
#include <utility>

#include "tests/gpu/emulation/lasting.h"
#include "tests/gpu/emulation/pages.h"

namespace tutti::emulation {

MemoryMap& memory_map() {
  return lasting<MemoryMap>();
}

const Range* MemoryMap::containing(uintptr_t address) const {
  auto after = ranges_.upper_bound(address);
  if (after == ranges_.begin()) return nullptr;
  const Range& range = std::prev(after)->second;
  return address < range.end() ? &range : nullptr;
}

void MemoryMap::insert(Range range) {
  range.id = ++last_id_;
  const uintptr_t base = range.base;
  ranges_.insert_or_assign(base, std::move(range));
}

void MemoryMap::add(Range range) {
  const std::lock_guard lock(mutex_);
  insert(std::move(range));
}

bool MemoryMap::meets(uintptr_t base, size_t bytes) const {
  const auto next = ranges_.lower_bound(base);
  return containing(base) != nullptr || (next != ranges_.end() && next->first < base + bytes);
}

bool MemoryMap::touches(uintptr_t base, size_t bytes) const {
  const std::lock_guard lock(mutex_);
  return meets(base, bytes);
}

bool MemoryMap::add_if_free(Range range) {
  const std::lock_guard lock(mutex_);
  if (meets(range.base, range.bytes)) return false;
  insert(std::move(range));
  return true;
}

std::optional<Range> MemoryMap::find(uintptr_t address) const {
  const std::lock_guard lock(mutex_);
  const Range* const range = containing(address);
  return range == nullptr ? std::nullopt : std::optional<Range>{*range};
}

std::optional<Range> MemoryMap::remove(uintptr_t base, Kind kind) {
  const std::lock_guard lock(mutex_);
  const auto found = ranges_.find(base);
  if (found == ranges_.end() || found->second.kind != kind) return std::nullopt;
  std::optional<Range> range{std::move(found->second)};
  ranges_.erase(found);
  return range;
}

bool MemoryMap::covers(uintptr_t base, size_t bytes) const {
  const std::lock_guard lock(mutex_);
  const uintptr_t end = base + bytes;
  const Range* range = containing(base);
  while (range != nullptr && range->end() < end) range = containing(range->end());
  return range != nullptr;
}

std::vector<Range> MemoryMap::mapped_in(uintptr_t base, size_t bytes) const {
  const std::lock_guard lock(mutex_);
  std::vector<Range> found;
  uintptr_t next = base;
  while (next < base + bytes) {
    const auto range = ranges_.find(next);
    if (range == ranges_.end() || range->second.kind != Kind::mapped || range->second.end() > base + bytes)
      return {};
    found.push_back(range->second);
    next = range->second.end();
  }
  return found;
}

void MemoryMap::set_access(uintptr_t base, CUmemAccess_flags access) {
  const std::lock_guard lock(mutex_);
  if (const auto found = ranges_.find(base); found != ranges_.end()) found->second.access = access;
}

std::optional<Range> MemoryMap::open_again(const std::string& name) {
  const std::lock_guard lock(mutex_);
  for (auto& [base, range] : ranges_) {
    if (range.kind != Kind::imported || range.physical->name() != name) continue;
    ++range.opened;
    return range;
  }
  return std::nullopt;
}

std::optional<Range> MemoryMap::close_once(uintptr_t base, bool& found) {
  const std::lock_guard lock(mutex_);
  const auto entry = ranges_.find(base);
  found = entry != ranges_.end() && entry->second.kind == Kind::imported;
  if (!found || --entry->second.opened != 0) return std::nullopt;
  std::optional<Range> range{std::move(entry->second)};
  ranges_.erase(entry);
  return range;
}

void MemoryMap::forget_device(int device) {
  const std::lock_guard lock(mutex_);
  for (auto entry = ranges_.begin(); entry != ranges_.end();) {
    const Range& range = entry->second;
    const bool ends =
        range.device == device && (range.kind == Kind::allocated || range.kind == Kind::imported);
    if (ends) give_pages_back(range.pages, range.page_bytes);
    entry = ends ? ranges_.erase(entry) : std::next(entry);
  }
}

}  // namespace tutti::emulation
