// What the 32 bits say that come with a write.
//
//   bits 30-31: what it is | bit 29: counter | bits 0-28: number
//
// A *record* lies in the mailbox, at its number modulo kRecords. A *bare signal* is a record that needs no place there: the counter goes up by one, and the
// rest of what a signal says is as in the record before; if the write had data, they are its slice. An *acknowledgement* says how many records have been applied.
// Numbers are those of the port, of which the low bits are enough: no two that could be meant are so far apart.
#pragma once

#include <cstdint>

namespace tutti::verbs {

struct Immediate {
  enum class Kind : uint8_t { record = 0, bare_signal = 1, acknowledgement = 2 };
  Kind kind = Kind::record;
  uint8_t index = 0;  // of the counter, where it is a bare signal
  uint32_t number = 0;
};

inline constexpr unsigned kNumberBits = 29;
inline constexpr uint32_t kNumberMask = (uint32_t{1} << kNumberBits) - 1;

constexpr uint32_t pack(Immediate::Kind kind, uint64_t number, uint8_t index = 0) {
  return uint32_t{static_cast<uint8_t>(kind)} << 30 | (uint32_t{index} & 1) << kNumberBits |
         (static_cast<uint32_t>(number) & kNumberMask);
}

constexpr Immediate unpack_immediate(uint32_t bits) {
  return {.kind = static_cast<Immediate::Kind>(bits >> 30),
          .index = static_cast<uint8_t>(bits >> kNumberBits & 1),
          .number = bits & kNumberMask};
}

/// The number with these low bits that is nearest to `near`.
constexpr uint64_t whole_number(uint32_t low, uint64_t near) {
  constexpr uint32_t kHalf = uint32_t{1} << (kNumberBits - 1);
  const uint32_t ahead = (low - static_cast<uint32_t>(near)) & kNumberMask;
  if (ahead < kHalf) return near + ahead;
  const uint64_t behind = uint64_t{kNumberMask} + 1 - ahead;
  return near >= behind ? near - behind : near + ahead;
}

}  // namespace tutti::verbs
