// The matrix of tests/runtime with ranks that are processes: what they share is only what the bootstrap has given them.
#include "tests/catch.h"
#include "tests/process/support/forked.h"
#include "tests/runtime/support/sanitizer.h"
#include "tests/runtime/support/workload.h"

namespace {

using workload::Amount;
using workload::Case;
using workload::Collective;

void run_on_processes(int ranks, const std::string& algorithm, const std::vector<Case>& cases) {
  const std::vector<workload::Bytes> wanted = workload::expected(cases, ranks);
  Shared<uint64_t> hashes(cases.size() * static_cast<size_t>(ranks));
  const tutti_unique_id_t id = make_id();
  Forked group;
  for (int rank = 0; rank < ranks; ++rank) {
    group.start([&, rank] {
      const OwnRank own(id, rank, ranks, patient_config(algorithm.c_str()));
      workload::run_cases(own.get(), rank, ranks, cases, wanted, hashes.data());
    });
  }
  group.expect_all_good();
  workload::check_hashes(cases, ranks, hashes.data());
}

Amount amount_for(int ranks) {
  if (kSanitized || ranks > 8) return Amount::few;
  return Amount::some;
}

std::vector<int> rank_counts() {
  if (kSanitized) return {1, 2, 5};
  return {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16};
}

}  // namespace

TEST_CASE("all-reduce on processes") {
  for (const std::string& algorithm :
       workload::algorithms(Collective::all_reduce, workload::Where::processes)) {
    for (const int ranks : rank_counts()) {
      DYNAMIC_SECTION("algorithm " << (algorithm.empty() ? "automatic" : algorithm) << ", ranks " << ranks) {
        run_on_processes(ranks, algorithm, workload::all_reduce_matrix(ranks, amount_for(ranks), 20011, 41));
      }
    }
  }
}

TEST_CASE("broadcast on processes") {
  for (const std::string& algorithm :
       workload::algorithms(Collective::broadcast, workload::Where::processes)) {
    for (const int ranks : rank_counts()) {
      DYNAMIC_SECTION("algorithm " << (algorithm.empty() ? "automatic" : algorithm) << ", ranks " << ranks) {
        run_on_processes(ranks, algorithm, workload::broadcast_matrix(ranks, amount_for(ranks), 20011, 43));
      }
    }
  }
}

TEST_CASE("a mismatch between processes is told to both, with both sides' values") {
  const tutti_unique_id_t id = make_id();
  Shared<std::atomic<int>> gate(1);
  Forked group;
  for (int rank = 0; rank < 3; ++rank) {
    group.start([&, rank] {
      const OwnRank own(id, rank, 3, patient_config());
      expect_working(own.get(), rank, 3);
      meet_at(gate[0], 3);
      std::vector<float> data(100, 1);
      const int64_t count = rank == 1 ? 99 : 100;
      expect_result(
          tutti_all_reduce(data.data(), data.data(), count, TUTTI_FLOAT32, TUTTI_SUM, own.get(), nullptr),
          TUTTI_MISMATCH, fmt::format("rank {}", rank));
      expect_text("rank 1 called all_reduce of 99 float32, sum", "rank 1's call");
      expect_text("called all_reduce of 100 float32, sum", "another rank's call");
    });
  }
  group.expect_all_good();
}
