// Handles of physical memory (cuMemCreate) and reserved address ranges (cuMemAddressReserve).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "tests/gpu/emulation/physical.h"

namespace tutti::emulation {

inline constexpr size_t kGranularity = size_t{2} << 20;

/// Memory lives until its handles are released and nothing shows it any more.
class Handles {
 public:
  CUmemGenericAllocationHandle add(std::shared_ptr<Physical> memory);
  /// One more reference to the handle of this memory, made new where all have been released.
  CUmemGenericAllocationHandle retain(const std::shared_ptr<Physical>& memory);
  bool release(CUmemGenericAllocationHandle handle);
  /// Null for what is no handle.
  std::shared_ptr<Physical> find(CUmemGenericAllocationHandle handle);

  void add_reservation(uintptr_t base, size_t bytes);
  bool remove_reservation(uintptr_t base, size_t bytes);
  bool is_reserved(uintptr_t base, size_t bytes);

 private:
  struct Entry {
    std::shared_ptr<Physical> memory;
    unsigned references;
  };

  std::mutex mutex_;
  std::map<CUmemGenericAllocationHandle, Entry> entries_;
  std::map<uintptr_t, size_t> reservations_;
  CUmemGenericAllocationHandle last_ = 0;
};

Handles& handles();

/// What cuMemCreate was asked for.
CUmemAllocationProp properties_of(const Physical& memory);

}  // namespace tutti::emulation
