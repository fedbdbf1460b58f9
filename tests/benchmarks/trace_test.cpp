// Stamps of several ranks whose skew, service and culprit are known become a trace that says so.
#include "benchmarks/trace.h"

#include <cmath>
#include <thread>

#include "core/clock.h"
#include "tests/catch.h"

using namespace tutti::bench;

namespace {

constexpr uint64_t kUs = 1000;

uint64_t at(uint64_t us) {
  return tutti::ns_to_ticks((1'000'000 + us) * kUs);
}

/// A call that was due when it began.
Stamps called(uint64_t arrival, uint64_t exit) {
  return {at(arrival), at(arrival), at(exit)};
}

bool near(double a, double b) {
  return std::abs(a - b) < 0.01;
}

/// Stamps of each rank, combined by as many threads; what each of them has then.
std::vector<Trace> combined(const std::vector<std::vector<Stamps>>& by_rank, bool keep_lateness,
                            int64_t calls = 1) {
  const int ranks = static_cast<int>(by_rank.size());
  std::vector<tutti::Communicator> control = tutti::Communicator::create_local(ranks);
  std::vector<tutti::Communicator> measured = tutti::Communicator::create_local(ranks);
  std::vector<Trace> traces(by_rank.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    threads.emplace_back([&, rank] {
      World world(Launch::local, std::move(control[rank]), std::move(measured[rank]));
      Combiner(world, keep_lateness, calls, at(0)).add(by_rank[rank], traces[rank]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return traces;
}

}  // namespace

TEST_CASE("skew, service and culprit of known stamps") {
  tutti::calibrate_ticks();
  // Rank 2 is late twice, rank 0 once. The late rank's own time is the shortest: it waits for nobody.
  const std::vector<std::vector<Stamps>> stamps{
      {called(100, 160), called(200, 260), called(330, 345)},
      {called(110, 161), called(205, 262), called(300, 344)},
      {called(150, 162), called(250, 261), called(310, 343)},
  };
  const std::vector<Trace> traces = combined(stamps, true);
  for (const Trace& trace : traces) {
    REQUIRE(trace.us.size() == 3);
    CHECK((near(trace.us[0], 60) && near(trace.us[1], 60) && near(trace.us[2], 44)));
    CHECK((near(trace.skew_us[0], 50) && near(trace.skew_us[1], 50) && near(trace.skew_us[2], 30)));
    CHECK((near(trace.service_us[0], 12) && near(trace.service_us[1], 12) && near(trace.service_us[2], 15)));
    CHECK(trace.times_last == std::vector<int64_t>{1, 0, 2});
    REQUIRE(trace.late_us.size() == 3);
    CHECK((near(trace.late_us[0][0], 0) && near(trace.late_us[1][0], 10) && near(trace.late_us[2][0], 50)));
    CHECK((near(trace.late_us[0][2], 30) && near(trace.late_us[1][2], 0) && near(trace.late_us[2][2], 10)));
    const std::optional<Arrivals> arrivals = arrivals_of(trace);
    REQUIRE(arrivals);
    CHECK(near(arrivals->skew_p50_us, 50));
    CHECK(near(arrivals->service_p50_us, 12));
    CHECK_FALSE(arrivals->service_p99_us);
    CHECK(arrivals->culprit_rank == 2);
    CHECK(std::abs(arrivals->culprit_share - 2.0 / 3) < 1e-9);
  }
  CHECK((near(traces[0].start_us[0], 100) && near(traces[0].start_us[2], 330)));
}

TEST_CASE("more stamps than are exchanged at once stay in order") {
  tutti::calibrate_ticks();
  constexpr size_t kMany = 10'000;
  std::vector<std::vector<Stamps>> stamps(2);
  for (size_t i = 0; i < kMany; ++i) {
    const uint64_t start = 100 * i;
    stamps[0].push_back(called(start, start + 50));
    stamps[1].push_back(called(start + i % 40, start + 50));
  }
  const Trace trace = combined(stamps, false)[1];
  REQUIRE(trace.skew_us.size() == kMany);
  CHECK(trace.late_us.empty());
  size_t wrong = 0;
  for (size_t i = 0; i < kMany; ++i) wrong += near(trace.skew_us[i], static_cast<double>(i % 40)) ? 0 : 1;
  CHECK(wrong == 0);
}

TEST_CASE("one rank has no skew") {
  const Trace trace = combined({{called(1, 3)}}, true)[0];
  CHECK((trace.us.size() == 1 && trace.skew_us.empty() && trace.late_us.empty()));
  CHECK_FALSE(arrivals_of(trace));
}

TEST_CASE("a time counts from when the call was due, service from when all were there") {
  tutti::calibrate_ticks();
  const std::vector<std::vector<Stamps>> stamps{{{at(100), at(140), at(150)}}, {{at(100), at(100), at(149)}}};
  const Trace trace = combined(stamps, false)[0];
  CHECK(near(trace.us[0], 50));
  CHECK(near(trace.skew_us[0], 40));
  CHECK(near(trace.service_us[0], 10));
}

TEST_CASE("the time of a chain is that of one call, its skew is not divided") {
  tutti::calibrate_ticks();
  const Trace trace = combined({{called(100, 180)}, {called(140, 180)}}, false, 4)[0];
  CHECK(near(trace.us[0], 20));
  CHECK(near(trace.skew_us[0], 40));
  CHECK(near(trace.service_us[0], 10));
  CHECK(near(trace.max_us, 20));
}

TEST_CASE("windows are of all samples, of which a long row keeps every n-th") {
  Trace trace;
  const auto add = [&trace](int from, int to) {
    const size_t first = trace.us.size();
    for (int i = from; i < to; ++i) {
      trace.start_us.push_back(1e6 * i);
      trace.us.push_back(i);
      ++trace.iterations;
    }
    trace.end_window(first);
    trace.thin(first, 100);
  };
  add(0, 80);
  CHECK((trace.every == 1 && trace.us.size() == 80));
  add(80, 160);
  CHECK((trace.every == 2 && trace.us.size() == 80));
  CHECK((trace.us[1] == 2 && trace.us[79] == 158));
  add(160, 260);
  CHECK((trace.every == 4 && trace.us.size() == 65));
  CHECK((trace.us[1] == 4 && trace.us[64] == 256 && trace.start_us[64] == 256e6));
  REQUIRE(trace.windows.size() == 3);
  CHECK((trace.windows[1].iterations == 80 && trace.windows[1].p50_us == 119 &&
         trace.windows[1].max_us == 159));
  CHECK((trace.windows[2].start_s == 160 && trace.windows[2].iterations == 100));
  CHECK((trace.windows[2].p99_us && !trace.windows[1].p99_us));
  trace.drop_samples();
  CHECK((trace.us.empty() && trace.windows.size() == 3 && trace.iterations == 260));
}
