// Time stamps around a call.
#pragma once

#include <cstdint>

#include "core/clock.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tutti::bench {

/// Ticks after everything before has been done: a processor that runs ahead would otherwise read the counter while
/// the call's last loads are still under way.
inline uint64_t stamp() {
#if defined(__x86_64__)
  _mm_lfence();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
  return ticks();
}

}  // namespace tutti::bench
