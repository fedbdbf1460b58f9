// Slots between guards, by which it is seen whether somebody wrote beside them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace port_test {

class GuardedSlots {
 public:
  explicit GuardedSlots(size_t bytes) : memory_(bytes + 2 * kGuard, kUntouched) {}

  std::span<std::byte> slots() { return std::span(memory_).subspan(kGuard, memory_.size() - 2 * kGuard); }
  bool are_guards_whole() const {
    const auto is_untouched = [](std::byte b) { return b == kUntouched; };
    return std::all_of(memory_.begin(), memory_.begin() + kGuard, is_untouched) &&
           std::all_of(memory_.end() - kGuard, memory_.end(), is_untouched);
  }

 private:
  static constexpr ptrdiff_t kGuard = 256;
  static constexpr std::byte kUntouched{0x5a};
  std::vector<std::byte> memory_;
};

}  // namespace port_test
