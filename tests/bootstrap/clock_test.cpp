// Clocks of other nodes: the true time lies where the map says, within the error that the map says. Round trips are made up.
#include "runtime/bootstrap/clock_map.h"

#include <random>

#include "runtime/bootstrap/control_clock.h"
#include "tests/catch.h"

using namespace tutti;

namespace {

constexpr uint64_t kUs = 1000;
constexpr uint64_t kMsNs = 1'000'000;
constexpr uint64_t kSecondNs = 1000 * kMsNs;

/// A peer's clock, and the way to it and back.
struct Peer {
  int64_t offset = 0;
  double drift = 0;
  uint64_t least_out = 10 * kUs;
  uint64_t least_back = 10 * kUs;
  uint64_t jitter = 0;  // mean of what comes on top, exponential
  double spike = 0;     // share of ways that take some milliseconds more

  uint64_t shows(uint64_t time) const {
    return time + static_cast<uint64_t>(offset + static_cast<int64_t>(drift * static_cast<double>(time)));
  }
  uint64_t way(uint64_t least, std::mt19937_64& random) const {
    std::exponential_distribution<double> more(1.0);
    std::uniform_real_distribution<double> share(0, 1);
    uint64_t ns = least + static_cast<uint64_t>(static_cast<double>(jitter) * more(random));
    if (share(random) < spike) ns += static_cast<uint64_t>(3e6 * more(random));
    return ns;
  }
};

uint64_t distance(uint64_t a, uint64_t b) {
  return a > b ? a - b : b - a;
}

/// A burst of round trips at `time`.
void exchange(ClockWatch& watch, const Peer& peer, uint64_t time, std::mt19937_64& random) {
  for (int i = 0; i < 8; ++i) {
    const uint64_t out = peer.way(peer.least_out, random);
    const uint64_t back = peer.way(peer.least_back, random);
    watch.add(time, peer.shows(time + out), time + out + back);
    time += out + back + 2 * kUs;
  }
}

/// How often the truth lay outside, at moments before, between and after the round trips, over a minute.
int outside(const Peer& peer, uint64_t seed, uint64_t* last_error = nullptr) {
  std::mt19937_64 random(seed);
  ClockWatch watch;
  int wrong = 0;
  for (uint64_t i = 0; i < 60; ++i) {
    const uint64_t now = 100 * kSecondNs + i * kSecondNs;
    exchange(watch, peer, now, random);
    const ClockMap map = *watch.map();
    for (const int64_t shift_ms : {-5000, -700, -1, 0, 1, 300, 999, 4000}) {
      const uint64_t time = now + static_cast<uint64_t>(shift_ms * static_cast<int64_t>(kMsNs));
      if (distance(map.map(time), peer.shows(time)) > map.error_at(time)) ++wrong;
    }
    if (last_error != nullptr) *last_error = map.error_at(now + kSecondNs);
  }
  return wrong;
}

}  // namespace

