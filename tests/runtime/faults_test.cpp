// Ranks that do not come, leave or abort: everybody who waits is told which rank, in which operation, and the communicator
// is poisoned on all ranks.
#include <time.h>
#include <tutti/tutti.h>

#include <atomic>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "tests/catch.h"
#include "tests/runtime/support/gate.h"
#include "tests/runtime/support/local_ranks.h"

namespace {

constexpr int64_t kMs = 1'000'000;
/// Far more than any of these waits should take on a busy machine, far less than a deadline of minutes.
constexpr uint64_t kBoundNs = 20'000'000'000;

const char* const kAlgorithms[] = {"",          "one_shot", "two_shot", "ring", "recursive_doubling",
                                   "all_pairs", "direct"};

void sleep_ms(int64_t ms) {
  const timespec pause = {ms / 1000, static_cast<long>(ms % 1000 * kMs)};
  nanosleep(&pause, nullptr);
}

tutti_result_t sum(tutti_comm_t comm, int64_t count) {
  std::vector<float> in(static_cast<size_t>(count), 1);
  std::vector<float> out(static_cast<size_t>(count));
  return tutti_all_reduce(in.data(), out.data(), count, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr);
}

/// Ranks 0 … n-2 call an all-reduce of `count`, the last one does `instead`; those must get `wanted` with `part` in the text.
template <typename Instead>
void last_rank_fails(const char* algorithm, int ranks, int64_t count, int64_t timeout_ns,
                     tutti_result_t wanted, const std::string& part, Instead&& instead) {
  LocalRanks group(ranks, patient_config(algorithm, timeout_ns));
  const uint64_t start = tutti::now_ns();
  std::atomic<int> gate{0};
  group.run([&](int rank, tutti_comm_t comm) {
    for (int i = 0; i < 5; ++i) expect_success(sum(comm, 100), "before");
    meet_at(gate, ranks);
    if (rank == ranks - 1) {
      instead(group, rank);
      return;
    }
    const std::string where = fmt::format("rank {} of {}, algorithm '{}'", rank, ranks, algorithm);
    expect_result(sum(comm, count), wanted, where);
    expect_text(part, where);
    expect_text(fmt::format("all_reduce of {} float32, sum (operation 6", count), where);
    expect_result(tutti_barrier(comm, nullptr), wanted, where + ", later");
    expect_text(part, where);
  });
  CHECK(tutti::now_ns() - start < kBoundNs);
}

}  // namespace

TEST_CASE("a rank that never calls is named when the deadline passes") {
  for (const char* algorithm : kAlgorithms) {
    for (const int ranks : {2, 3, 5}) {
      for (const int64_t count : {10, 5000}) {
        CAPTURE(algorithm, ranks, count);
        const std::string culprit = fmt::format("rank {} has not begun it", ranks - 1);
        last_rank_fails(algorithm, ranks, count, 300 * kMs, TUTTI_TIMEOUT, culprit,
                        [](const LocalRanks& group, int rank) {
                          while (tutti_comm_query(group[rank]) == TUTTI_SUCCESS) sleep_ms(1);
                          // It comes too late, and learns why.
                          expect_result(sum(group[rank], 10), TUTTI_TIMEOUT, "the late rank");
                          expect_text(fmt::format("rank {} has not begun it", rank), "the late rank");
                        });
      }
    }
  }
}

TEST_CASE("a rank that destroys its communicator is lost to those who wait for it") {
  for (const char* algorithm : kAlgorithms) {
    for (const int ranks : {2, 4}) {
      CAPTURE(algorithm, ranks);
      last_rank_fails(algorithm, ranks, 2000, 60 * kSecond, TUTTI_PEER_LOST,
                      fmt::format("rank {} has destroyed its communicator", ranks - 1),
                      [](LocalRanks& group, int rank) {
                        sleep_ms(20);
                        expect_success(group.destroy(rank), "tutti_comm_destroy");
                      });
    }
  }
}

TEST_CASE("a rank that leaves after its part was done is not missed") {
  for (int repeat = 0; repeat < 50; ++repeat) {
    LocalRanks group(3);
    group.run([&](int rank, tutti_comm_t comm) {
      for (int i = 0; i < 10; ++i) expect_success(sum(comm, 100 * i), fmt::format("rank {}", rank));
      expect_success(group.destroy(rank), "tutti_comm_destroy");
    });
  }
}

