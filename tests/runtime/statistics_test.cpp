// Statistics of operations, piece by piece: kinds, the ring of stamps, verdicts, whose turn it is, and what comes of them together.
#include "core/clock.h"
#include "core/thread_group.h"
#include "runtime/statistics/file_name.h"
#include "runtime/statistics/recorder.h"
#include "runtime/statistics/report.h"
#include "runtime/statistics/summary.h"
#include "tests/catch.h"
#include "tests/runtime/support/expect.h"

using namespace tutti;
using namespace tutti::statistics;

namespace {

struct alignas(kCacheLine) MemoryLine {
  std::byte bytes[kCacheLine];
};

/// Parts of a node in plain memory, and the recorders of its ranks.
class ToyNode {
 public:
  explicit ToyNode(int ranks, uint64_t first_epoch = 1) : memory_(static_cast<size_t>(ranks)) {
    for (auto& each : memory_) {
      each.resize((NodePart::bytes(ranks) + kCacheLine - 1) / kCacheLine);
      parts_.push_back(NodePart::at(each.data()->bytes, ranks));
    }
    for (int r = 0; r < ranks; ++r) {
      recorders_.push_back(std::make_unique<StatisticsRecorder>(parts_, r, first_epoch));
      names_.push_back(10 + r);
    }
  }

  StatisticsRecorder& operator[](int rank) { return *recorders_[static_cast<size_t>(rank)]; }

  /// One operation of one rank.
  void pass(int rank, uint64_t epoch, const Call& call = {}, bool waits = true) {
    StatisticsRecorder& recorder = (*this)[rank];
    recorder.arrive();
    if (waits) recorder.idle();
    recorder.retry();
    recorder.leave(epoch, call);
  }

  /// All ranks, in the order of their numbers but for one that comes last.
  void pass_all(uint64_t epoch, int last, const Call& call = {}) {
    for (int r = 0; r < static_cast<int>(recorders_.size()); ++r) {
      if (r != last) (*this)[r].arrive();
    }
    (*this)[last].arrive();
    for (auto& recorder : recorders_) {
      recorder->idle();
      recorder->leave(epoch, call);
    }
  }

  Summary summary(int rank) const { return summarize(parts_, rank, names_); }
  const NodePart& part(int rank) const { return parts_[static_cast<size_t>(rank)]; }

 private:
  std::vector<std::vector<MemoryLine>> memory_;
  std::vector<NodePart> parts_;
  std::vector<std::unique_ptr<StatisticsRecorder>> recorders_;
  std::vector<int> names_;
};

Call all_reduce_of(uint64_t bytes) {
  return {.collective = Collective::all_reduce, .datatype = DataType::uint8, .count = bytes};
}

Stamps stamps_at(uint64_t epoch) {
  return {.epoch = epoch, .kind = 7, .arrival = epoch * 3, .dependency = epoch * 5, .exit = epoch * 7};
}

bool is_of(const Stamps& stamps, uint64_t epoch) {
  return stamps.epoch == epoch && stamps.kind == 7 && stamps.arrival == epoch * 3 &&
         stamps.dependency == epoch * 5 && stamps.exit == epoch * 7;
}

}  // namespace

TEST_CASE("every size has one class, and its bounds hold it") {
  CHECK(size_class_of(0) == 0);
  CHECK(size_class_of(1) == 1);
  CHECK(size_class_of(64) == 1);
  CHECK(size_class_of(65) == 2);
  CHECK(size_class_of(256) == 2);
  CHECK(size_class_of(257) == 3);
  CHECK(size_class_of(uint64_t{256} << 20) == kSizeClasses - 2);
  CHECK(size_class_of((uint64_t{256} << 20) + 1) == kSizeClasses - 1);
  CHECK(size_class_of(UINT64_MAX) == kSizeClasses - 1);
  for (int c = 0; c < kSizeClasses; ++c) {
    CAPTURE(c);
    CHECK(size_class_of(least_bytes(c)) == c);
    CHECK(size_class_of(most_bytes(c)) == c);
    if (c > 0) CHECK(least_bytes(c) == most_bytes(c - 1) + 1);
  }
  for (int c = 0; c < kCollectives; ++c) {
    const auto collective = static_cast<Collective>(c);
    for (const uint64_t bytes : {uint64_t{0}, uint64_t{100}, UINT64_MAX}) {
      const Kind kind = kind_of(collective, bytes);
      CHECK(kind != 0);
      CHECK(kind != kOtherKinds);
      CHECK(collective_of(kind) == collective);
      CHECK(size_class_of_kind(kind) == size_class_of(bytes));
    }
  }
}

