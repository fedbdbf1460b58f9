// Thousands of operations in a row, of all kinds and sizes at random, blocking and asynchronous ones mixed differently on each
// rank: what goes wrong only when scratch, packets and counters are used again. Run with tiny scratch, and across the wrap of
// the epoch's low half.
#include <tutti/tutti.h>

#include <deque>
#include <optional>

#include "tests/catch.h"
#include "tests/runtime/support/local_ranks.h"
#include "tests/runtime/support/sanitizer.h"
#include "tests/runtime/support/workload.h"

namespace {

using workload::Bytes;
using workload::Case;
using workload::Job;

struct Plan {
  int ranks;
  std::vector<Case> cases;
  std::vector<Bytes> wanted;
};

Plan random_plan(int ranks, size_t operations, uint64_t seed) {
  std::mt19937_64 random(seed);
  Plan plan{ranks, {}, {}};
  for (size_t i = 0; i < operations; ++i) {
    plan.cases.push_back(workload::random_case(ranks, 6000, random));
  }
  plan.wanted = workload::expected(plan.cases, ranks);
  return plan;
}

/// One rank's way through a plan: up to `most` operations outstanding, completed in any order and by any call.
class Walker {
 public:
  Walker(const Plan& plan, tutti_comm_t comm, int rank, size_t most)
      : plan_(plan), comm_(comm), rank_(rank), most_(most), random_(static_cast<uint64_t>(rank) * 7919 + 1) {}

  void walk() {
    for (size_t i = 0; i < plan_.cases.size(); ++i) {
      workload::skew(random_);
      Job job(plan_.cases[i], rank_, plan_.ranks);
      if (random_() % 4 == 0) {
        expect_success(job.run(comm_), workload::describe(plan_.cases[i]));
        job.check(plan_.wanted[i], workload::in_rank_order(comm_, plan_.cases[i]));
        continue;
      }
      begin(i, std::move(job));
      while (pending_.size() > most_) complete_one();
      if (random_() % 8 == 0) touch_one();
    }
    while (!pending_.empty()) complete_one();
  }

 private:
  struct Pending {
    Pending(size_t i, Job&& j) : index(i), job(std::move(j)) {}
    size_t index;
    Job job;
    tutti_request_t request = nullptr;
  };

  void begin(size_t index, Job&& job) {
    Pending& pending = pending_.emplace_back(index, std::move(job));
    expect_success(pending.job.begin(comm_, &pending.request), workload::describe(plan_.cases[index]));
    expect(pending.request != nullptr, "an operation was begun without a request");
  }

