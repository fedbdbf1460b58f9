// Statistics of several nodes, piece by piece: what a node tells, and what rank 0 makes of it.
#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "runtime/statistics/exporter.h"
#include "runtime/statistics/job.h"
#include "runtime/statistics/recorder.h"
#include "runtime/statistics/report.h"
#include "tests/catch.h"

using namespace tutti;
using namespace tutti::statistics;

namespace {

struct alignas(kCacheLine) Line {
  std::byte bytes[kCacheLine];
};

/// A node in plain memory, whose ranks are 10, 11, ...
class TellingNode {
 public:
  explicit TellingNode(int ranks, Selection selection = {}, uint64_t first_epoch = 1)
      : memory_(static_cast<size_t>(ranks)) {
    std::vector<int> names;
    for (auto& each : memory_) {
      each.resize((NodePart::bytes(ranks) + kCacheLine - 1) / kCacheLine);
      parts_.push_back(NodePart::at(each.data()->bytes, ranks));
      names.push_back(10 + static_cast<int>(names.size()));
    }
    for (int r = 0; r < ranks; ++r)
      recorders_.push_back(std::make_unique<StatisticsRecorder>(parts_, r, first_epoch, true));
    exporter_ = std::make_unique<StampExporter>(parts_, 3, names, first_epoch, selection);
  }

  /// All ranks, the one at `last` at the end.
  void pass(uint64_t epoch, size_t last) {
    for (size_t p = 0; p < recorders_.size(); ++p) {
      if (p != last) recorders_[p]->arrive();
    }
    recorders_[last]->arrive();
    for (auto& recorder : recorders_) {
      recorder->idle();
      recorder->leave(epoch, {.collective = Collective::all_reduce, .count = 5});
    }
  }

  std::vector<StampBatch> collect(const ClockMap& map = {}) {
    std::vector<StampBatch> batches;
    pause_ns_ = exporter_->collect(map, batches);
    return batches;
  }
  uint64_t pause_ns() const { return pause_ns_; }

 private:
  std::vector<std::vector<Line>> memory_;
  std::vector<NodePart> parts_;
  std::vector<std::unique_ptr<StatisticsRecorder>> recorders_;
  std::unique_ptr<StampExporter> exporter_;
  uint64_t pause_ns_ = 0;
};

size_t count_of(const std::vector<StampBatch>& batches) {
  size_t count = 0;
  for (const StampBatch& batch : batches) count += batch.epochs.size();
  return count;
}

/// Of a node in an operation, in ns after 1000.
EpochSummary told(uint64_t epoch, int culprit, uint64_t first, uint64_t before, uint64_t last,
                  uint64_t exit) {
  return {.epoch = epoch,
          .kind = kind_of(Collective::barrier, 0),
          .culprit = culprit,
          .first = 1000 + first,
          .before_last = 1000 + before,
          .last = 1000 + last,
          .last_exit = 1000 + exit};
}

StampBatch batch_of(int node, uint64_t error_ns, std::vector<EpochSummary> epochs) {
  StampBatch batch = {.node = node, .error_ns = error_ns};
  for (const EpochSummary& e : epochs) batch.through = std::max(batch.through, e.epoch);
  batch.epochs = std::move(epochs);
  return batch;
}

}  // namespace

TEST_CASE("a node tells of each operation once, the newest included") {
  for (const int ranks : {1, 2, 3}) {
    for (const uint64_t first : {uint64_t{1}, uint64_t{100}, uint64_t{1} << 56}) {
      TellingNode node(ranks, {}, first);
      std::vector<int> told_of(3000, 0);
      uint64_t epoch = first;
      for (const uint64_t step : {1, 2, 15, 16, 17, 100, 250, 7, 256, 1}) {
        for (uint64_t i = 0; i < step; ++i, ++epoch) node.pass(epoch, epoch % static_cast<uint64_t>(ranks));
        const std::vector<StampBatch> batches = node.collect();
        REQUIRE(batches.back().through == epoch - 1);
        for (const StampBatch& batch : batches) {
          CHECK(batch.node == 3);
          CHECK(batch.lost == 0);
          for (const EpochSummary& e : batch.epochs) {
            ++told_of[e.epoch - first];
            REQUIRE(e.culprit == 10 + static_cast<int>(e.epoch % static_cast<uint64_t>(ranks)));
            REQUIRE(e.kind == kind_of(Collective::all_reduce, 20));
            REQUIRE((e.first <= e.before_last && e.before_last <= e.last && e.last <= e.last_exit));
          }
        }
      }
      for (uint64_t i = 0; i < epoch - first; ++i) REQUIRE(told_of[i] == 1);
    }
  }
}

