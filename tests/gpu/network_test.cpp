// Device memory between several nodes: processes with different TUTTI_NODE_ID, whose devices reach each other only through triggers, progress
// code and UCX. Every algorithm between nodes, even and uneven nodes, graphs, and a peer that ends.
#include <signal.h>

#include <cstdlib>

#include "tests/catch.h"
#include "tests/gpu/support/device_job.h"
#include "tests/gpu/support/driver.h"
#include "tests/gpu/support/graphs.h"
#include "tests/process/support/forked.h"
#include "tests/runtime/support/sanitizer.h"

namespace {

using workload::Amount;
using workload::Case;
using workload::Collective;

/// By rank: the name of its node.
using Nodes = std::string;

tutti_comm_config_t device_config(const char* algorithm = nullptr) {
  tutti_comm_config_t config = patient_config(algorithm);
  config.device = 0;
  return config;
}

/// Becomes a rank of the node of that name, before any variable is read and before CUDA is used.
void move_to(char node) {
  const char name[] = {node, '\0'};
  setenv("TUTTI_NODE_ID", name, 1);
  setenv("UCX_TLS", "tcp", 0);
}

/// CUDA must not be initialised before a fork: the question is asked by a process of its own.
bool skipped_here() {
  static const bool skips = [] {
    Shared<int> missing(1);
    Forked asker;
    asker.start([&] { missing[0] = missing_device().empty() ? 0 : 1; });
    asker.expect_all_good();
    return missing[0] != 0;
  }();
  if (skips) std::printf("SKIPPED: no CUDA device\n");
  return skips;
}

/// What one rank of a test has: made in its own process.
struct Rank {
  Rank(const tutti_unique_id_t& id, int rank, int ranks, const tutti_comm_config_t& config)
      : own(id, rank, ranks, config),
        device(tutti::cuda::Device::open(0)),
        context(*device),
        stream(*device) {}

  tutti_comm_t comm() const { return own.get(); }

  OwnRank own;
  tutti::cuda::DevicePtr device;
  tutti::cuda::ContextGuard context;
  CopyStream stream;
};

void run_cases(const Rank& own, int rank, int ranks, const std::vector<Case>& cases,
               const std::vector<workload::Bytes>& wanted, uint64_t* hashes) {
  std::mt19937_64 random(static_cast<uint64_t>(rank) + 1);
  std::vector<std::unique_ptr<DeviceJob>> jobs;
  for (const Case& c : cases) jobs.push_back(std::make_unique<DeviceJob>(c, rank, ranks, own.device));
  for (size_t i = 0; i < cases.size(); ++i) {
    workload::skew(random);
    expect_success(jobs[i]->run(own.comm(), own.stream), workload::describe(cases[i]));
    if (random() % 4 == 0) own.stream.wait();
  }
  own.stream.wait();
  expect_success(tutti_comm_query(own.comm()), "tutti_comm_query");
  for (size_t i = 0; i < cases.size(); ++i) {
    jobs[i]->check(wanted[i], workload::in_rank_order(own.comm(), cases[i]));
    hashes[i * static_cast<size_t>(ranks) + static_cast<size_t>(rank)] = jobs[i]->hash();
  }
}

void run_on_nodes(const Nodes& nodes, const std::string& algorithm, const std::vector<Case>& cases) {
  const auto ranks = static_cast<int>(nodes.size());
  const std::vector<workload::Bytes> wanted = workload::expected(cases, ranks);
  Shared<uint64_t> hashes(cases.size() * nodes.size());
  Shared<std::atomic<int>> gate(1);
  const tutti_unique_id_t id = make_id();
  Forked group;
  for (int rank = 0; rank < ranks; ++rank) {
    group.start([&, rank] {
      move_to(nodes[static_cast<size_t>(rank)]);
      const Rank own(id, rank, ranks, device_config(algorithm.c_str()));
      run_cases(own, rank, ranks, cases, wanted, hashes.data());
      meet_at(gate[0], ranks);
    });
  }
  group.expect_all_good();
  workload::check_hashes(cases, ranks, hashes.data());
}

std::vector<Nodes> shapes() {
  if (kSanitized) return {"ab", "aabc"};
  return {"ab", "aabb", "aabcc"};
}

}  // namespace

TEST_CASE("all-reduce on devices of several nodes") {
  if (skipped_here()) return;
  for (const std::string& algorithm : workload::algorithms(Collective::all_reduce, workload::Where::nodes)) {
    for (const Nodes& nodes : shapes()) {
      DYNAMIC_SECTION("algorithm " << (algorithm.empty() ? "automatic" : algorithm) << ", nodes " << nodes) {
        const auto ranks = static_cast<int>(nodes.size());
        run_on_nodes(nodes, algorithm, workload::all_reduce_matrix(ranks, Amount::few, 270007, 61));
      }
    }
  }
}

TEST_CASE("broadcast on devices of several nodes") {
  if (skipped_here()) return;
  for (const std::string& algorithm : workload::algorithms(Collective::broadcast, workload::Where::nodes)) {
    for (const Nodes& nodes : shapes()) {
      DYNAMIC_SECTION("algorithm " << (algorithm.empty() ? "automatic" : algorithm) << ", nodes " << nodes) {
        const auto ranks = static_cast<int>(nodes.size());
        run_on_nodes(nodes, algorithm, workload::broadcast_matrix(ranks, Amount::few, 270007, 67));
      }
    }
  }
}

TEST_CASE("operations of all kinds and sizes follow one another on devices of several nodes") {
  if (skipped_here()) return;
  const Nodes nodes = "aabbc";
  std::mt19937_64 random(71);
  std::vector<Case> cases;
  for (int i = 0; i < (kSanitized ? 30 : 150); ++i) {
    cases.push_back(
        workload::random_case(static_cast<int>(nodes.size()), i % 10 == 0 ? 400000 : 3000, random));
  }
  run_on_nodes(nodes, "", cases);
}
