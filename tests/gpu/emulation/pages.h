// Address space for emulated memory: every range has an inaccessible page behind it, and a range that was given back is inaccessible until
// the next request of its size gets it: the most recently freed first, so that addresses do come back.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tutti::emulation {

inline constexpr size_t kPage = 4096;

constexpr size_t round_up(size_t value, size_t to) {
  return (value + to - 1) / to * to;
}

/// Addresses of devices are numbers.
inline void* pointer_to(uintptr_t address) {
  return reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr)
}

/// Inaccessible; `bytes` is a multiple of kPage, `alignment` a power of two. 0 where there is no room.
uintptr_t take_pages(size_t bytes, size_t alignment = kPage);
void give_pages_back(uintptr_t address, size_t bytes, size_t alignment = kPage);
/// Makes pages inaccessible again, whatever was mapped there.
void hide_pages(uintptr_t address, size_t bytes);

}  // namespace tutti::emulation
