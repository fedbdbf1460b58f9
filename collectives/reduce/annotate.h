// Tells ThreadSanitizer which memory a kernel reads and writes.
//
// Vector loads and stores, above all masked and non-temporal ones, are not (or not everywhere) instrumented by the
// compilers. So every kernel names its operands once, as ranges; then a missing publish or await is reported for
// the whole range, whichever instruction set ran. Without ThreadSanitizer nothing is left of it.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_THREAD__)
#define TUTTI_REDUCE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TUTTI_REDUCE_TSAN 1
#endif
#endif

#if defined(TUTTI_REDUCE_TSAN)
// Entry points of the sanitizer's run-time library; it ships no header for them.
extern "C" {
void __tsan_read_range(void* address, unsigned long bytes);   // NOLINT
void __tsan_write_range(void* address, unsigned long bytes);  // NOLINT
}
#endif

namespace tutti::reduce {
namespace {

#if defined(TUTTI_REDUCE_TSAN)
inline constexpr bool kThreadSanitizer = true;

[[maybe_unused]] inline void note_read(const void* address, size_t bytes) {
  if (bytes != 0) __tsan_read_range(const_cast<void*>(address), bytes);
}

[[maybe_unused]] inline void note_write(void* address, size_t bytes) {
  if (bytes != 0) __tsan_write_range(address, bytes);
}
#else
inline constexpr bool kThreadSanitizer = false;

[[maybe_unused]] [[gnu::always_inline]] inline void note_read(const void*, size_t) {}
[[maybe_unused]] [[gnu::always_inline]] inline void note_write(void*, size_t) {}
#endif

}  // namespace
}  // namespace tutti::reduce