TEST_CASE("what was overwritten is lost and counted, and the pause becomes shorter") {
  TellingNode node(2);
  constexpr uint64_t kMany = 3 * ExportRing::kRecordsOfNode;
  static_cast<void>(node.collect());
  CHECK(node.pause_ns() <= 20'000'000);
  for (int i = 0; i < 10; ++i) static_cast<void>(node.collect());
  CHECK(node.pause_ns() == 250'000'000);
  for (uint64_t epoch = 1; epoch <= kMany; ++epoch) node.pass(epoch, 0);
  const std::vector<StampBatch> batches = node.collect();
  CHECK(batches.back().through == kMany);
  CHECK(batches.back().lost > 0);
  CHECK(count_of(batches) + batches.back().lost == kMany);
  CHECK(count_of(batches) > ExportRing::kRecordsOfNode / 2);
  CHECK(batches.size() > 1);
  CHECK(node.pause_ns() < 100'000'000);
}

TEST_CASE("times are those of rank 0, and the error is that of the worst") {
  TellingNode node(1);
  const uint64_t before = stamp_clock_ns();
  node.pass(1, 0);
  const uint64_t after = stamp_clock_ns();
  const ClockMap map = {
      .from = 0, .to = 5000, .error_ns = 77, .growth = 1e-3, .begin = 0, .end = after - 1'000'000};
  const std::vector<StampBatch> batches = node.collect(map);
  REQUIRE(count_of(batches) == 1);
  const EpochSummary e = batches[0].epochs[0];
  CHECK(e.first >= before + 5000);
  CHECK(e.last_exit <= after + 5000);
  CHECK(batches[0].error_ns >= 77);
  CHECK(batches[0].error_ns <= 77 + 1002);
}

TEST_CASE("all nodes of a large job leave out the same operations") {
  CHECK(Selection::for_nodes(1).one_in == 1);
  CHECK(Selection::for_nodes(8).one_in == 1);
  CHECK(Selection::for_nodes(9).one_in == 2);
  CHECK(Selection::for_nodes(1000).one_in == 128);
  const Selection selection = {2};
  TellingNode two(2, selection);
  TellingNode one(1, selection);
  std::vector<uint64_t> of_two;
  std::vector<uint64_t> of_one;
  const auto note = [](const std::vector<StampBatch>& batches, std::vector<uint64_t>& epochs) {
    for (const StampBatch& batch : batches) {
      CHECK(batch.lost == 0);
      for (const EpochSummary& e : batch.epochs) epochs.push_back(e.epoch);
    }
  };
  for (uint64_t epoch = 1; epoch < 5000; ++epoch) {
    two.pass(epoch, 0);
    one.pass(epoch, 0);
    if (epoch % 100 == 0) note(two.collect(), of_two);
    if (epoch % 90 == 0) note(one.collect(), of_one);
  }
  note(two.collect(), of_two);
  note(one.collect(), of_one);
  std::sort(of_two.begin(), of_two.end());
  std::sort(of_one.begin(), of_one.end());
  CHECK(of_two == of_one);
  CHECK(of_two.size() == 1023 + 1024 + (5000 - 4096));
}

TEST_CASE("skew, service, culprit and lateness over nodes, and what the clocks leave uncertain") {
  // Ranks 0 and 1 on node 0, rank 2 on node 1, ranks 3 and 4 on node 2.
  const std::vector<int> node_of = {0, 0, 1, 2, 2};
  JobFigures job(node_of, 1, {});
  // Rank 3 is 400 ns after rank 4, which is the last but one of all.
  job.hear(batch_of(0, 0, {told(1, 1, 0, 0, 100, 1500)}));
  job.hear(batch_of(2, 50, {told(1, 3, 200, 200, 600, 1000)}));
  CHECK(job.summary().derived == 0);
  CHECK_FALSE(job.wait_for(1, 0));
  job.hear(batch_of(1, 30, {told(1, 2, 150, 150, 150, 900)}));
  CHECK(job.wait_for(1, 0));
  JobSummary summary = job.summary();
  CHECK(summary.derived == 1);
  REQUIRE(summary.kinds.size() == 1);
  CHECK(summary.kinds[0].skew.max() == 600);
  CHECK(summary.kinds[0].service.max() == 900);
  CHECK(summary.kinds[0].uncertainty.most_ns == 80);
  CHECK(summary.ranks[3].times_last == 1);
  CHECK(summary.ranks[3].times_certain == 1);
  CHECK(summary.ranks[3].late_ns == 400);

  // A rank alone on its node is last; the rank before it is on another one. Too close to be certain.
  job.hear(batch_of(1, 30, {told(2, 2, 700, 700, 700, 800)}));
  job.hear(batch_of(2, 50, {told(2, 4, 200, 200, 500, 1000)}));
  job.hear(batch_of(0, 0, {told(2, 1, 0, 0, 640, 1500)}));
  summary = job.summary();
  CHECK(summary.ranks[2].times_last == 1);
  CHECK(summary.ranks[2].times_certain == 0);
  CHECK(summary.ranks[2].late_ns == 60);
  CHECK(summary.kinds[0].skew.max() == 700);
  // Whatever the order in which nodes are heard.
  job.hear(batch_of(0, 0, {told(3, 1, 0, 0, 640, 1500)}));
  job.hear(batch_of(1, 30, {told(3, 2, 700, 700, 700, 800)}));
  job.hear(batch_of(2, 50, {told(3, 4, 200, 200, 500, 1000)}));
  CHECK(job.summary().ranks[2].times_last == 2);
  CHECK(job.summary().ranks[2].late_ns == 120);
}

