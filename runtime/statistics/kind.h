// The kinds of operations that statistics are kept for: a collective and a class of sizes, in one byte.
//
// Size class 0 is no bytes at all (every barrier); class 1 is up to 64 bytes, and each further one up to four times as many; the last is
// open. The size is that of the call: count times the size of an element.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "core/types.h"

namespace tutti::statistics {

inline constexpr int kSizeClasses = 14;
inline constexpr int kKindsPerCollective = 16;  // a power of two: a kind is taken apart by shifts
inline constexpr uint64_t kSmallestClassBytes = 64;

/// Never 0, so that 0 can mean "none".
using Kind = uint8_t;
/// All kinds for which there was no room any more (ClassSlot).
inline constexpr Kind kOtherKinds = 255;
static_assert(kSizeClasses <= kKindsPerCollective && 1 + kCollectives * kKindsPerCollective <= kOtherKinds);

constexpr int size_class_of(uint64_t bytes) {
  if (bytes == 0) return 0;
  constexpr int kSmallestBits = std::bit_width(kSmallestClassBytes - 1);
  const int bits = std::max(static_cast<int>(std::bit_width(bytes - 1)), kSmallestBits);
  return std::min(1 + (bits - kSmallestBits + 1) / 2, kSizeClasses - 1);
}

/// The largest size of a class; UINT64_MAX for the last one.
constexpr uint64_t most_bytes(int size_class) {
  if (size_class == 0) return 0;
  return size_class == kSizeClasses - 1 ? UINT64_MAX : kSmallestClassBytes << (2 * (size_class - 1));
}

constexpr uint64_t least_bytes(int size_class) {
  return size_class == 0 ? 0 : most_bytes(size_class - 1) + 1;
}

constexpr Kind kind_of(Collective collective, uint64_t bytes) {
  return static_cast<Kind>(1 + static_cast<int>(collective) * kKindsPerCollective + size_class_of(bytes));
}

// Not of kOtherKinds.
constexpr Collective collective_of(Kind kind) {
  return static_cast<Collective>((kind - 1) / kKindsPerCollective);
}
constexpr int size_class_of_kind(Kind kind) {
  return (kind - 1) % kKindsPerCollective;
}

}  // namespace tutti::statistics
