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

bool near(double a, double b) {
  return std::abs(a - b) < 0.01;
}

/// Stamps of each rank, combined by as many threads; what each of them has then.
std::vector<Trace> combined(const std::vector<std::vector<Stamps>>& by_rank, bool keep_lateness) {
  const int ranks = static_cast<int>(by_rank.size());
  std::vector<tutti::Communicator> control = tutti::Communicator::create_local(ranks);
  std::vector<tutti::Communicator> measured = tutti::Communicator::create_local(ranks);
  std::vector<Trace> traces(by_rank.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    threads.emplace_back([&, rank] {
      World world(Launch::local, std::move(control[rank]), std::move(measured[rank]));
      Combiner(world, keep_lateness, at(0)).add(by_rank[rank], traces[rank]);
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
      {{at(100), at(160)}, {at(200), at(260)}, {at(330), at(345)}},
      {{at(110), at(161)}, {at(205), at(262)}, {at(300), at(344)}},
      {{at(150), at(162)}, {at(250), at(261)}, {at(310), at(343)}},
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
    stamps[0].push_back({at(start), at(start + 50)});
    stamps[1].push_back({at(start + i % 40), at(start + 50)});
  }
  const Trace trace = combined(stamps, false)[1];
  REQUIRE(trace.skew_us.size() == kMany);
  CHECK(trace.late_us.empty());
  size_t wrong = 0;
  for (size_t i = 0; i < kMany; ++i) wrong += near(trace.skew_us[i], static_cast<double>(i % 40)) ? 0 : 1;
  CHECK(wrong == 0);
}

TEST_CASE("one rank has no skew") {
  const Trace trace = combined({{{at(1), at(3)}}}, true)[0];
  CHECK((trace.us.size() == 1 && trace.skew_us.empty() && trace.late_us.empty()));
  CHECK_FALSE(arrivals_of(trace));
}