  /// Tests or waits a little for any request; it may complete.
  void touch_one() {
    if (pending_.empty()) return;
    const size_t at = random_() % pending_.size();
    Pending& pending = pending_[at];
    const bool wait = random_() % 2 == 0;
    const tutti_result_t result =
        wait ? tutti_request_wait(&pending.request, static_cast<int64_t>(random_() % 20'000))
             : tutti_request_test(&pending.request);
    if (result == TUTTI_IN_PROGRESS) {
      expect(pending.request != nullptr, "a request in progress was freed");
      return;
    }
    settle(at, result);
  }

  void complete_one() {
    const size_t at = random_() % pending_.size();
    settle(at, tutti_request_wait(&pending_[at].request, -1));
  }

  void settle(size_t at, tutti_result_t result) {
    const Pending& pending = pending_[at];
    const Case& c = plan_.cases[pending.index];
    expect_success(result, workload::describe(c));
    expect(pending.request == nullptr, "a complete request was not freed");
    pending.job.check(plan_.wanted[pending.index], workload::in_rank_order(comm_, c));
    pending_.erase(pending_.begin() + static_cast<ptrdiff_t>(at));
  }

  const Plan& plan_;
  tutti_comm_t comm_;
  int rank_;
  size_t most_;
  std::mt19937_64 random_;
  std::deque<Pending> pending_;  // requests are not moved by growth at the end
};

void walk_together(int ranks, const char* algorithm, size_t operations, size_t most_outstanding) {
  const Plan plan = random_plan(ranks, operations, static_cast<uint64_t>(ranks) * 31 + most_outstanding);
  LocalRanks group(ranks, algorithm);
  group.run([&](int rank, tutti_comm_t comm) { Walker(plan, comm, rank, most_outstanding).walk(); });
}

constexpr size_t kOperations = kSanitized ? 300 : 2000;

}  // namespace

TEST_CASE("operations of all kinds in a row, with up to 64 outstanding") {
  for (const char* algorithm :
       {"", "all_reduce=ring,broadcast=chain", "all_reduce=recursive_doubling,broadcast=one_writer",
        "all_reduce=two_shot,broadcast=one_writer", "all_reduce=one_shot,broadcast=one_writer_packets",
        "all_reduce=all_pairs"}) {
    for (const int ranks : {2, 3, 5, 8}) {
      DYNAMIC_SECTION("algorithm " << (*algorithm == '\0' ? "automatic" : algorithm) << ", ranks " << ranks) {
        walk_together(ranks, algorithm, kOperations / (ranks > 3 ? 3 : 1), 63);
      }
    }
  }
}

TEST_CASE("an operation beyond 64 waits for the oldest") {
  walk_together(2, "", kOperations, 100);
  walk_together(4, "", kOperations / 4, 200);
}

TEST_CASE("one operation at a time") {
  walk_together(2, "", kOperations, 0);
}

TEST_CASE("requests complete in the order of their calls") {
  LocalRanks group(3);
  group.run([&](int rank, tutti_comm_t comm) {
    constexpr int kCalls = 40;
    std::vector<int32_t> values(kCalls, rank);
    std::vector<int32_t> sums(kCalls, -1);
    std::vector<tutti_request_t> requests(kCalls);
    for (size_t i = 0; i < kCalls; ++i) {
      expect_success(tutti_all_reduce_async(&values[i], &sums[i], 1, TUTTI_INT32, TUTTI_SUM, comm, nullptr,
                                            &requests[i]),
                     "tutti_all_reduce_async");
    }
    // The last one is complete only when all of them are.
    expect_success(tutti_request_wait(&requests[kCalls - 1], -1), "tutti_request_wait");
    for (size_t i = 0; i < kCalls; ++i) {
      expect(sums[i] == 3, "operation {} was not complete when a later one was: {}", i, sums[i]);
      expect_success(tutti_request_test(&requests[i]), "tutti_request_test");
      expect(requests[i] == nullptr, "request {} was not freed", i);
    }
  });
}

TEST_CASE("a wait with a limit leaves the request usable") {
  LocalRanks group(2);
  std::atomic<bool> late{false};
  group.run([&](int rank, tutti_comm_t comm) {
    double value = rank + 1;
    double sum = 0;
    if (rank == 1) {
      while (!late.load(std::memory_order_acquire)) sched_yield();
      expect_success(tutti_all_reduce(&value, &sum, 1, TUTTI_FLOAT64, TUTTI_SUM, comm, nullptr), "rank 1");
      return;
    }
    tutti_request_t request = nullptr;
    expect_success(tutti_all_reduce_async(&value, &sum, 1, TUTTI_FLOAT64, TUTTI_SUM, comm, nullptr, &request),
                   "begin");
    for (int i = 0; i < 3; ++i) {
      expect_result(tutti_request_wait(&request, 2'000'000), TUTTI_IN_PROGRESS, "a wait of 2 ms");
      expect_result(tutti_request_test(&request), TUTTI_IN_PROGRESS, "a test");
      expect_success(tutti_comm_query(comm), "tutti_comm_query after a wait that ended");
    }
    late.store(true, std::memory_order_release);
    expect_success(tutti_request_wait(&request, -1), "the wait that ends it");
    expect(sum == 3, "the sum is {}", sum);
  });
}

TEST_CASE("several communicators at once do not disturb each other") {
  const Plan plan = random_plan(3, kOperations / 4, 99);
  LocalRanks a(3);
  LocalRanks b(3, "ring");
  a.run([&](int rank, tutti_comm_t comm) {
    std::mt19937_64 random(static_cast<uint64_t>(rank));
    for (size_t i = 0; i < plan.cases.size(); ++i) {
      tutti_comm_t used = i % 2 == 0 ? comm : b[rank];
      Job job(plan.cases[i], rank, 3);
      workload::skew(random);
      expect_success(job.run(used), workload::describe(plan.cases[i]));
      job.check(plan.wanted[i], workload::in_rank_order(used, plan.cases[i]));
    }
  });
}
