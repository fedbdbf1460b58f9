// Tags: by what flags and counters tell operations apart.
//
//   epoch (high 32 bits) | signature (low 32 bits)
//
// The signature is a running hash over all calls of a communicator so far, so that two ranks which exchange anything at all compare their
// whole history. It is never 0, so that a tag never equals fresh memory. Plain arithmetic: host and device code share it.
#pragma once

#include <cstdint>

namespace tutti {

/// The history before any call, and after one more. `packed` is all of a call but its count.
inline constexpr uint64_t kNoHistory = 0x9e3779b97f4a7c15;
constexpr uint64_t extend_history(uint64_t history, uint64_t packed, uint64_t count) {
  uint64_t h = (history ^ packed) * 0xff51afd7ed558ccd;
  h ^= h >> 32;
  h = (h ^ count) * 0xc4ceb9fe1a85ec53;
  return h ^ (h >> 29);
}

constexpr uint64_t make_tag(uint64_t epoch, uint64_t history) {
  return epoch << 32 | (history & 0xffffffff) | 1;
}

/// True when `tag` belongs to an operation before the one of `mine`.
constexpr bool is_older(uint64_t tag, uint64_t mine) {
  return static_cast<int32_t>(static_cast<uint32_t>(tag >> 32) - static_cast<uint32_t>(mine >> 32)) < 0;
}

constexpr bool is_same_epoch(uint64_t tag, uint64_t mine) {
  return tag >> 32 == mine >> 32;
}

}  // namespace tutti