TEST_CASE("a record is not there yet, then ready, then overwritten") {
  std::vector<StampRecord> records(StampRing::kRecords);
  StampRing ring(records.data());
  // Around the place where the upper bits of an epoch leave its name, too.
  for (const uint64_t first : {uint64_t{1}, uint64_t{4294967293}, (uint64_t{1} << 56) - 3}) {
    for (StampRecord& record : records) record.name = 0;
    Stamps stamps;
    CHECK(ring.read(first, stamps) == StampState::not_yet);
    for (uint64_t epoch = first; epoch < first + 3 * StampRing::kRecords; ++epoch) {
      ring.write(stamps_at(epoch));
      REQUIRE(ring.read(epoch, stamps) == StampState::ready);
      REQUIRE(is_of(stamps, epoch));
      REQUIRE(ring.read(epoch + 1, stamps) == StampState::not_yet);
      REQUIRE(ring.read(epoch + StampRing::kRecords, stamps) == StampState::not_yet);
      if (epoch < first + StampRing::kRecords) continue;
      REQUIRE(ring.read(epoch - StampRing::kRecords, stamps) == StampState::overwritten);
      REQUIRE(ring.read(epoch - StampRing::kRecords + 1, stamps) == StampState::ready);
    }
  }
}

TEST_CASE("a reader beside the writer gets whole records or none") {
  constexpr uint64_t kLast = 200'000;
  std::vector<StampRecord> records(StampRing::kRecords);
  StampRing ring(records.data());
  ThreadGroup group(2);
  group.run([&](int index) {
    if (index == 0) {
      for (uint64_t epoch = 1; epoch <= kLast; ++epoch) ring.write(stamps_at(epoch));
      return;
    }
    uint64_t wrong = 0;
    for (uint64_t epoch = 1; epoch <= kLast; ++epoch) {
      Stamps stamps;
      StampState state = StampState::not_yet;
      while (state == StampState::not_yet) state = ring.read(epoch, stamps);
      if (state == StampState::ready && !is_of(stamps, epoch)) ++wrong;
    }
    expect(wrong == 0, "{} records were mixed of several operations", wrong);
  });
}

TEST_CASE("the culprit is the last to arrive, whatever the order in which ranks are looked at") {
  const uint64_t arrivals[] = {500, 100, 900, 700};
  const uint64_t exits[] = {1000, 990, 1010, 1005};
  int order[] = {0, 1, 2, 3};
  do {
    Verdict verdict;
    for (const int r : order) verdict.add(r, {.arrival = arrivals[r], .exit = exits[r]});
    CHECK(verdict.ranks() == 4);
    CHECK(verdict.culprit() == 2);
    CHECK(verdict.skew() == 800);
    CHECK(verdict.late() == 200);
    CHECK(verdict.service() == 110);
  } while (std::next_permutation(std::begin(order), std::end(order)));

  Verdict two;
  two.add(1, {.arrival = 50, .exit = 60});
  two.add(0, {.arrival = 20, .exit = 70});
  CHECK(two.culprit() == 1);
  CHECK(two.late() == 30);
  CHECK(two.skew() == 30);

  Verdict tie;
  tie.add(0, {.arrival = 20, .exit = 30});
  tie.add(1, {.arrival = 20, .exit = 30});
  CHECK(tie.culprit() == 0);
  CHECK(tie.late() == 0);
}

TEST_CASE("every epoch falls to one rank") {
  for (const int ranks : {1, 2, 3, 7, 64}) {
    CAPTURE(ranks);
    std::vector<uint64_t> next;
    for (int r = 0; r < ranks; ++r) next.push_back(Turns(r, ranks).first_from(5));
    for (uint64_t epoch = 5; epoch < 3000; ++epoch) {
      int owners = 0;
      for (int r = 0; r < ranks; ++r) {
        const Turns turns(r, ranks);
        if (turns.is_mine(epoch)) ++owners;
        if (next[static_cast<size_t>(r)] != epoch) continue;
        REQUIRE(turns.is_mine(epoch));
        next[static_cast<size_t>(r)] = turns.first_from(epoch + 1);
      }
      REQUIRE(owners == 1);
      REQUIRE(*std::min_element(next.begin(), next.end()) == epoch + 1);
    }
  }
}

