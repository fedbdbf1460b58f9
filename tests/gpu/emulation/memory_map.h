// What the driver knows about addresses of this process: which range is whose, and of which kind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tests/gpu/emulation/physical.h"

namespace tutti::emulation {

enum class Kind {
  allocated,   ///< cuMemAlloc
  imported,    ///< cuIpcOpenMemHandle
  mapped,      ///< cuMemMap
  pinned,      ///< cuMemHostAlloc
  registered,  ///< cuMemHostRegister
};

struct Range {
  uintptr_t base = 0;  ///< what the caller knows
  size_t bytes = 0;
  Kind kind = Kind::allocated;
  int device = 0;
  uint64_t id = 0;  ///< given by add(), never twice
  uintptr_t pages = 0;
  size_t page_bytes = 0;
  std::shared_ptr<Physical> physical;                        ///< none for host memory
  unsigned opened = 1;                                       ///< times an imported range has been opened
  CUmemAccess_flags access = CU_MEM_ACCESS_FLAGS_PROT_NONE;  ///< of a mapped range

  bool on_device() const { return physical != nullptr; }
  uintptr_t end() const { return base + bytes; }
};

class MemoryMap {
 public:
  void add(Range range);
  /// The same, unless some range has a byte in common with this one.
  bool add_if_free(Range range);
  /// The range that contains the address.
  std::optional<Range> find(uintptr_t address) const;
  /// Takes the range that begins at `base` out, if it is of that kind.
  std::optional<Range> remove(uintptr_t base, Kind kind);
  /// Some range has a byte in common with this one.
  bool touches(uintptr_t base, size_t bytes) const;
  /// Known to the driver from first to last byte, without a gap.
  bool covers(uintptr_t base, size_t bytes) const;
  /// Those that lie within these bytes. None where the bytes are not all mapped, or one of the ranges is cut.
  std::vector<Range> mapped_in(uintptr_t base, size_t bytes) const;
  void set_access(uintptr_t base, CUmemAccess_flags access);
  /// An imported range of that file: one more has opened it.
  std::optional<Range> open_again(const std::string& name);
  /// One fewer has it open. Gives the range back when that was the last; `found` is false where there is none.
  std::optional<Range> close_once(uintptr_t base, bool& found);
  /// The end of a context: its allocations go, and their addresses with them.
  void forget_device(int device);

 private:
  const Range* containing(uintptr_t address) const;
  bool meets(uintptr_t base, size_t bytes) const;
  void insert(Range range);

  mutable std::mutex mutex_;
  std::map<uintptr_t, Range> ranges_;
  uint64_t last_id_ = 0;
};

MemoryMap& memory_map();

inline uintptr_t address_of(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer);
}

}  // namespace tutti::emulation