TEST_CASE("the truth lies inside the error, whatever offset, drift, jitter and asymmetry") {
  for (const int64_t offset : {int64_t{0}, int64_t{-90'000'000'000}, int64_t{3'600'000'000'000}}) {
    for (const double drift : {0.0, 3e-6, -4e-5, 2e-4, -4.5e-4}) {
      for (const uint64_t jitter : {uint64_t{0}, 5 * kUs, 100 * kUs}) {
        for (const uint64_t back : {2 * kUs, 10 * kUs, 300 * kUs}) {
          const Peer peer = {offset, drift, 10 * kUs, back, jitter, jitter == 0 ? 0.0 : 0.2};
          CAPTURE(offset, drift, jitter, back);
          CHECK(outside(peer, static_cast<uint64_t>(back) + jitter) == 0);
        }
      }
    }
  }
}

TEST_CASE("the error is of the size of half a round trip, and not more because of jitter and drift") {
  uint64_t error = 0;
  CHECK(outside({.offset = 7'000'000, .drift = 1e-4, .jitter = 20 * kUs, .spike = 0.3}, 1, &error) == 0);
  CHECK(error >= 10 * kUs);
  CHECK(error <= 40 * kUs);
}

TEST_CASE("a single round trip: the error grows with the time since") {
  ClockWatch watch;
  CHECK_FALSE(watch.map());
  watch.add(1000, 51'000, 3001);
  const ClockMap map = *watch.map();
  CHECK(map.map(2000) == 51'000);
  CHECK(map.error_at(2000) >= 1000);
  CHECK(map.error_at(2000) < 1010);
  CHECK(map.error_at(2000 + kSecondNs) >= 500'000);
  CHECK(map.error_at(2000 - 500) >= map.error_at(2000));
  // Nonsense is ignored.
  watch.add(5000, 1, 4000);
  CHECK(watch.map() == map);
}

TEST_CASE("the best round trip of a burst counts") {
  ClockWatch watch;
  watch.add(0, 1'000'000 + 40'000, 80'000);
  watch.add(100'000, 1'000'000 + 105'000, 110'000);
  watch.add(200'000, 1'000'000 + 270'000, 300'000);
  const ClockMap map = *watch.map();
  CHECK(map.error_ns == 5001);
  CHECK(map.map(105'000) == 1'105'000);
}

TEST_CASE("maps one after the other: errors add up") {
  const ClockMap first = {.from = 100,
                          .to = 1'000'100,
                          .drift = 1e-4,
                          .error_ns = 10,
                          .growth = 1e-6,
                          .begin = 100,
                          .end = 10 * kSecondNs};
  const ClockMap second = {.from = 2'000'000,
                           .to = 500,
                           .drift = -2e-5,
                           .error_ns = 20,
                           .growth = 1e-5,
                           .begin = 0,
                           .end = 20 * kSecondNs};
  const ClockMap both = first.then(second);
  for (const uint64_t time : {uint64_t{100}, kSecondNs, 9 * kSecondNs}) {
    CHECK(distance(both.map(time), second.map(first.map(time))) <= 2);
    CHECK(both.error_at(time) == 30);
  }
  CHECK(both.error_at(12 * kSecondNs) >= 30 + 22'000);
  CHECK(both.error_at(50) >= 30);
  // The clock of rank 0 itself.
  CHECK(first.then(ClockMap{}).map(kSecondNs) == first.map(kSecondNs));
  CHECK(ClockMap{}.error_at(UINT64_MAX) == 0);
}

TEST_CASE("processes of one node: calibrated each for itself, the same counter") {
  const uint64_t own = (uint64_t{1} << 32) / 3;
  const uint64_t others = own + own / 20'000;
  const uint64_t ticks = uint64_t{3} << 50;
  const ClockMap map = ClockMap::of_one_counter(ticks, own, others);
  for (const uint64_t t : {ticks, ticks + (uint64_t{1} << 40), ticks - (uint64_t{1} << 40)}) {
    const ClockMap there = ClockMap::of_one_counter(t, own, others);
    CHECK(distance(map.map(there.from), there.to) <= map.error_at(there.from));
  }
}

TEST_CASE("ranks ask their parents, and know the time of rank 0 once these do") {
  ControlClock root(true, false);
  ControlClock middle(false, true);  // on the node of rank 0
  ControlClock leaf(false, false);
  CHECK(root.to_root() == ClockMap{});
  CHECK(root.next_ns() == UINT64_MAX);
  CHECK_FALSE(leaf.to_root());
  const auto burst = [](ControlClock& asker, const ControlClock& asked) {
    int round_trips = 0;
    for (std::optional<std::string> query = asker.begin(0); query; ++round_trips) {
      const uint64_t sent = (*read_numbers(*query))[0];
      CHECK_FALSE(asker.hear(asked.answer(sent + 1)));  // not what was asked
      query = asker.hear(asked.answer(sent));
    }
    return round_trips;
  };
  CHECK(burst(leaf, middle) == 8);
  CHECK_FALSE(leaf.to_root());
  CHECK(burst(middle, root) == 1);
  REQUIRE(middle.to_root());
  CHECK(middle.to_root()->error_ns <= 2);
  burst(leaf, middle);
  REQUIRE(leaf.to_root());
  const uint64_t now = stamp_clock_ns();
  CHECK(distance(leaf.to_root()->map(now), now) <= leaf.to_root()->error_at(now));
  CHECK(leaf.next_ns() > 0);
}
