// The clocks: they advance, agree with each other, and the calibration is quick, exact and done once.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/thread_group.h"
#include "core/units.h"
#include "tests/catch.h"
#include "tests/core/child.h"

using namespace tutti;

namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

struct Pair {
  uint64_t ticks;
  uint64_t ns;
};

/// Both clocks at one moment, as exact as one of 100 tries was.
Pair read_both() {
  Pair best{};
  uint64_t best_width = kMax;
  for (int i = 0; i < 100; ++i) {
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

/// To the parent, which reads the standard error of its child.
void say(const std::string& text) {
  REQUIRE(write(STDERR_FILENO, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

void sleep_ms(int ms) {
  const timespec time{0, ms * 1'000'000};
  nanosleep(&time, nullptr);
}

}  // namespace

TEST_CASE("the clocks never run backwards on one thread") {
  uint64_t last_ns = now_ns();
  uint64_t last_ticks = ticks();
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t ns = now_ns();
    const uint64_t tick = ticks();
    REQUIRE(ns >= last_ns);
    REQUIRE(tick >= last_ticks);
    last_ns = ns;
    last_ticks = tick;
  }
}

TEST_CASE("ticks convert to the time of the monotonic clock within 0.1 %") {
  calibrate_ticks();
  const Pair start = read_both();
  sleep_ms(300);
  const Pair end = read_both();
  const auto expected = static_cast<double>(end.ns - start.ns);
  const auto converted = static_cast<double>(ticks_to_ns(end.ticks - start.ticks));
  CAPTURE(expected, converted);
  CHECK(expected >= 300e6);
  CHECK(std::abs(converted / expected - 1) < 0.001);
}

TEST_CASE("the two conversions are inverse to within rounding") {
  const std::vector<uint64_t> durations = {1'000,          999'999,           30'000'000,
                                           10'000'000'000, 3'600'000'000'000, 86'400'000'000'000};
  CHECK(ticks_to_ns(0) == 0);
  CHECK(ns_to_ticks(0) == 0);
  for (const uint64_t ns : durations) {
    const auto back = static_cast<double>(ticks_to_ns(ns_to_ticks(ns)));
    CAPTURE(ns, back);
    // One tick may be as long as 40 ns (25 MHz), and the factors are good to 1e-8.
    CHECK(std::abs(back - static_cast<double>(ns)) <= 40 + static_cast<double>(ns) * 1e-7);
  }
}

TEST_CASE("conversions grow with their argument and saturate instead of wrapping") {
  uint64_t last_ns = 0;
  uint64_t last_ticks = 0;
  for (int bit = 0; bit < 64; ++bit) {
    const uint64_t value = uint64_t{1} << bit;
    CHECK(ticks_to_ns(value) >= last_ns);
    CHECK(ns_to_ticks(value) >= last_ticks);
    last_ns = ticks_to_ns(value);
    last_ticks = ns_to_ticks(value);
  }
  // One of the two factors is at least 1, and its result must stay at the end of the range.
  CHECK(std::max(ticks_to_ns(kMax), ns_to_ticks(kMax)) == kMax);
}

TEST_CASE("ticks are disturbed", "[.child-clock-disturbed]") {
  constexpr uint64_t kOffsetNs = 5'000'000'000;
  constexpr uint64_t kDriftPpm = 400;
  const Pair undisturbed = read_both();
  disturb_ticks(kOffsetNs, kDriftPpm);
  disturb_ticks(7 * kOffsetNs, 0);  // too late
  const Pair start = read_both();
  // The drift counts from the counter's own beginning.
  const double since_start = static_cast<double>(ticks_to_ns(undisturbed.ticks)) * kDriftPpm * 1e-6;
  const double gained = static_cast<double>(ticks_to_ns(start.ticks - undisturbed.ticks)) -
                        static_cast<double>(start.ns - undisturbed.ns) - since_start;
  CHECK(std::abs(gained - kOffsetNs) < 1e6);
  sleep_ms(300);
  const Pair end = read_both();
  const auto elapsed = static_cast<double>(end.ns - start.ns);
  say(fmt::format("{:.0f}", (static_cast<double>(ticks_to_ns(end.ticks - start.ticks)) / elapsed - 1) * 1e6));
}

TEST_CASE("disturbed ticks are ahead, and run faster than they are thought to") {
  const ChildResult child = run_test_case("ticks are disturbed", {});
  INFO(child.output);
  CHECK(child.status == 0);
  // The calibration is good to 50 ppm or so.
  CHECK(std::abs(std::atof(child.output.c_str()) - 400) < 200);
}

TEST_CASE("threads that convert first at the same time agree", "[.child-clock-race]") {
  constexpr int kThreads = 8;
  std::vector<uint64_t> results(kThreads);
  ThreadGroup group(kThreads);
  group.run([&](int index) {
    group.barrier();
    results[static_cast<size_t>(index)] = ns_to_ticks(1'000'000'000'000);
  });
  for (const uint64_t result : results) CHECK(result == results[0]);
  say("ran");
}

TEST_CASE("the first conversion prints its own duration", "[.child-clock-first]") {
  const uint64_t start = now_ns();
  calibrate_ticks();
  say(std::to_string(now_ns() - start));
}

TEST_CASE("calibration happens once, also among threads, and takes less than 2 ms") {
  const ChildResult race = run_test_case("threads that convert first at the same time agree", {});
  CHECK(race.status == 0);
  CHECK(race.output == "ran");
  // A busy machine interrupts many children, but not each of fifty.
  uint64_t quickest = kMax;
  for (int i = 0; i < 50 && quickest >= 2'000'000; ++i) {
    const ChildResult child = run_test_case("the first conversion prints its own duration", {});
    REQUIRE(child.status == 0);
    const auto duration = parse_integer(child.output);
    REQUIRE(duration.has_value());
    quickest = std::min(quickest, *duration);
  }
  CAPTURE(quickest);
  CHECK(quickest < 2'000'000);

  calibrate_ticks();
  uint64_t second = kMax;
  for (int i = 0; i < 10; ++i) {
    const uint64_t start = now_ns();
    calibrate_ticks();
    second = std::min(second, now_ns() - start);
  }
  CHECK(second < 100'000);
}
