// A packet: one cache line in which data and flag travel together, so that a small message needs one trip.
//
//   byte  0 ........................... 55 | 56 ........ 63
//         56 bytes of user data            | flag: epoch (high 32 bits) | signature (low 32 bits)
//
// The writer stores the data, then publishes the flag (release). A reader that sees the expected flag
// (acquire) may read the data. A packet line is never used for anything else, so its flag word is always a
// flag (or zero). Every line of a message carries the same flag; a message of no bytes is one line whose data
// are not looked at.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/sync.h"

namespace tutti {

inline constexpr size_t kPacketData = 56;

struct alignas(kCacheLine) Packet {
  unsigned char data[kPacketData];
  Counter flag;
};
static_assert(sizeof(Packet) == kCacheLine && offsetof(Packet, flag) == kPacketData);

/// Lines that a message of `bytes` bytes takes; never 0. Element sizes 1, 2, 4, 8 divide kPacketData: no
/// element is split.
constexpr size_t packets_for(size_t bytes) {
  return bytes == 0 ? 1 : (bytes + kPacketData - 1) / kPacketData;
}

}  // namespace tutti
