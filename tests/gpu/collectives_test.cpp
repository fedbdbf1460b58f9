// Every algorithm, type, operator, size, root, placement and alignment on device memory: ranks of one process in groups (one launch for all
// of them), and as threads with a launch each.
#include <initializer_list>
#include <random>
#include <string>

#include "tests/catch.h"
#include "tests/gpu/support/device_ranks.h"
#include "tests/gpu/support/driver.h"
#include "tests/runtime/support/sanitizer.h"

namespace {

using workload::Amount;
using workload::Case;
using workload::Collective;

/// One thread is all ranks. Cases go back to back, several in one group now and then.
void run_in_groups(DeviceRanks& ranks, const std::vector<Case>& cases,
                   const std::vector<workload::Bytes>& wanted) {
  const int n = ranks.size();
  std::mt19937_64 random(5);
  for (size_t first = 0; first < cases.size();) {
    const size_t end = std::min(cases.size(), first + 1 + random() % 3);
    std::vector<std::unique_ptr<DeviceJob>> jobs;
    for (size_t i = first; i < end; ++i) {
      for (int r = 0; r < n; ++r)
        jobs.push_back(std::make_unique<DeviceJob>(cases[i], r, n, ranks.device(r)));
    }
    expect_success(tutti_group_start(), "tutti_group_start");
    for (size_t i = first; i < end; ++i) {
      for (int r = 0; r < n; ++r) {
        const auto& job = jobs[(i - first) * static_cast<size_t>(n) + static_cast<size_t>(r)];
        expect_success(job->run(ranks[r], ranks.stream(r)), workload::describe(cases[i]));
      }
    }
    expect_success(tutti_group_end(), "tutti_group_end");
    for (int r = 0; r < n; ++r) ranks.stream(r).wait();
    for (int r = 0; r < n; ++r) expect_success(tutti_comm_query(ranks[r]), "tutti_comm_query");
    for (size_t i = first; i < end; ++i) {
      for (int r = 0; r < n; ++r) {
        auto& job = *jobs[(i - first) * static_cast<size_t>(n) + static_cast<size_t>(r)];
        job.check(wanted[i], workload::in_rank_order(ranks[r], cases[i], true));
      }
    }
    first = end;
  }
}

/// Each rank is a thread. Memory is allocated before and freed afterwards: both may wait for kernels, which wait for other ranks.
void run_on_threads(DeviceRanks& ranks, const std::vector<Case>& cases,
                    const std::vector<workload::Bytes>& wanted) {
  const auto n = static_cast<size_t>(ranks.size());
  std::vector<std::unique_ptr<DeviceJob>> jobs;
  for (const Case& c : cases) {
    for (int r = 0; r < ranks.size(); ++r)
      jobs.push_back(std::make_unique<DeviceJob>(c, r, ranks.size(), ranks.device(r)));
  }
  std::vector<uint64_t> hashes(jobs.size());
  ranks.local().run([&](int rank, tutti_comm_t comm) {
    const tutti::cuda::ContextGuard context(*ranks.device(rank));
    std::mt19937_64 random(static_cast<uint64_t>(rank) + 1);
    for (size_t i = 0; i < cases.size(); ++i) {
      workload::skew(random);
      expect_success(jobs[i * n + static_cast<size_t>(rank)]->run(comm, ranks.stream(rank)),
                     workload::describe(cases[i]));
      if (random() % 4 == 0) ranks.stream(rank).wait();
    }
    ranks.stream(rank).wait();
    expect_success(tutti_comm_query(comm), "tutti_comm_query");
  });
  for (size_t i = 0; i < jobs.size(); ++i) {
    jobs[i]->check(wanted[i / n],
                   workload::in_rank_order(ranks[static_cast<int>(i % n)], cases[i / n], true));
    hashes[i] = jobs[i]->hash();
  }
  workload::check_hashes(cases, ranks.size(), hashes.data());
}

/// How much of the matrix so many ranks go through.
Amount amount_for(int ranks) {
  return kSanitized || ranks > 4 ? Amount::few : Amount::some;
}

std::vector<Case> matrix(Collective collective, int ranks, uint64_t seed) {
  constexpr int64_t kMost = 20011;
  return collective == Collective::all_reduce
             ? workload::all_reduce_matrix(ranks, amount_for(ranks), kMost, seed)
             : workload::broadcast_matrix(ranks, amount_for(ranks), kMost, seed);
}

/// A section for each algorithm and number of ranks: `run(ranks, cases, wanted)`.
template <typename Run>
void for_all_algorithms(Collective collective, std::initializer_list<int> sizes, uint64_t seed, Run&& run) {
  for (const std::string& algorithm : workload::algorithms(collective, workload::Where::threads)) {
    for (const int n : sizes) {
      DYNAMIC_SECTION(name_of(collective)
                      << ", algorithm " << (algorithm.empty() ? "automatic" : algorithm) << ", ranks " << n) {
        const std::vector<Case> cases = matrix(collective, n, seed);
        DeviceRanks ranks(n, algorithm.c_str());
        run(ranks, cases, workload::expected(cases, n));
      }
    }
  }
}

}  // namespace

TEST_CASE("all-reduce in groups") {
  if (skipped()) return;
  for_all_algorithms(Collective::all_reduce, {1, 2, 3, 4, 5, 6, 7, 8}, 31, run_in_groups);
}

TEST_CASE("broadcast in groups") {
  if (skipped()) return;
  for_all_algorithms(Collective::broadcast, {1, 2, 3, 4, 5, 6, 7, 8}, 37, run_in_groups);
}

TEST_CASE("ranks that are threads launch by themselves") {
  if (skipped()) return;
  for_all_algorithms(Collective::all_reduce, {2, 3}, 41, run_on_threads);
  for_all_algorithms(Collective::broadcast, {3}, 43, run_on_threads);
}
