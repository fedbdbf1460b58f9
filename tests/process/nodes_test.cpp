// Several nodes on one machine: ranks with different TUTTI_NODE_ID share no memory and talk through ports. Every algorithm,
// even and uneven nodes, and nodes whose ranks are not consecutive.
#include <cstdlib>

#include "tests/catch.h"
#include "tests/process/support/forked.h"
#include "tests/runtime/support/sanitizer.h"
#include "tests/runtime/support/workload.h"

namespace {

using workload::Amount;
using workload::Case;
using workload::Collective;

/// By rank: the name of its node.
using Nodes = std::string;

/// Becomes a rank of the node of that name, before any variable is read.
void move_to(char node) {
  const char name[] = {node, '\0'};
  setenv("TUTTI_NODE_ID", name, 1);
  // The network is what is tested, not what UCX finds beside it.
  setenv("UCX_TLS", "tcp", 0);
}

void run_on_nodes(const Nodes& nodes, const std::string& algorithm, const std::vector<Case>& cases) {
  const auto ranks = static_cast<int>(nodes.size());
  const std::vector<workload::Bytes> wanted = workload::expected(cases, ranks);
  Shared<uint64_t> hashes(cases.size() * nodes.size());
  const tutti_unique_id_t id = make_id();
  Forked group;
  for (int rank = 0; rank < ranks; ++rank) {
    group.start([&, rank] {
      move_to(nodes[static_cast<size_t>(rank)]);
      const OwnRank own(id, rank, ranks, patient_config(algorithm.c_str()));
      workload::run_cases(own.get(), rank, ranks, cases, wanted, hashes.data());
    });
  }
  group.expect_all_good();
  workload::check_hashes(cases, ranks, hashes.data());
}

std::vector<Nodes> shapes() {
  if (kSanitized) return {"ab", "aabc"};
  return {"ab", "aab", "aabb", "abc", "abab", "aaabbbbbc", "abcd", "aabbccdd"};
}

}  // namespace

TEST_CASE("all-reduce on several nodes") {
  for (const std::string& algorithm : workload::algorithms(Collective::all_reduce, workload::Where::nodes)) {
    for (const Nodes& nodes : shapes()) {
      DYNAMIC_SECTION("algorithm " << (algorithm.empty() ? "automatic" : algorithm) << ", nodes " << nodes) {
        const auto ranks = static_cast<int>(nodes.size());
        run_on_nodes(nodes, algorithm, workload::all_reduce_matrix(ranks, Amount::few, 300007, 47));
      }
    }
  }
}

TEST_CASE("broadcast on several nodes") {
  for (const std::string& algorithm : workload::algorithms(Collective::broadcast, workload::Where::nodes)) {
    for (const Nodes& nodes : shapes()) {
      DYNAMIC_SECTION("algorithm " << (algorithm.empty() ? "automatic" : algorithm) << ", nodes " << nodes) {
        const auto ranks = static_cast<int>(nodes.size());
        run_on_nodes(nodes, algorithm, workload::broadcast_matrix(ranks, Amount::few, 300007, 53));
      }
    }
  }
}

TEST_CASE("operations of all kinds and sizes follow one another on several nodes") {
  const Nodes nodes = "aabbc";
  std::mt19937_64 random(59);
  std::vector<Case> cases;
  for (int i = 0; i < (kSanitized ? 50 : 400); ++i) {
    cases.push_back(
        workload::random_case(static_cast<int>(nodes.size()), i % 10 == 0 ? 400000 : 3000, random));
  }
  run_on_nodes(nodes, "", cases);
}

TEST_CASE("a mismatch between nodes is told to all, with both sides' values") {
  const Nodes nodes = "aabb";
  for (const int odd : {1, 2}) {
    const tutti_unique_id_t id = make_id();
    Shared<std::atomic<int>> gate(1);
    Forked group;
    for (int rank = 0; rank < 4; ++rank) {
      group.start([&, rank] {
        move_to(nodes[static_cast<size_t>(rank)]);
        const OwnRank own(id, rank, 4, patient_config());
        expect_working(own.get(), rank, 4);
        meet_at(gate[0], 4);
        std::vector<float> data(100, 1);
        const int64_t count = rank == odd ? 99 : 100;
        expect_result(
            tutti_all_reduce(data.data(), data.data(), count, TUTTI_FLOAT32, TUTTI_SUM, own.get(), nullptr),
            TUTTI_MISMATCH, fmt::format("rank {}", rank));
        expect_text("all_reduce of 99 float32, sum", "the odd rank's call");
        expect_text("all_reduce of 100 float32, sum", "another rank's call");
      });
    }
    group.expect_all_good();
  }
}

