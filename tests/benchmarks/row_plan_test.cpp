// In which order libraries take turns.
#include "benchmarks/row_plan.h"

#include <map>
#include <set>
#include <utility>

#include "tests/catch.h"

using namespace tutti::bench;

TEST_CASE("of two libraries the first changes with every iteration") {
  for (int64_t i = 0; i < 10; ++i) {
    CHECK(whose_turn(i, 0, 2) == static_cast<size_t>(i % 2));
    CHECK(whose_turn(i, 1, 2) == static_cast<size_t>(1 - i % 2));
  }
}

TEST_CASE("each library has each place and each predecessor equally often") {
  for (size_t libraries = 1; libraries <= 7; ++libraries) {
    const size_t rounds = 2 * libraries;
    std::map<std::pair<size_t, size_t>, size_t> places;
    std::map<std::pair<size_t, size_t>, size_t> successions;
    for (size_t i = 0; i < rounds; ++i) {
      std::set<size_t> seen;
      for (size_t turn = 0; turn < libraries; ++turn) {
        const size_t now = whose_turn(static_cast<int64_t>(i), turn, libraries);
        seen.insert(now);
        ++places[{now, turn}];
        if (turn > 0) ++successions[{whose_turn(static_cast<int64_t>(i), turn - 1, libraries), now}];
      }
      CHECK(seen.size() == libraries);
      CHECK(*seen.rbegin() == libraries - 1);
    }
    CHECK(places.size() == libraries * libraries);
    for (const auto& [place, times] : places) CHECK(times == 2);
    CHECK(successions.size() == libraries * (libraries - 1));
    for (const auto& [pair, times] : successions) CHECK(times == 2);
  }
}
