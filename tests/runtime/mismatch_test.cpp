// Ranks that call different things: every rank learns so, with both sides' values, in bounded time, whatever the algorithm.
#include <tutti/tutti.h>

#include <atomic>
#include <vector>

#include "core/clock.h"
#include "tests/catch.h"
#include "tests/runtime/support/gate.h"
#include "tests/runtime/support/local_ranks.h"

namespace {

struct Call {
  enum Kind : uint8_t { all_reduce, broadcast, barrier } kind = all_reduce;
  int64_t count = 0;
  tutti_datatype_t type = TUTTI_FLOAT32;
  tutti_op_t op = TUTTI_SUM;
  int root = 0;
};

struct Difference {
  const char* name;
  Call odd;
  Call other;
  const char* odd_text;
  const char* other_text;
};

// At most 4 KiB of data each.
constexpr Difference kDifferences[] = {
    {"operation",
     {.count = 8},
     {.kind = Call::broadcast, .count = 8},
     "all_reduce of 8 float32, sum",
     "broadcast of 8 float32 from root 0"},
    {"operation and barrier",
     {.kind = Call::barrier},
     {.count = 100},
     "barrier",
     "all_reduce of 100 float32, sum"},
    {"count", {.count = 8}, {.count = 9}, "all_reduce of 8 float32, sum", "all_reduce of 9 float32, sum"},
    {"count 0",
     {.count = 0},
     {.count = 700},
     "all_reduce of 0 float32, sum",
     "all_reduce of 700 float32, sum"},
    {"count of slices",
     {.count = 1000},
     {.count = 3},
     "all_reduce of 1000 float32, sum",
     "all_reduce of 3 float32, sum"},
    {"type",
     {.count = 64},
     {.count = 64, .type = TUTTI_INT32},
     "all_reduce of 64 float32, sum",
     "all_reduce of 64 int32, sum"},
    {"operator",
     {.count = 64},
     {.count = 64, .op = TUTTI_MAX},
     "all_reduce of 64 float32, sum",
     "all_reduce of 64 float32, max"},
    {"root",
     {.kind = Call::broadcast, .count = 5, .root = 1},
     {.kind = Call::broadcast, .count = 5},
     "broadcast of 5 float32 from root 1",
     "broadcast of 5 float32 from root 0"},
    {"count of a broadcast",
     {.kind = Call::broadcast, .count = 500},
     {.kind = Call::broadcast, .count = 600},
     "broadcast of 500 float32 from root 0",
     "broadcast of 600 float32 from root 0"},
};

tutti_result_t run(const Call& call, tutti_comm_t comm, void* in, void* out) {
  switch (call.kind) {
    case Call::all_reduce:
      return tutti_all_reduce(in, out, call.count, call.type, call.op, comm, nullptr);
    case Call::broadcast:
      return tutti_broadcast(in, out, call.count, call.type, call.root, comm, nullptr);
    case Call::barrier:
      return tutti_barrier(comm, nullptr);
  }
  return TUTTI_INTERNAL_ERROR;
}

/// Some good operations, the different one, and good ones until the error is there.
void run_into_difference(const Difference& difference, int rank, int odd_rank, tutti_comm_t comm,
                         std::atomic<int>& gate, int ranks) {
  std::vector<float> in(1024, 1);
  std::vector<float> out(1024);
  for (int i = 0; i < 10; ++i) {
    expect_success(tutti_all_reduce(in.data(), out.data(), 16, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr),
                   "before");
  }
  meet_at(gate, ranks);
  tutti_result_t result =
      run(rank == odd_rank ? difference.odd : difference.other, comm, in.data(), out.data());
  // Where nobody had to wait for anybody, the next operation tells. At the latest after all of them have waited for all.
  for (int i = 0; i < 3 && result == TUTTI_SUCCESS; ++i) {
    result = tutti_all_reduce(in.data(), out.data(), 16, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr);
  }
  const std::string where =
      fmt::format("rank {}, difference in {} on rank {}", rank, difference.name, odd_rank);
  expect_result(result, TUTTI_MISMATCH, where);
  const std::string first = tutti_last_error();
  for (const std::string& part :
       {fmt::format("rank {} called {}", odd_rank, difference.odd_text),
        fmt::format("called {}", difference.other_text), std::string("in operation 11 ")}) {
    expect(first.find(part) != std::string::npos, "{}: the text does not say '{}': {}", where, part, first);
  }
  // Poisoned from now on, with the same words.
  expect_result(tutti_barrier(comm, nullptr), TUTTI_MISMATCH, where);
  expect(first == tutti_last_error(), "{}: first '{}', then '{}'", where, first, tutti_last_error());
  expect_result(tutti_comm_query(comm), TUTTI_MISMATCH, where);
  tutti_request_t request = nullptr;
  expect_result(tutti_barrier_async(comm, nullptr, &request), TUTTI_MISMATCH, where);
  expect(request == nullptr, "{}: a poisoned communicator gave a request", where);
}

void check_all_differences(int ranks, const char* algorithm) {
  for (const Difference& difference : kDifferences) {
    for (const int odd_rank : {0, ranks - 1}) {
      const uint64_t start = tutti::now_ns();
      LocalRanks group(ranks, patient_config(algorithm, 60 * kSecond));
      std::atomic<int> gate{0};
      group.run([&](int rank, tutti_comm_t comm) {
        run_into_difference(difference, rank, odd_rank, comm, gate, ranks);
      });
      for (int r = 0; r < ranks; ++r) CHECK(group.destroy(r) == TUTTI_SUCCESS);
      INFO(difference.name);
      CHECK(tutti::now_ns() - start < 20'000'000'000);
    }
  }
}

}  // namespace

TEST_CASE("different calls are a mismatch on every rank, with both sides' values") {
  for (const char* algorithm :
       {"", "all_reduce=ring,broadcast=chain", "all_reduce=two_shot,broadcast=one_writer",
        "all_reduce=recursive_doubling,broadcast=one_writer_packets", "all_reduce=one_shot",
        "all_reduce=all_pairs"}) {
    for (const int ranks : {2, 3, 5}) {
      DYNAMIC_SECTION("algorithm " << (*algorithm == '\0' ? "automatic" : algorithm) << ", ranks " << ranks) {
        check_all_differences(ranks, algorithm);
      }
    }
  }
}

TEST_CASE("one operation more or less is a mismatch") {
  LocalRanks group(3, patient_config("", 60 * kSecond));
  group.run([](int rank, tutti_comm_t comm) {
    float value = 1;
    float sum = 0;
    tutti_result_t result = TUTTI_SUCCESS;
    // Rank 1 skips the all-reduce of two elements.
    float two[2] = {1, 2};
    if (rank != 1) result = tutti_all_reduce(two, two, 2, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr);
    for (int i = 0; i < 5 && result == TUTTI_SUCCESS; ++i) {
      result = tutti_all_reduce(&value, &sum, 1, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr);
    }
    expect_result(result, TUTTI_MISMATCH, fmt::format("rank {}", rank));
    expect_text("rank 1 called all_reduce of 1 float32", "rank 1");
    expect_text("called all_reduce of 2 float32", "another rank");
  });
}

TEST_CASE("asynchronous operations end with the mismatch too") {
  LocalRanks group(2, patient_config("", 60 * kSecond));
  group.run([](int rank, tutti_comm_t comm) {
    std::vector<float> in(64, 1);
    std::vector<float> out(static_cast<size_t>(64 * 20));
    std::vector<tutti_request_t> requests(20);
    for (size_t i = 0; i < requests.size(); ++i) {
      const int64_t count = i == 10 && rank == 1 ? 7 : 8;
      const tutti_result_t begun = tutti_all_reduce_async(in.data(), &out[64 * i], count, TUTTI_FLOAT32,
                                                          TUTTI_SUM, comm, nullptr, &requests[i]);
      if (begun != TUTTI_SUCCESS) expect_result(begun, TUTTI_MISMATCH, "begin");
    }
    expect_result(tutti_request_wait(&requests[19], -1), TUTTI_MISMATCH, "the last request");
    expect(requests[19] == nullptr, "a failed request was not freed");
    expect_text("in operation 11 ", "the place");
    expect_result(tutti_request_test(&requests[15]), TUTTI_MISMATCH, "another request");
  });
}

TEST_CASE("placement and alignment may differ among ranks") {
  LocalRanks group(3);
  group.run([](int rank, tutti_comm_t comm) {
    std::vector<unsigned char> bytes(5000, 1);
    for (int i = 0; i < 20; ++i) {
      std::fill(bytes.begin(), bytes.end(), static_cast<unsigned char>(1));
      unsigned char* in = bytes.data() + rank;
      unsigned char* out = rank == 0 ? in : in + 2048 + rank;
      expect_success(tutti_all_reduce(in, out, 2000, TUTTI_UINT8, TUTTI_SUM, comm, nullptr),
                     "mixed placement");
      expect(out[0] == 3 && out[1999] == 3, "wrong sums");
    }
  });
}
