// What time it is: nanoseconds of the monotonic clock, and a cheaper tick counter for stamps on the data path.
//
// now_ns() is CLOCK_MONOTONIC (about 23 ns a call). ticks() is the processor's own counter (rdtsc, cntvct:
// about 10 ns) where it runs at a constant rate, else now_ns(); which of them is decided once per process, so
// differences of ticks always make sense. rdtsc is not ordered with neighbouring loads and stores: good for
// stamps, not for measuring a handful of instructions.
//
// The rate of the ticks is measured against now_ns() on the first conversion (about 1 ms, once, thread-safe).
// Call calibrate_ticks() at set-up to keep that off the data path.
#pragma once

#include <ctime>

#include <atomic>
#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace tutti {

inline uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

namespace clock_detail {

enum class TickSource : uint8_t { undecided = 0, processor = 1, monotonic_clock = 2, disturbed = 3 };
extern std::atomic<TickSource> tick_source;

inline uint64_t processor_ticks() {
#if defined(__x86_64__)
  return __rdtsc();
#elif defined(__aarch64__)
  uint64_t value = 0;
  asm volatile("mrs %0, cntvct_el0" : "=r"(value));
  return value;
#else
  return now_ns();
#endif
}

/// Decides the source where that has not been done yet, then reads it.
uint64_t ticks_slow();

}  // namespace clock_detail

/// A stamp; only differences have a meaning, and ticks_to_ns() turns them into time.
inline uint64_t ticks() {
  using clock_detail::TickSource;
  if (clock_detail::tick_source.load(std::memory_order_relaxed) == TickSource::processor) [[likely]] {
    return clock_detail::processor_ticks();
  }
  return clock_detail::ticks_slow();
}

/// Both conversions round to nearest and saturate: an endless timeout stays endless.
uint64_t ticks_to_ns(uint64_t ticks);
uint64_t ns_to_ticks(uint64_t nanoseconds);

/// Measures the rate of the ticks unless that has been done.
void calibrate_ticks();

/// For tests of what compares clocks of several hosts: from now on ticks() of this process is ahead by `offset_ns`, and runs faster by
/// `drift_ppm` than its calibrated rate says. It depends on nothing else, so processes that say the same still share a counter.
/// Once per process: later calls change nothing.
void disturb_ticks(uint64_t offset_ns, uint64_t drift_ppm);

}  // namespace tutti