TEST_CASE("a rank that ends is named with its node on all others") {
  const Nodes nodes = "aabbc";
  for (const int victim : {0, 3, 4}) {
    const tutti_unique_id_t id = make_id();
    Shared<std::atomic<int>> gate(1);
    Forked group;
    for (int rank = 0; rank < 5; ++rank) {
      group.start([&, rank] {
        move_to(nodes[static_cast<size_t>(rank)]);
        const OwnRank own(id, rank, 5, patient_config());
        expect_working(own.get(), rank, 5);
        meet_at(gate[0], 5);
        if (rank == victim) kill(getpid(), SIGKILL);
        std::vector<float> data(100000, 1);
        const uint64_t start = tutti::now_ns();
        expect_result(
            tutti_all_reduce(data.data(), data.data(), 100000, TUTTI_FLOAT32, TUTTI_SUM, own.get(), nullptr),
            TUTTI_PEER_LOST, fmt::format("rank {}", rank));
        expect_text(fmt::format("rank {} (node {})", victim, nodes[static_cast<size_t>(victim)]),
                    "the victim");
        expect(tutti::now_ns() - start < 20'000'000'000, "rank {} took too long to find out", rank);
      });
    }
    group.expect_all_good(60 * kSecond, {static_cast<size_t>(victim)});
  }
}

TEST_CASE("a rank that stops is named with its node on all others, by the deadline") {
  const Nodes nodes = "aabbc";
  const int victim = 2;
  const tutti_unique_id_t id = make_id();
  Shared<std::atomic<int>> gate(1);
  Forked group;
  for (int rank = 0; rank < 5; ++rank) {
    group.start([&, rank] {
      move_to(nodes[static_cast<size_t>(rank)]);
      tutti_comm_config_t config = patient_config();
      config.timeout_ns = 3 * kSecond;
      const OwnRank own(id, rank, 5, config);
      expect_working(own.get(), rank, 5);
      meet_at(gate[0], 5);
      if (rank == victim) raise(SIGSTOP);
      std::vector<float> data(1000, 1);
      expect_result(
          tutti_all_reduce(data.data(), data.data(), 1000, TUTTI_FLOAT32, TUTTI_SUM, own.get(), nullptr),
          TUTTI_TIMEOUT, fmt::format("rank {}", rank));
      expect_text("rank 2 (node b)", "the victim");
    });
  }
  group.expect_all_good(60 * kSecond, {static_cast<size_t>(victim)});
}

TEST_CASE("an abort on one node reaches the others") {
  const tutti_unique_id_t id = make_id();
  Shared<std::atomic<int>> gate(1);
  Forked group;
  for (int rank = 0; rank < 3; ++rank) {
    group.start([&, rank] {
      move_to("abb"[rank]);
      const OwnRank own(id, rank, 3, patient_config());
      expect_working(own.get(), rank, 3);
      meet_at(gate[0], 3);
      if (rank == 0) {
        expect_success(tutti_comm_abort(own.get()), "abort");
      } else {
        expect_result(tutti_barrier(own.get(), nullptr), TUTTI_ABORTED, fmt::format("rank {}", rank));
        expect_text("rank 0 (node a) aborted the communicator", "who aborted");
      }
      meet_at(gate[0], 6);
    });
  }
  group.expect_all_good();
}

TEST_CASE("a communicator says how its peers are reached") {
  const tutti_unique_id_t id = make_id();
  Forked group;
  for (int rank = 0; rank < 3; ++rank) {
    group.start([&, rank] {
      move_to("abb"[rank]);
      const OwnRank own(id, rank, 3, patient_config());
      expect_working(own.get(), rank, 3);
      std::vector<char> text(10000);
      size_t needed = 0;
      expect_success(tutti_comm_describe(own.get(), text.data(), text.size(), &needed),
                     "tutti_comm_describe");
      const std::string said = text.data();
      expect(needed == said.size() + 1, "{} bytes are needed for {}", needed, said.size());
      expect(said.find("2 nodes") != std::string::npos, "no nodes in: {}", said);
      expect(said.find("ucx") != std::string::npos, "no ucx in: {}", said);
      const bool shares = said.find("shared memory") != std::string::npos;
      expect(shares == (rank != 0), "rank {} says: {}", rank, said);
    });
  }
  group.expect_all_good();
}
