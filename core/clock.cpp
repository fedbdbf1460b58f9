// Which tick counter this machine has, and how fast it runs.
#include "core/clock.h"

#include "core/sync.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cmath>
#include <mutex>

namespace tutti {
namespace clock_detail {

std::atomic<TickSource> tick_source{TickSource::undecided};

namespace {

bool processor_ticks_are_constant() {
#if defined(__x86_64__)
  // Leaf 0x80000007, EDX bit 8: the time-stamp counter runs at one rate in all power states.
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & (1U << 8)) != 0;
#elif defined(__aarch64__)
  return true;  // the generic timer is constant by definition
#else
  return false;
#endif
}

__extension__ using Wide = unsigned __int128;

/// What disturb_ticks() has made of the counter; written before the source says so.
struct DisturbedCounter {
  bool of_processor = false;
  uint64_t offset = 0;  // ticks
  uint64_t drift_ppm = 0;
};
DisturbedCounter disturbed_counter;

uint64_t disturbed_ticks() {
  constexpr uint64_t kMillion = 1'000'000;
  const uint64_t raw = disturbed_counter.of_processor ? processor_ticks() : now_ns();
  return raw + static_cast<uint64_t>(Wide{raw} * disturbed_counter.drift_ppm / kMillion) +
         disturbed_counter.offset;
}

}  // namespace

uint64_t ticks_slow() {
  // Threads that race here decide the same, and none undoes disturb_ticks().
  if (TickSource source = tick_source.load(std::memory_order_relaxed); source == TickSource::undecided) {
    tick_source.compare_exchange_strong(
        source, processor_ticks_are_constant() ? TickSource::processor : TickSource::monotonic_clock,
        std::memory_order_relaxed);
  }
  switch (tick_source.load(std::memory_order_acquire)) {
    case TickSource::processor:
      return processor_ticks();
    case TickSource::disturbed:
      return disturbed_ticks();
    default:
      return now_ns();
  }
}

namespace {

/// Fixed point: value · factor / 2³². The factor's rounding error is below 1e-8 for counters of 25 MHz to 10 GHz.
constexpr int kFractionBits = 32;

struct TickScale {
  uint64_t ns_per_tick;
  uint64_t ticks_per_ns;
};

struct Stamp {
  uint64_t ticks;
  uint64_t ns;
};

/// Both clocks at one moment. Of several tries the one with the least time between its two tick readings
/// counts: an interruption (or a slow first call) spoils a try, not the stamp.
Stamp stamp_both_clocks() {
  constexpr int kTries = 16;
  Stamp best{};
  uint64_t best_width = UINT64_MAX;
  for (int i = 0; i < kTries; ++i) {
    const uint64_t before = ticks();
    const uint64_t ns = now_ns();
    const uint64_t width = ticks() - before;
    if (width < best_width) {
      best_width = width;
      best = {before + width / 2, ns};
    }
  }
  return best;
}

TickScale scale_of(double ns_per_tick) {
  const double one = std::ldexp(1.0, kFractionBits);
  return {static_cast<uint64_t>(std::llround(ns_per_tick * one)),
          static_cast<uint64_t>(std::llround(one / ns_per_tick))};
}

/// A stamp is good to some 20 ns, so over one millisecond the rate is good to some 0.005 %.
TickScale measure_scale() {
  constexpr uint64_t kBaselineNs = 1'000'000;
  static_cast<void>(ticks());  // decides the source
  if (tick_source.load(std::memory_order_relaxed) != TickSource::processor) return scale_of(1.0);
  const Stamp first = stamp_both_clocks();
  while (now_ns() - first.ns < kBaselineNs) cpu_relax();
  const Stamp last = stamp_both_clocks();
  return scale_of(static_cast<double>(last.ns - first.ns) / static_cast<double>(last.ticks - first.ticks));
}

const TickScale& tick_scale() {
  static const TickScale scale = measure_scale();
  return scale;
}

uint64_t scaled(uint64_t value, uint64_t factor) {
  const Wide half = Wide{1} << (kFractionBits - 1);
  const Wide product = (Wide{value} * factor + half) >> kFractionBits;
  return product > UINT64_MAX ? UINT64_MAX : static_cast<uint64_t>(product);
}

}  // namespace
}  // namespace clock_detail

uint64_t ticks_to_ns(uint64_t ticks) {
  return clock_detail::scaled(ticks, clock_detail::tick_scale().ns_per_tick);
}

uint64_t ns_to_ticks(uint64_t nanoseconds) {
  return clock_detail::scaled(nanoseconds, clock_detail::tick_scale().ticks_per_ns);
}

void calibrate_ticks() {
  clock_detail::tick_scale();
}

void disturb_ticks(uint64_t offset_ns, uint64_t drift_ppm) {
  static std::once_flag once;
  std::call_once(once, [&] {
    using namespace clock_detail;
    calibrate_ticks();  // the rate that it had before
    disturbed_counter = {.of_processor = tick_source.load(std::memory_order_relaxed) == TickSource::processor,
                         .offset = ns_to_ticks(offset_ns),
                         .drift_ppm = drift_ppm};
    tick_source.store(TickSource::disturbed, std::memory_order_release);
  });
}

}  // namespace tutti
