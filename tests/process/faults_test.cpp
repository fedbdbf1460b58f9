// Ranks that die, stop or fork while others work with them.
#include <atomic>
#include <cstdlib>

#include "tests/catch.h"
#include "tests/process/support/forked.h"

namespace {

constexpr int kSize = 4;
const char* const kAlgorithms[] = {"", "two_shot", "ring", "recursive_doubling"};

/// All-reduces until one does not succeed.
tutti_result_t work(tutti_comm_t comm, std::atomic<uint64_t>& rounds, int64_t count) {
  std::vector<float> data(static_cast<size_t>(count), 1);
  for (;;) {
    const tutti_result_t result =
        tutti_all_reduce(data.data(), data.data(), count, TUTTI_FLOAT32, TUTTI_MAX, comm, nullptr);
    if (result != TUTTI_SUCCESS) return result;
    rounds.fetch_add(1, std::memory_order_relaxed);
  }
}

struct Board {
  std::atomic<uint64_t> rounds[kSize];
  std::atomic<uint64_t> fault_ns;  // when the fault was made
};

void wait_for_rounds(Board& board, uint64_t rounds) {
  const uint64_t start = tutti::now_ns();
  for (const auto& counter : board.rounds) {
    while (counter.load() < rounds) {
      expect(tutti::now_ns() - start < 60'000'000'000, "the ranks do not get going");
      sleep_ms(1);
    }
  }
}

}  // namespace

TEST_CASE("a killed rank is lost to all others within two seconds") {
  for (const char* algorithm : kAlgorithms) {
    for (const int victim : {0, 2}) {
      CAPTURE(algorithm, victim);
      const tutti_unique_id_t id = make_id();
      Shared<Board> board(1);
      Forked group;
      for (int rank = 0; rank < kSize; ++rank) {
        group.start([&, rank] {
          const OwnRank own(id, rank, kSize, patient_config(algorithm));
          const std::string where = fmt::format("rank {}", rank);
          expect_result(work(own.get(), board[0].rounds[rank], 3000), TUTTI_PEER_LOST, where);
          const uint64_t after = tutti::now_ns() - board[0].fault_ns.load();
          expect_text(fmt::format("rank {} (process", victim), where);
          expect_text("has ended", where);
          expect_text("all_reduce of 3000 float32, max", where);
          expect(after < 2'000'000'000, "{}: it took {} ms", where, after / 1'000'000);
          expect_result(tutti_barrier(own.get(), nullptr), TUTTI_PEER_LOST, where);
        });
      }
      wait_for_rounds(board[0], 20);
      board[0].fault_ns.store(tutti::now_ns());
      group.signal(static_cast<size_t>(victim), SIGKILL);
      group.expect_all_good(30 * kSecond, {static_cast<size_t>(victim)});
    }
  }
}

TEST_CASE("a rank that exits without a word is lost too") {
  const tutti_unique_id_t id = make_id();
  Shared<std::atomic<int>> gate(1);
  Forked group;
  for (int rank = 0; rank < 3; ++rank) {
    group.start([&, rank] {
      tutti_comm_t comm = nullptr;
      const tutti_comm_config_t config = patient_config();
      expect_success(tutti_comm_create(&comm, &id, rank, 3, &config), "create");
      expect_working(comm, rank, 3);
      meet_at(gate[0], 3);
      if (rank == 1) return;  // and the process ends, its communicator not destroyed
      expect_result(tutti_barrier(comm, nullptr), TUTTI_PEER_LOST, fmt::format("rank {}", rank));
      expect_text("rank 1 (process", "the lost rank");
    });
  }
  group.expect_all_good(60 * kSecond);
}

TEST_CASE("a stopped rank is named when the deadline passes, and learns of it when it goes on") {
  for (const char* algorithm : {"", "ring"}) {
    CAPTURE(algorithm);
    const tutti_unique_id_t id = make_id();
    Shared<Board> board(1);
    Forked group;
    constexpr size_t kStopped = 2;
    for (int rank = 0; rank < kSize; ++rank) {
      group.start([&, rank] {
        tutti_comm_config_t config = patient_config(algorithm);
        config.timeout_ns = 700 * kMs;
        const OwnRank own(id, rank, kSize, config);
        const std::string where = fmt::format("rank {}", rank);
        expect_result(work(own.get(), board[0].rounds[rank], 500), TUTTI_TIMEOUT, where);
        expect_text("all_reduce of 500 float32, max", where);
        expect_text("rank 2 has ", where);  // not begun it, or begun it and is silent
      });
    }
    wait_for_rounds(board[0], 20);
    group.signal(kStopped, SIGSTOP);
    for (const size_t rank : {0, 1, 3}) CHECK(group.wait_for(rank, 30 * kSecond));
    CHECK_FALSE(group.wait_for(kStopped, 50 * kMs));
    group.signal(kStopped, SIGCONT);
    group.expect_all_good(30 * kSecond);
  }
}

TEST_CASE("a stopped rank that goes on in time does no harm") {
  const tutti_unique_id_t id = make_id();
  Shared<Board> board(1);
  Forked group;
  for (int rank = 0; rank < kSize; ++rank) {
    group.start([&, rank] {
      const OwnRank own(id, rank, kSize, patient_config());
      const auto me = static_cast<size_t>(rank);
      std::vector<float> data(500, 1);
      // The ranks decide together when to stop.
      float go_on = 1;
      while (go_on > 0) {
        expect_success(
            tutti_all_reduce(data.data(), data.data(), 500, TUTTI_FLOAT32, TUTTI_MAX, own.get(), nullptr),
            "work");
        board[0].rounds[me].fetch_add(1);
        go_on = board[0].fault_ns.load() == 0 ? 1.0f : 0.0f;
        expect_success(tutti_all_reduce(&go_on, &go_on, 1, TUTTI_FLOAT32, TUTTI_MIN, own.get(), nullptr),
                       "vote");
      }
    });
  }
  for (const size_t stopped : {0, 1, 3}) {
    wait_for_rounds(board[0], board[0].rounds[stopped].load() + 20);
    group.signal(stopped, SIGSTOP);
    sleep_ms(100);
    group.signal(stopped, SIGCONT);
  }
  board[0].fault_ns.store(1);
  group.expect_all_good();
}

TEST_CASE("an abort reaches the other processes") {
  const tutti_unique_id_t id = make_id();
  Shared<std::atomic<int>> gate(1);
  Forked group;
  for (int rank = 0; rank < 3; ++rank) {
    group.start([&, rank] {
      const OwnRank own(id, rank, 3, patient_config());
      expect_working(own.get(), rank, 3);
      meet_at(gate[0], 3);
      if (rank == 2) {
        sleep_ms(100);
        expect_success(tutti_comm_abort(own.get()), "abort");
      }
      expect_result(tutti_barrier(own.get(), nullptr), TUTTI_ABORTED, fmt::format("rank {}", rank));
      expect_text("rank 2 aborted", "who did it");
    });
  }
  group.expect_all_good(60 * kSecond);
}

TEST_CASE("a forked child must not use the communicator, and its end does not touch the parent's") {
  const tutti_unique_id_t id = make_id();
  Forked group;
  for (int rank = 0; rank < 2; ++rank) {
    group.start([&, rank] {
      const OwnRank own(id, rank, 2, patient_config());
      expect_working(own.get(), rank, 2);
      tutti_request_t request = nullptr;
      if (rank == 0) expect_success(tutti_barrier_async(own.get(), nullptr, &request), "begin");
      Forked children;
      // Two ways to end: at once, or after having destroyed what it took for its own.
      for (const bool destroys : {false, true}) {
        children.start([&, destroys] {
          float value = 1;
          expect_result(tutti_all_reduce(&value, &value, 1, TUTTI_FLOAT32, TUTTI_SUM, own.get(), nullptr),
                        TUTTI_INVALID_USAGE, "the child");
          expect_text("forked", "the child");
          expect_result(tutti_comm_query(own.get()), TUTTI_INVALID_USAGE, "the child");
          expect_result(tutti_comm_abort(own.get()), TUTTI_INVALID_USAGE, "the child");
          tutti_request_t copy = request;
          if (copy != nullptr) expect_result(tutti_request_wait(&copy, -1), TUTTI_INVALID_USAGE, "the child");
          if (destroys) tutti_comm_destroy(own.get());
          tutti_comm_t new_one = nullptr;
          expect_success(tutti_comm_create_local(&new_one, 1, nullptr), "the child's own communicator");
          expect_working(new_one, 0, 1);
          expect_success(tutti_comm_destroy(new_one), "the child's own communicator");
          if (destroys) exit(0);  // with everything that runs at an orderly exit
        });
      }
      children.expect_all_good(30 * kSecond);
      if (rank == 0) {
        expect_success(tutti_request_wait(&request, -1), "wait");
      } else {
        expect_success(tutti_barrier(own.get(), nullptr), "barrier");
      }
      for (int i = 0; i < 100; ++i) expect_working(own.get(), rank, 2);
    });
  }
  group.expect_all_good();
}