TEST_CASE("a communicator is destroyed with operations outstanding") {
  LocalRanks group(2, patient_config("", 60 * kSecond));
  group.run([&](int rank, tutti_comm_t comm) {
    std::vector<float> data(5000, 1);
    if (rank == 0) {
      tutti_request_t requests[3];
      for (tutti_request_t& request : requests) {
        expect_success(tutti_all_reduce_async(data.data(), data.data(), 5000, TUTTI_FLOAT32, TUTTI_SUM, comm,
                                              nullptr, &request),
                       "begin");
      }
      expect_success(group.destroy(rank), "tutti_comm_destroy");
      return;
    }
    expect_result(sum(comm, 5000), TUTTI_PEER_LOST, "rank 1");
    expect_text("rank 0 has destroyed its communicator", "rank 1");
  });
}

TEST_CASE("an abort from any thread ends all waits, those of sleeping ranks too") {
  for (const char* algorithm : kAlgorithms) {
    CAPTURE(algorithm);
    LocalRanks group(4, patient_config(algorithm, 120 * kSecond));
    tutti_comm_t aborted = group[3];
    std::thread aborter([aborted] {
      sleep_ms(50);  // by then the others sleep
      tutti_comm_abort(aborted);
    });
    const uint64_t start = tutti::now_ns();
    group.run([&](int rank, tutti_comm_t comm) {
      if (rank == 3) return;
      expect_result(sum(comm, 300), TUTTI_ABORTED, fmt::format("rank {}", rank));
      expect_text("rank 3 aborted the communicator", "abort");
      expect_result(tutti_comm_query(comm), TUTTI_ABORTED, "tutti_comm_query");
    });
    aborter.join();
    CHECK(tutti::now_ns() - start < kBoundNs);
    CHECK(tutti_comm_query(group[3]) == TUTTI_ABORTED);
  }
}

TEST_CASE("who only tests requests learns of errors too") {
  LocalRanks group(2, patient_config("", 200 * kMs));
  float value = 1;
  tutti_request_t request = nullptr;
  REQUIRE(tutti_all_reduce_async(&value, &value, 1, TUTTI_FLOAT32, TUTTI_SUM, group[0], nullptr, &request) ==
          TUTTI_SUCCESS);
  const uint64_t start = tutti::now_ns();
  tutti_result_t result = TUTTI_IN_PROGRESS;
  while (result == TUTTI_IN_PROGRESS && tutti::now_ns() - start < kBoundNs)
    result = tutti_request_test(&request);
  CHECK(result == TUTTI_TIMEOUT);
  CHECK(request == nullptr);
  CHECK(std::string(tutti_last_error()).find("rank 1 has not begun it") != std::string::npos);
}

TEST_CASE("the deadline is one operation's, not the communicator's") {
  LocalRanks group(2, patient_config("", 2 * kSecond));
  group.run([](int rank, tutti_comm_t comm) {
    // Each wait is long, all of them together are longer than the limit.
    for (int i = 0; i < 5; ++i) {
      if (rank == 1) sleep_ms(500);
      expect_success(sum(comm, 10), "a slow round");
    }
  });
}

TEST_CASE("many short waits for a request come to its deadline as one long one does") {
  LocalRanks group(2, patient_config("", 300 * kMs));
  float value = 1;
  tutti_request_t request = nullptr;
  REQUIRE(tutti_all_reduce_async(&value, &value, 1, TUTTI_FLOAT32, TUTTI_SUM, group[0], nullptr, &request) ==
          TUTTI_SUCCESS);
  const uint64_t start = tutti::now_ns();
  tutti_result_t result = TUTTI_IN_PROGRESS;
  while (result == TUTTI_IN_PROGRESS && tutti::now_ns() - start < kBoundNs) {
    result = tutti_request_wait(&request, kMs);
  }
  CHECK(result == TUTTI_TIMEOUT);
  CHECK(request == nullptr);
}

TEST_CASE("a request's deadline does not count from an earlier request's start") {
  constexpr int kOutstanding = 64;
  LocalRanks group(2, patient_config("", 2 * kSecond));
  std::atomic<int> turn{0};
  group.run([&](int rank, tutti_comm_t comm) {
    for (int round = 0; round < 2 * kOutstanding; ++round) {
      if (round == kOutstanding && rank == 0) sleep_ms(2500);
      if (rank == 1) {
        // Late every time, so that the request is tested while it is in progress.
        while (turn.load(std::memory_order_acquire) <= round) sched_yield();
        expect_success(sum(comm, 1), "rank 1");
        continue;
      }
      float value = 1;
      tutti_request_t request = nullptr;
      expect_success(
          tutti_all_reduce_async(&value, &value, 1, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr, &request),
          "begin");
      expect_result(tutti_request_test(&request), TUTTI_IN_PROGRESS, "a test before the peer has come");
      turn.store(round + 1, std::memory_order_release);
      expect_success(tutti_request_wait(&request, -1), "wait");
    }
  });
}
