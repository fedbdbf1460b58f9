// After set-up: errors, ranks that are gone, surveys; ranks are threads.
#include <algorithm>
#include <atomic>
#include <string>
#include <thread>

#include "tests/bootstrap/support.h"
#include "tests/catch.h"

using namespace control_test;

namespace {

/// A job whose ranks serve. What a rank does with its control it does in run().
class Job {
 public:
  explicit Job(int size)
      : heard_(static_cast<size_t>(size)), controls_(static_cast<size_t>(size)), group_(size) {
    const UniqueId id = loopback_id();
    std::vector<std::string> names;
    for (int r = 0; r < size; ++r) names.push_back(fmt::format("rank {} (node n{})", r, r / 2));
    group_.run([&](int rank) {
      auto control = Control::join(id, settings_of(rank, size));
      expect_gathers(*control, rank, size);
      control->serve(heard(rank).events(rank), names);
      controls_[static_cast<size_t>(rank)] = std::move(control);
    });
  }
  int size() const { return static_cast<int>(controls_.size()); }
  Heard& heard(int rank) { return heard_[static_cast<size_t>(rank)]; }
  Control& at(int rank) { return *controls_[static_cast<size_t>(rank)]; }
  bool is_open(int rank) const { return controls_[static_cast<size_t>(rank)] != nullptr; }
  void destroy(int rank) { controls_[static_cast<size_t>(rank)].reset(); }

  void await_state(int rank, PeerState wanted) {
    await("a rank's end to be known to all", [&] {
      for (int r = 0; r < size(); ++r) {
        if (r != rank && is_open(r) && at(r).state(rank) != wanted) return false;
      }
      return true;
    });
  }

 private:
  std::vector<Heard> heard_;
  std::vector<std::unique_ptr<Control>> controls_;
  ThreadGroup group_;
};

}  // namespace

TEST_CASE("an error of any rank reaches all others, once") {
  for (const int size : {2, 3, 8, 17}) {
    for (const int from : {0, 1, size - 1}) {
      Job job(size);
      job.at(from).spread(Result::timeout, fmt::format("rank {} waited too long\nfor nothing", from));
      for (int r = 0; r < size; ++r) {
        if (r == from) continue;
        await("the error", [&] { return job.heard(r).report().count > 0; });
        const Heard::Report report = job.heard(r).report();
        CHECK(report.from == from);
        CHECK(report.code == Result::timeout);
        CHECK(report.text == fmt::format("rank {} waited too long\nfor nothing", from));
      }
      job.at(from).spread(Result::aborted, "a second one");
      const SurveyResult survey =
          job.at(from).survey(20 * kSecondNs);  // after it, the second one would have come, too
      CHECK(survey.answers.size() == static_cast<size_t>(size));
      CHECK(job.heard(from).report().count == 0);
      for (int r = 0; r < size; ++r) {
        if (r != from) CHECK(job.heard(r).report().count == 1);
      }
    }
  }
}

TEST_CASE("errors of all ranks at once: each hears at most one, and those that said nothing exactly one") {
  constexpr int kSize = 13;
  Job job(kSize);
  ThreadGroup group(kSize);
  group.run([&](int rank) {
    if (rank % 3 == 0) job.at(rank).spread(Result::aborted, fmt::format("rank {}", rank));
  });
  for (int r = 0; r < kSize; ++r) {
    if (r % 3 != 0) await("an error", [&] { return job.heard(r).report().count > 0; });
  }
  for (int r = 0; r < kSize; ++r) job.at(r).survey(20 * kSecondNs);
  for (int r = 0; r < kSize; ++r) {
    const Heard::Report report = job.heard(r).report();
    CHECK(report.count <= 1);
    if (r % 3 != 0) CHECK(report.text == fmt::format("rank {}", report.from));
  }
}

TEST_CASE("what nodes tell reaches rank 0, by its clock, when it asks and all the time") {
  for (const int size : {1, 2, 5, 17}) {
    std::vector<int> nodes;
    for (int r = 0; r < size; ++r) nodes.push_back(r / 2);
    const auto node_count = static_cast<size_t>(nodes.back() + 1);
    std::mutex mutex;
    std::vector<int> heard(node_count, 0);  // batches, by node
    int wrong = 0;
    std::vector<std::unique_ptr<Control>> controls(static_cast<size_t>(size));
    const UniqueId id = loopback_id();
    ThreadGroup group(size);
    group.run([&](int rank) {
      auto control = Control::join(id, settings_of(rank, size));
      ControlEvents events;
      events.nodes = nodes;
      if (rank % 2 == 0) {
        events.stamps = [rank](const ClockMap& to_root, std::vector<StampBatch>& batches) {
          // All ranks are of one process, and rank 0 shows what it shows here.
          const uint64_t now = stamp_clock_ns();
          const uint64_t there = to_root.map(now);
          StampBatch batch = {.node = rank / 2, .error_ns = to_root.error_at(now), .through = there - now};
          batch.epochs.resize(StampBatch::kMost);
          batches.push_back(batch);
          return uint64_t{50'000'000};
        };
      }
      if (rank == 0) {
        events.heard_stamps = [&](const StampBatch& batch) {
          const std::lock_guard lock(mutex);
          ++heard.at(static_cast<size_t>(batch.node));
          const auto off = static_cast<uint64_t>(std::abs(static_cast<int64_t>(batch.through)));
          if (batch.epochs.size() != StampBatch::kMost || off > batch.error_ns) ++wrong;
        };
      }
      control->serve(std::move(events), {});
      controls[static_cast<size_t>(rank)] = std::move(control);
    });
    const auto all_reach = [&](int count) {
      const std::lock_guard lock(mutex);
      return std::all_of(heard.begin(), heard.end(), [&](int h) { return h >= count; });
    };
    await("batches of all nodes", [&] { return all_reach(3); });
    controls[0]->ask_stamps();
    await("more of them", [&] { return all_reach(6); });
    // Whoever leaves says once more what it has, and is not asked again.
    for (size_t r = controls.size(); r-- > 1;) controls[r].reset();
    controls[0]->ask_stamps();
    controls[0].reset();
    CHECK(wrong == 0);
  }
}