TEST_CASE("operations that not all nodes tell of are counted, and repetitions and nonsense are not") {
  JobFigures job({0, 1}, 1, {});
  const StampBatch good = batch_of(0, 0, {told(1, 0, 0, 0, 0, 10)});
  job.hear(good);
  job.hear(good);
  CHECK(job.summary().derived == 0);
  job.hear(batch_of(1, 0, {told(1, 1, 5, 5, 5, 9)}));
  job.hear(batch_of(1, 0, {told(1, 1, 5, 5, 5, 9)}));
  CHECK(job.summary().derived == 1);
  // The place of operation 2 is taken by a much later one.
  job.hear(batch_of(0, 0, {told(2, 0, 0, 0, 0, 10)}));
  job.hear(batch_of(0, 0, {told(2 + 16384, 0, 0, 0, 0, 10)}));
  job.hear(batch_of(1, 0, {told(2, 1, 0, 0, 0, 10)}));
  CHECK(job.summary().incomplete == 1);
  CHECK(job.summary().derived == 1);

  StampBatch bad = batch_of(0, 0, {told(3, 0, 0, 0, 0, 10)});
  const auto hear_with = [&](auto change) {
    StampBatch changed = bad;
    change(changed);
    job.hear(changed);
  };
  hear_with([](StampBatch& b) { b.node = 2; });
  hear_with([](StampBatch& b) { b.node = -1; });
  hear_with([](StampBatch& b) { b.epochs[0].culprit = 1; });
  hear_with([](StampBatch& b) { b.epochs[0].culprit = -1; });
  hear_with([](StampBatch& b) { b.epochs[0].culprit = 2; });
  hear_with([](StampBatch& b) { b.epochs[0].kind = 0; });
  hear_with([](StampBatch& b) { b.epochs[0].kind = 254; });
  hear_with([](StampBatch& b) { b.epochs[0].first += 1; });
  job.hear(batch_of(1, 0, {told(3, 1, 0, 0, 0, 10)}));
  CHECK(job.summary().derived == 1);
  job.hear(bad);
  CHECK(job.summary().derived == 2);
}

TEST_CASE("the report of rank 0 has the job's figures, each with its uncertainty") {
  JobFigures job({0, 1}, 1, {});
  job.hear(batch_of(0, 0, {told(1, 0, 0, 0, 0, 3000)}));
  job.hear(batch_of(1, 40, {told(1, 1, 500, 500, 500, 900)}));
  Summary summary;
  summary.ranks.resize(1);
  const Scope scope = {.rank = 0, .size = 2, .node = 0, .nodes = 2, .communicator = 1, .ranks = {0}};
  const nlohmann::json json = nlohmann::json::parse(as_json(summary, scope, job.summary()));
  CHECK(json["scope"] == "ranks of this node");
  const nlohmann::json& of_job = json["job"];
  CHECK(of_job["scope"] == "job");
  CHECK(of_job["derived"] == 1);
  CHECK(of_job["nodes"][1]["clock_uncertainty_ns"] == 40);
  CHECK(of_job["kinds"][0]["collective"] == "barrier");
  CHECK(of_job["kinds"][0]["skew"]["max_ns"] == 500);
  CHECK(of_job["kinds"][0]["skew"]["uncertainty_max_ns"] == 40);
  CHECK(of_job["kinds"][0]["service"]["max_ns"] == 2500);
  CHECK(of_job["kinds"][0]["service"]["uncertainty_mean_ns"] == 40);
  CHECK(of_job["ranks"][1]["times_certain"] == 1);
  CHECK(of_job["ranks"][1]["uncertainty_max_ns"] == 40);
  CHECK(!of_job["ranks"][0].contains("uncertainty_max_ns"));
  CHECK(!nlohmann::json::parse(as_json(summary, scope)).contains("job"));

  const std::string text = as_prometheus(summary, scope, job.summary());
  const auto has = [&](const char* part) { return text.find(part) != std::string::npos; };
  CHECK(has("tutti_job_skew_seconds_count{communicator=\"1\",collective=\"barrier\",bytes_to=\"0\"} 1\n"));
  CHECK(has("tutti_job_last_arrivals_total{communicator=\"1\",rank=\"1\"} 1\n"));
  CHECK(has("tutti_job_certain_last_arrivals_total{communicator=\"1\",rank=\"1\"} 1\n"));
  CHECK(has("tutti_job_clock_uncertainty_seconds{communicator=\"1\",node=\"1\"} 4e-08\n"));
  CHECK(has(
      "tutti_job_uncertainty_seconds_max{communicator=\"1\",collective=\"barrier\",bytes_to=\"0\"} 4e-08\n"));
}
