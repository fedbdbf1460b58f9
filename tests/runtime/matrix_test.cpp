// Every algorithm, type, operator, count, root, placement and alignment gives the right result on every number of rank
// threads, back to back with changing data. Run several times with different scratch, slice and credit settings.
#include <tutti/tutti.h>

#include <cstdlib>

#include "tests/catch.h"
#include "tests/runtime/support/local_ranks.h"
#include "tests/runtime/support/sanitizer.h"
#include "tests/runtime/support/workload.h"

namespace {

using workload::Amount;
using workload::Case;
using workload::Collective;

void run_on_threads(int ranks, const char* algorithm, const std::vector<Case>& cases) {
  const std::vector<workload::Bytes> wanted = workload::expected(cases, ranks);
  std::vector<uint64_t> hashes(cases.size() * static_cast<size_t>(ranks));
  LocalRanks group(ranks, algorithm);
  group.run([&](int rank, tutti_comm_t comm) {
    workload::run_cases(comm, rank, ranks, cases, wanted, hashes.data());
  });
  workload::check_hashes(cases, ranks, hashes.data());
}

/// Many ranks share few cores, and all of them take part in every step of a ring: fewer cases then.
Amount amount_for(int ranks) {
  if (ranks > 8) return Amount::few;
  return kSanitized || ranks > 5 ? Amount::some : Amount::full;
}

int64_t most_for(int ranks) {
  if (ranks > 16) return 2047;
  if (kSanitized) return 20011;
  return ranks > 5 ? 20011 : 70001;
}

std::vector<int> rank_counts() {
  if (kSanitized) return {1, 2, 3, 5, 8, 16};
  return {1, 2, 3, 4, 5, 7, 8, 16, 33, 64};
}

}  // namespace

TEST_CASE("all-reduce on rank threads") {
  for (const std::string& algorithm :
       workload::algorithms(Collective::all_reduce, workload::Where::threads)) {
    for (const int ranks : rank_counts()) {
      DYNAMIC_SECTION("algorithm " << (algorithm.empty() ? "automatic" : algorithm) << ", ranks " << ranks) {
        run_on_threads(ranks, algorithm.c_str(),
                       workload::all_reduce_matrix(ranks, amount_for(ranks), most_for(ranks), 17));
      }
    }
  }
}

TEST_CASE("broadcast on rank threads") {
  for (const std::string& algorithm : workload::algorithms(Collective::broadcast, workload::Where::threads)) {
    for (const int ranks : rank_counts()) {
      DYNAMIC_SECTION("algorithm " << (algorithm.empty() ? "automatic" : algorithm) << ", ranks " << ranks) {
        run_on_threads(ranks, algorithm.c_str(),
                       workload::broadcast_matrix(ranks, amount_for(ranks), most_for(ranks), 23));
      }
    }
  }
}

TEST_CASE("a barrier is left only after all ranks have entered it") {
  for (const int ranks : {1, 2, 5, 16}) {
    LocalRanks group(ranks);
    std::vector<std::atomic<int>> entered(static_cast<size_t>(ranks));
    group.run([&](int rank, tutti_comm_t comm) {
      std::mt19937_64 random(static_cast<uint64_t>(rank));
      for (int round = 1; round <= 100; ++round) {
        workload::skew(random);
        entered[static_cast<size_t>(rank)].store(round, std::memory_order_relaxed);
        expect_success(tutti_barrier(comm, nullptr), "tutti_barrier");
        for (int peer = 0; peer < ranks; ++peer) {
          const int theirs = entered[static_cast<size_t>(peer)].load(std::memory_order_relaxed);
          expect(theirs >= round, "rank {} left barrier {} while rank {} was in round {}", rank, round, peer,
                 theirs);
        }
      }
    });
  }
}

TEST_CASE("what is forced is what runs") {
  for (const Collective collective : {Collective::all_reduce, Collective::broadcast}) {
    for (const std::string& algorithm : workload::algorithms(collective, workload::Where::threads)) {
      if (algorithm.empty()) continue;
      const std::string name(name_of(collective));
      LocalRanks both(3, algorithm.c_str());
      CHECK(tutti_algorithm_name(both[0], name.c_str(), 100, TUTTI_FLOAT32) == algorithm);
      LocalRanks one(3, (name + "=" + algorithm).c_str());
      CHECK(tutti_algorithm_name(one[0], name.c_str(), 100, TUTTI_FLOAT32) == algorithm);
    }
  }
}