TEST_CASE("every operation is derived once, and its culprit is right") {
  constexpr uint64_t kOperations = 5000;
  for (const int ranks : {2, 3, 5}) {
    for (const uint64_t first : {uint64_t{1}, uint64_t{4294967293}}) {
      CAPTURE(ranks, first);
      ToyNode node(ranks, first);
      std::vector<uint64_t> last(static_cast<size_t>(ranks));
      for (uint64_t i = 0; i < kOperations; ++i) {
        // Rank 0 twice as often as others.
        const int culprit = static_cast<int>(i % static_cast<uint64_t>(ranks + 1)) % ranks;
        ++last[static_cast<size_t>(culprit)];
        node.pass_all(first + i, culprit, all_reduce_of(i % 2 == 0 ? 8 : 5000));
        if (i % 777 != 0) continue;
        const Summary now = node.summary(static_cast<int>(i) % ranks);
        CHECK(now.derived == i + 1);
      }
      for (int r = 0; r < ranks; ++r) {
        const Summary summary = node.summary(r);
        CHECK(summary.derived == kOperations);
        CHECK(summary.dropped == 0);
        CHECK(summary.pending == 0);
        CHECK(summary.own().operations == kOperations);
        REQUIRE(summary.kinds.size() == 2);
        for (const KindSummary& kind : summary.kinds) {
          CHECK(kind.latency.count() == kOperations / 2);
          CHECK(kind.latency_of_node.count() == kOperations / 2 * static_cast<uint64_t>(ranks));
          CHECK(kind.skew.count() == kOperations / 2);
          CHECK(kind.service.count() == kOperations / 2);
        }
        for (int p = 0; p < ranks; ++p) {
          CHECK(summary.ranks[static_cast<size_t>(p)].rank == 10 + p);
          CHECK(summary.ranks[static_cast<size_t>(p)].times_last == last[static_cast<size_t>(p)]);
        }
      }
      // The ranks themselves have kept up: what is left for a summary is the newest alone.
      for (int r = 0; r < ranks; ++r)
        CHECK(node.part(r).header->derived + StampRing::kRecords > first + kOperations);
    }
  }
}

TEST_CASE("a rank that never waits derives all the same") {
  ToyNode node(2);
  for (uint64_t epoch = 1; epoch <= 2000; ++epoch) {
    node.pass(0, epoch);
    node.pass(1, epoch, {}, false);
  }
  CHECK(node.part(1).header->derived + StampRing::kRecords > 2000);
  CHECK(node.summary(0).derived == 2000);
  CHECK(node.summary(0).ranks[1].times_last == 2000);
  CHECK(node.summary(0).dropped == 0);
}

TEST_CASE("stamps that were overwritten are counted as dropped and not taken for others") {
  constexpr uint64_t kAhead = 1000;
  ToyNode node(2);
  // The root of a broadcast may run far ahead of its readers.
  for (uint64_t epoch = 1; epoch <= kAhead; ++epoch) node.pass(0, epoch);
  CHECK(node.summary(0).pending > 0);
  CHECK(node.summary(0).derived == 0);
  for (uint64_t epoch = 1; epoch <= kAhead; ++epoch) node.pass(1, epoch);
  for (uint64_t epoch = kAhead + 1; epoch <= kAhead + 100; ++epoch) node.pass_all(epoch, 1);
  for (int r = 0; r < 2; ++r) {
    const Summary summary = node.summary(r);
    CHECK(summary.derived + summary.dropped == kAhead + 100);
    CHECK(summary.dropped >= kAhead - StampRing::kRecords - 100);
    CHECK(summary.derived >= 100);
    CHECK(summary.ranks[1].times_last == summary.derived);
  }
}

TEST_CASE("kinds beyond those that have a place are counted together") {
  ToyNode node(2);
  uint64_t epoch = 0;
  uint64_t operations = 0;
  for (int repeat = 0; repeat < 20; ++repeat) {
    for (const Collective collective : {Collective::all_reduce, Collective::broadcast}) {
      for (int c = 0; c < kSizeClasses; ++c) {
        Call call = all_reduce_of(least_bytes(c));
        call.collective = collective;
        node.pass_all(++epoch, 0, call);
        ++operations;
      }
    }
  }
  const Summary summary = node.summary(1);
  CHECK(summary.derived == operations);
  REQUIRE(summary.kinds.size() == NodePart::slots_for(2));
  CHECK(summary.kinds.back().kind == kOtherKinds);
  uint64_t latencies = 0;
  for (const KindSummary& kind : summary.kinds) latencies += kind.latency.count();
  CHECK(latencies == operations);
  CHECK(summary.kinds.back().skew.count() == operations - 20 * (NodePart::slots_for(2) - 1));
}

