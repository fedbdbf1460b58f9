// Who is late, among ranks of several nodes whose clocks differ: told by rank 0, and known to the test.
//
// The nodes are emulated on one machine: each has its own TUTTI_NODE_ID, and the counter that its ranks stamp with is ahead by seconds and
// runs too fast, by other amounts than those of the other nodes. The test's own stamps come from the counter as it is, so they are the
// truth for all ranks. As in statistics_test.cpp the natural skew is measured first, then each rank in turn is delayed. At last
// some seconds pass, in which the clocks run apart by more than what is uncertain then.
#include <sys/stat.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/catch.h"
#include "tests/process/support/forked.h"

namespace {

constexpr int kRanks = 4;
constexpr int kNatural = 100;
constexpr int kDelayed = 60;  // for each rank
constexpr int kSpread = 30;   // over some seconds
constexpr int kSpreadBegin = kNatural + kRanks * kDelayed;
constexpr int kIterations = kSpreadBegin + kSpread;
constexpr int64_t kSpreadPause = 100 * kMs;
constexpr int64_t kLeastDelay = 2 * kMs;

/// Ranks 0 and 2 share a node; 1 and 3 are alone.
struct EmulatedNode {
  const char* name;
  const char* offset;
  const char* drift;
};
const EmulatedNode& node_of(int rank) {
  static const EmulatedNode nodes[] = {{"even", "7s", "20"}, {"one", "0", "0"}, {"three", "3000s", "250"}};
  return nodes[rank % 2 == 0 ? 0 : (rank + 1) / 2];
}

void live_on(const EmulatedNode& node) {
  setenv("TUTTI_NODE_ID", node.name, 1);
  setenv("TUTTI_CLOCK_OFFSET", node.offset, 1);
  setenv("TUTTI_CLOCK_DRIFT", node.drift, 1);
}

std::string text_of(tutti_comm_t comm, const char* format) {
  std::string text;
  for (size_t needed = 1;;) {
    text.resize(needed + needed / 4);
    expect_success(tutti_comm_stats(comm, format, text.data(), text.size(), &needed), "tutti_comm_stats");
    if (needed > text.size()) continue;
    text.resize(needed - 1);
    return text;
  }
}

/// What rank 0 says of all operations up to now.
struct Told {
  double skew_ns = 0;  // sums
  double uncertainty_ns = 0;
  std::array<uint64_t, kRanks> times_last{};
};

Told told_by(tutti_comm_t comm, uint64_t operations) {
  const uint64_t start = tutti::now_ns();
  for (;;) {
    const nlohmann::json job = nlohmann::json::parse(text_of(comm, "json"))["job"];
    expect(job["incomplete"] == 0, "operations are incomplete: {}", job.dump());
    expect(tutti::now_ns() - start < 60'000'000'000, "operations are missing: {}", job.dump());
    if (job["derived"] != operations) continue;
    Told told;
    for (const nlohmann::json& kind : job["kinds"]) {
      const nlohmann::json& skew = kind["skew"];
      told.skew_ns += skew["sum_ns"].get<double>();
      told.uncertainty_ns += skew["uncertainty_mean_ns"].get<double>() * skew["count"].get<double>();
    }
    for (size_t r = 0; r < kRanks; ++r) told.times_last[r] = job["ranks"][r]["times_last"];
    return told;
  }
}

/// Shared by the ranks; zero at first.
struct Notes {
  std::array<std::atomic<int>, kIterations> begin;
  std::array<std::atomic<int>, kIterations> end;
  std::array<std::array<std::atomic<uint64_t>, kRanks>, kIterations> arrivals;  // ticks
  std::atomic<int64_t> delay_ns;
  // What rank 0 found.
  std::array<double, kIterations> told_skew_ns;
  std::array<double, kIterations> uncertainty_ns;
  std::array<int, kIterations> told_culprit;
};

struct Truth {
  double skew_ns = 0;
  int culprit = 0;
};

Truth truth_of(const Notes& notes, int iteration) {
  std::array<uint64_t, kRanks> arrivals{};
  for (size_t r = 0; r < kRanks; ++r) arrivals[r] = notes.arrivals[static_cast<size_t>(iteration)][r].load();
  const auto last = std::max_element(arrivals.begin(), arrivals.end());
  const uint64_t skew = *last - *std::min_element(arrivals.begin(), arrivals.end());
  return {static_cast<double>(tutti::ticks_to_ns(skew)), static_cast<int>(last - arrivals.begin())};
}

/// Who is delayed; -1: nobody.
int victim_of(int iteration) {
  return iteration < kNatural || iteration >= kSpreadBegin ? -1 : (iteration - kNatural) / kDelayed;
}

/// Far above the natural skew, and above what the clocks leave uncertain.
void choose_delay(Notes& notes) {
  std::vector<double> skews;
  for (int i = 0; i < kNatural; ++i) skews.push_back(truth_of(notes, i).skew_ns);
  std::sort(skews.begin(), skews.end());
  const double p99 = skews[skews.size() * 99 / 100];
  const double uncertain = notes.uncertainty_ns[kNatural - 1];
  notes.delay_ns = std::max(static_cast<int64_t>(std::max(5 * p99, 10 * uncertain)), kLeastDelay);
}

void sleep_ns(int64_t ns) {
  const timespec pause = {ns / kSecond, static_cast<long>(ns % kSecond)};
  nanosleep(&pause, nullptr);
}

/// All ranks call it together; rank 0 then asks what the library made of it.
void iterate(Notes& notes, tutti_comm_t comm, int rank, int iteration, Told& before) {
  const auto i = static_cast<size_t>(iteration);
  if (iteration >= kSpreadBegin) sleep_ns(kSpreadPause);
  meet_at(notes.begin[i], kRanks);
  if (victim_of(iteration) == rank) sleep_ns(notes.delay_ns);
  float data = 1;
  notes.arrivals[i][static_cast<size_t>(rank)].store(tutti::ticks());
  expect_success(tutti_all_reduce(&data, &data, 1, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr), "an all-reduce");
  meet_at(notes.end[i], kRanks);
  if (rank != 0) return;
  const Told now = told_by(comm, i + 1);
  notes.told_skew_ns[i] = now.skew_ns - before.skew_ns;
  notes.uncertainty_ns[i] = now.uncertainty_ns - before.uncertainty_ns;
  notes.told_culprit[i] = -1;
  for (size_t r = 0; r < kRanks; ++r) {
    if (now.times_last[r] == before.times_last[r] + 1) notes.told_culprit[i] = static_cast<int>(r);
  }
  before = now;
  if (iteration == kNatural - 1) choose_delay(notes);
}

}  // namespace

TEST_CASE("each rank of several nodes is found when it is late, though no clock is right") {
  const tutti_unique_id_t id = make_id();
  Shared<Notes> shared(1);
  Notes& notes = shared[0];
  Forked group;
  for (int rank = 0; rank < kRanks; ++rank) {
    group.start([&, rank] {
      live_on(node_of(rank));
      tutti::calibrate_ticks();
      const OwnRank own(id, rank, kRanks, patient_config());
      Told before;
      for (int iteration = 0; iteration < kIterations; ++iteration)
        iterate(notes, own.get(), rank, iteration, before);
    });
  }
  group.expect_all_good(240 * kSecond);

  constexpr double kCallNs = 50'000;  // from the test's stamp to the library's
  int natural_close = 0;
  int as_meant = 0;
  int right = 0;
  int close = 0;
  double most_uncertain = 0;
  for (int i = 0; i < kIterations; ++i) {
    const auto index = static_cast<size_t>(i);
    const Truth truth = truth_of(notes, i);
    const double wrong_by = std::abs(notes.told_skew_ns[index] - truth.skew_ns);
    if (victim_of(i) < 0) {
      if (wrong_by <= notes.uncertainty_ns[index] + kCallNs) ++natural_close;
      continue;
    }
    most_uncertain = std::max(most_uncertain, notes.uncertainty_ns[index]);
    if (truth.culprit == victim_of(i)) ++as_meant;
    if (notes.told_culprit[index] == truth.culprit) ++right;
    if (wrong_by <= std::max(0.1 * truth.skew_ns, notes.uncertainty_ns[index])) ++close;
  }
  const double uncertain_at_last = notes.uncertainty_ns[kIterations - 1];
  CAPTURE(notes.delay_ns.load(), uncertain_at_last, most_uncertain, natural_close, as_meant, right, close);
  CHECK(natural_close * 10 >= (kNatural + kSpread) * 9);
  CHECK(as_meant * 2 > kRanks * kDelayed);
  CHECK(right * 100 >= kRanks * kDelayed * 99);
  CHECK(close * 100 >= kRanks * kDelayed * 99);
}

TEST_CASE("the file of rank 0 has what all nodes did, the last operations included") {
  const std::string path = fmt::format("/tmp/tutti-hosts-{}.json", getpid());
  const tutti_unique_id_t id = make_id();
  Forked group;
  for (int rank = 0; rank < kRanks; ++rank) {
    group.start([&, rank] {
      live_on(node_of(rank));
      setenv("TUTTI_STATS", path.c_str(), 1);
      const OwnRank own(id, rank, kRanks, patient_config());
      for (int i = 0; i < 20; ++i) expect_working(own.get(), rank, kRanks);
      if (rank == 0) {
        static_cast<void>(told_by(own.get(), 40));
        const std::string text = text_of(own.get(), "prometheus");
        expect(text.find("tutti_job_derived_total{communicator=\"1\"} 40\n") != std::string::npos, "{}",
               text);
        expect(text.find("tutti_job_clock_uncertainty_seconds{communicator=\"1\",node=\"2\"} ") !=
                   std::string::npos,
               "{}", text);
      } else {
        const nlohmann::json stats = nlohmann::json::parse(text_of(own.get(), "json"));
        expect(stats["scope"] == "ranks of this node" && !stats.contains("job"), "{}", stats.dump());
      }
      for (int i = 0; i < 5; ++i) expect_working(own.get(), rank, kRanks);
    });
  }
  group.expect_all_good();
  std::ifstream file(path);
  const nlohmann::json stats = nlohmann::json::parse(file);
  std::filesystem::remove(path);
  CHECK(stats["scope"] == "ranks of this node");
  const nlohmann::json& job = stats["job"];
  INFO(job.dump());
  CHECK(job["scope"] == "job");
  CHECK(job["derived"] == 50);
  CHECK(job["one_in"] == 1);
  REQUIRE(job["nodes"].size() == 3);
  CHECK(job["nodes"][0]["clock_uncertainty_ns"] == 0);
  CHECK(job["nodes"][1]["clock_uncertainty_ns"] > 0);
  REQUIRE(job["ranks"].size() == kRanks);
  uint64_t last = 0;
  for (const nlohmann::json& rank : job["ranks"]) last += rank["times_last"].get<uint64_t>();
  CHECK(last == 50);
  // Clocks that are hours apart give no skew of hours.
  for (const nlohmann::json& kind : job["kinds"]) CHECK(kind["skew"]["max_ns"] < 60'000'000'000);
}