TEST_CASE("a survey gathers everybody's answer") {
  for (const int size : {1, 2, 7, 17}) {
    Job job(size);
    for (int r = 0; r < size; ++r) {
      const SurveyResult result = job.at(r).survey(20 * kSecondNs);
      CHECK(result.silent.empty());
      REQUIRE(result.answers.size() == static_cast<size_t>(size));
      for (int a = 0; a < size; ++a) {
        const RankStatus& status = result.answers[static_cast<size_t>(a)];
        CHECK(status.rank == a);
        CHECK(status.flags == RankStatus::kInOperation);
        CHECK(status.epoch == 100 + static_cast<uint64_t>(a));
        CHECK(status.since_waiting_ns == 7);
      }
    }
  }
}

TEST_CASE("surveys by all ranks at once, several threads each") {
  constexpr int kSize = 9;
  Job job(kSize);
  ThreadGroup group(2 * kSize);
  group.run([&](int index) {
    for (int i = 0; i < 5; ++i) {
      const SurveyResult result = job.at(index % kSize).survey(30 * kSecondNs);
      expect(result.answers.size() == kSize && result.silent.empty(), "rank {}: {} answers, {} silent",
             index % kSize, result.answers.size(), result.silent.size());
    }
  });
}

TEST_CASE("a rank that closes is known as closed, and those left still hear of each other") {
  constexpr int kSize = 15;
  Job job(kSize);
  // Inner ranks first: they go on passing on what comes.
  std::vector<int> left = all_ranks(kSize);
  for (const int closing : {1, 0, 2, 4, 3}) {
    job.destroy(closing);
    std::erase(left, closing);
    job.await_state(closing, PeerState::closed);
    for (const int r : left) {
      const SurveyResult result = job.at(r).survey(20 * kSecondNs);
      CHECK(result.answers.size() == left.size());
      CHECK(result.silent.empty());
    }
  }
  job.at(14).spread(Result::peer_lost, "still connected");
  for (const int r : left) {
    if (r == 14) continue;
    await("the error", [&] { return job.heard(r).report().count == 1; });
    CHECK(job.heard(r).report().text == "still connected");
  }
  for (const int closing : {0, 1, 2, 3, 4}) CHECK(job.heard(closing).report().count == 0);
}

TEST_CASE("destroying does not wait for others") {
  Job job(5);
  const uint64_t start = now_ns();
  for (int r = 0; r < 5; ++r) job.destroy(r);
  CHECK(now_ns() - start < kSecondNs);
}

TEST_CASE("no event comes after the control has been destroyed") {
  constexpr int kSize = 4;
  for (int round = 0; round < 50; ++round) {
    Job job(kSize);
    ThreadGroup group(kSize);
    std::atomic<bool> gone{false};
    std::atomic<int> late{0};
    group.run([&](int rank) {
      if (rank == 0) job.at(0).spread(Result::aborted, "now");
      if (rank != 1) return;
      job.destroy(1);
      gone.store(true);
      late.store(job.heard(1).report().count);
    });
    job.at(0).survey(20 * kSecondNs);
    CHECK(gone.load());
    CHECK(job.heard(1).report().count == late.load());
  }
}

TEST_CASE("what is called too early or too late says so") {
  const UniqueId id = loopback_id();
  const auto control = Control::join(id, settings_of(0, 1));
  CHECK_THROWS_AS(control->survey(1), Error);
  CHECK_THROWS_AS(control->spread(Result::aborted, ""), Error);
  CHECK_THROWS_AS(control->state(0), Error);
  Heard heard;
  control->serve(heard.events(0), {"rank 0"});
  CHECK(control->state(0) == PeerState::alive);
  CHECK_THROWS_AS(control->state(1), Error);
  CHECK_THROWS_AS(control->all_gather("x"), Error);
  CHECK_THROWS_AS(control->serve(heard.events(0), {}), Error);
}

TEST_CASE("a quiet job sends little more than heartbeats") {
  Job job(3);
  job.at(0).survey(20 * kSecondNs);
  const uint64_t before = job.at(0).bytes();
  const uint64_t start = now_ns();
  await(
      "heartbeats", [&] { return job.at(0).bytes() > before + 100; }, 60 * kSecondNs);
  // Two neighbours, both ways, 16 bytes a second each: at least two beats, of which one may come at once.
  CHECK(now_ns() - start > kSecondNs / 2);
  CHECK(now_ns() - start < 20 * kSecondNs);
}
