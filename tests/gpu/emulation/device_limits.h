// What one multiprocessor of the emulated device holds (those of an H200), and so how many blocks are resident.
#pragma once

#include <algorithm>
#include <cstddef>

namespace tutti::emulation {

inline constexpr int kMaxThreadsPerBlock = 1024;
inline constexpr int kThreadsPerMultiprocessor = 2048;
inline constexpr int kBlocksPerMultiprocessor = 32;
inline constexpr int kRegisters = 65536;
inline constexpr int kRegistersPerThread = 64;  ///< every emulated kernel says so
inline constexpr int kSharedPerBlock = 48 << 10;
inline constexpr int kSharedPerBlockOptIn = 227 << 10;
inline constexpr int kSharedPerMultiprocessor = 228 << 10;
inline constexpr int kSharedReservedPerBlock = 1 << 10;

/// Blocks of `threads` threads and `shared` bytes of dynamic shared memory on one multiprocessor; 0 where not even one fits.
constexpr int resident_blocks(int threads, size_t shared) {
  if (threads < 1 || threads > kMaxThreadsPerBlock || shared > kSharedPerBlockOptIn) return 0;
  const int in_warps = (threads + 31) / 32 * 32;
  const int by_threads =
      std::min(kThreadsPerMultiprocessor / in_warps, kRegisters / (kRegistersPerThread * in_warps));
  const int by_shared = static_cast<int>(kSharedPerMultiprocessor / (shared + kSharedReservedPerBlock));
  return std::min({kBlocksPerMultiprocessor, by_threads, by_shared});
}
static_assert(resident_blocks(512, 0) == 2);

}  // namespace tutti::emulation
