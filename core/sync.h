// The only two ways in which one rank tells another something through memory.
//
// A *counter* has one writer and only grows. The writer stores everything that the new value promises and
// then publishes it (release); a reader that has seen the value (acquire) sees everything stored before it.
// There are no stand-alone fences: on x86 both are plain moves, and ThreadSanitizer can check every edge.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tutti {

using Counter = std::atomic<uint64_t>;
static_assert(Counter::is_always_lock_free && sizeof(Counter) == 8,
              "counters live in memory shared by processes");

inline constexpr size_t kCacheLine = 64;

/// Makes everything this thread has written visible to whoever sees `value` in `counter`.
inline void publish(Counter& counter, uint64_t value) {
  counter.store(value, std::memory_order_release);
}

/// True once `counter` has reached `value`; then everything published with it is visible. The poll of every
/// await.
inline bool reached(const Counter& counter, uint64_t value) {
  return counter.load(std::memory_order_acquire) >= value;
}

/// One turn of a spin: tells the core that this is a wait loop.
inline void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace tutti