TEST_CASE("a rank alone has latencies and no skew") {
  ToyNode node(1);
  for (uint64_t epoch = 1; epoch <= 600; ++epoch) node.pass(0, epoch);
  const Summary summary = node.summary(0);
  CHECK(summary.derived == 0);
  CHECK(summary.dropped == 0);
  CHECK(summary.pending == 0);
  REQUIRE(summary.kinds.size() == 1);
  CHECK(summary.kinds[0].latency.count() == 600);
}

TEST_CASE("a summary beside ranks that run is whole") {
  constexpr uint64_t kOperations = 20'000;
  ToyNode node(2);
  std::atomic<uint64_t> passed[2] = {0, 0};
  ThreadGroup group(3);
  group.run([&](int index) {
    if (index < 2) {
      for (uint64_t epoch = 1; epoch <= kOperations; ++epoch) {
        node.pass(index, epoch, all_reduce_of(epoch % 100 * 60));
        passed[index].store(epoch, std::memory_order_release);
        // As in a collective, nobody runs away: the other rank is at most some operations behind.
        while (passed[1 - index].load(std::memory_order_acquire) + 50 < epoch) sched_yield();
      }
      return;
    }
    uint64_t before = 0;
    while (before < kOperations) {
      const uint64_t surely =
          std::min(passed[0].load(std::memory_order_acquire), passed[1].load(std::memory_order_acquire));
      const Summary summary = node.summary(0);
      const uint64_t at_most =
          1 + std::max(passed[0].load(std::memory_order_acquire), passed[1].load(std::memory_order_acquire));
      const uint64_t known = summary.derived + summary.dropped;
      // One epoch of each rank may be in its lines already and count as pending too.
      expect(known >= surely && known <= at_most + 2, "{} of {} to {} operations are known", known, surely,
             at_most);
      uint64_t in_histograms = 0;
      for (const KindSummary& kind : summary.kinds) in_histograms += kind.skew.count();
      expect(in_histograms <= summary.derived + 2, "{} skews of {} operations", in_histograms,
             summary.derived);
      before = surely;
    }
  });
  CHECK(node.summary(1).derived + node.summary(1).dropped == kOperations);
}

TEST_CASE("the name of the file") {
  CHECK(statistics_file("stats.json", 0, 1) == "stats.json");
  CHECK(statistics_file("stats.json", 1, 1).empty());
  CHECK(statistics_file("stats.json", 0, 2) == "stats.json.2");
  CHECK(statistics_file("/tmp/s.%r.json", 12, 1) == "/tmp/s.12.json");
  CHECK(statistics_file("s%r-%c", 3, 1) == "s3-1");
  CHECK(statistics_file("s%c-%r-%r", 3, 2) == "s2-3-3");
  CHECK(statistics_file("", 0, 1).empty());
}

TEST_CASE("Prometheus: the node's figures come from its first rank alone, and buckets add up") {
  ToyNode node(2);
  for (uint64_t epoch = 1; epoch <= 300; ++epoch) node.pass_all(epoch, 1, all_reduce_of(100));
  const Scope scope = {.rank = 10, .size = 2, .communicator = 1, .ranks = {10, 11}};
  const std::string first = as_prometheus(node.summary(0), scope);
  const std::string second = as_prometheus(node.summary(1), {.rank = 11, .size = 2, .ranks = {10, 11}});
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  CHECK(has(first, "# TYPE tutti_latency_seconds histogram\n"));
  CHECK(has(first,
            "tutti_latency_seconds_count{communicator=\"1\",node=\"0\",rank=\"10\",collective=\"all_reduce\","
            "bytes_to=\"256\"} 300\n"));
  CHECK(has(first,
            "tutti_skew_seconds_bucket{communicator=\"1\",node=\"0\",collective=\"all_reduce\",bytes_to="
            "\"256\",le=\"+Inf\"} 300\n"));
  CHECK(has(first, "tutti_last_arrivals_total{communicator=\"1\",node=\"0\",rank=\"11\"} 300\n"));
  CHECK(has(first, "tutti_statistics_derived_total{communicator=\"1\",node=\"0\"} 300\n"));
  CHECK(has(second, "tutti_latency_seconds_count"));
  CHECK(!has(second, "tutti_skew_seconds"));
  CHECK(!has(second, "tutti_last_arrivals_total"));
}
