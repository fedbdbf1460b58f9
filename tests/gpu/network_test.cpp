// Device memory between several nodes: processes with different TUTTI_NODE_ID, whose devices reach each other only through triggers, progress
// code and UCX. Every algorithm between nodes, even and uneven nodes, graphs, and a peer that ends.
#include <signal.h>

#include <cstdlib>

#include "tests/catch.h"
#include "tests/gpu/support/device_job.h"
#include "tests/gpu/support/device_process.h"
#include "tests/gpu/support/graphs.h"
#include "tests/runtime/support/sanitizer.h"

namespace {

using workload::Amount;
using workload::Case;
using workload::Collective;

/// By rank: the name of its node.
using Nodes = std::string;

/// Becomes a rank of the node of that name, before any variable is read and before CUDA is used.
void move_to(char node) {
  const char name[] = {node, '\0'};
  setenv("TUTTI_NODE_ID", name, 1);
  setenv("UCX_TLS", "tcp", 0);
}

void run_cases(const DeviceProcess& own, int rank, int ranks, const std::vector<Case>& cases,
               const std::vector<workload::Bytes>& wanted, uint64_t* hashes) {
  std::mt19937_64 random(static_cast<uint64_t>(rank) + 1);
  std::vector<std::unique_ptr<DeviceJob>> jobs;
  jobs.reserve(cases.size());
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

/// Runs `body(own, rank)` on every rank; those in `spared` need not end.
template <typename Body>
void on_nodes(const Nodes& nodes, const tutti_comm_config_t& config, const std::vector<size_t>& spared,
              Body&& body) {
  const tutti_unique_id_t id = make_id();
  Forked group;
  for (int rank = 0; rank < static_cast<int>(nodes.size()); ++rank) {
    group.start([&, rank] {
      move_to(nodes[static_cast<size_t>(rank)]);
      DeviceProcess own(id, rank, static_cast<int>(nodes.size()), config);
      body(own, rank);
    });
  }
  group.expect_all_good(60 * kSecond, spared);
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
      const DeviceProcess own(id, rank, ranks, device_config(algorithm.c_str()));
      // Operations on host memory go beside those on devices.
      expect_working(own.comm(), rank, ranks);
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
  struct Setting {
    const char* name;
    const char* value;
  };
  // So little scratch that its rings and the staging ring turn over again and again; epochs whose low half wraps.
  for (const Setting& setting :
       {Setting{"TUTTI_DEVICE_SCRATCH_BYTES", "auto"}, Setting{"TUTTI_DEVICE_SCRATCH_BYTES", "256K"},
        Setting{"TUTTI_EPOCH_START", "4294967292"}}) {
    DYNAMIC_SECTION(setting.name << "=" << setting.value) {
      const Nodes nodes = "aabbc";
      std::mt19937_64 random(71);
      std::vector<Case> cases(kSanitized ? 30 : 150);
      for (size_t i = 0; i < cases.size(); ++i) {
        cases[i] = workload::random_case(static_cast<int>(nodes.size()), i % 10 == 0 ? 400000 : 3000, random);
      }
      setenv(setting.name, setting.value, 1);
      run_on_nodes(nodes, "", cases);
      unsetenv(setting.name);
    }
  }
}

TEST_CASE("ranks that are processes of one node share their devices' windows") {
  if (skipped_here()) return;
  const Nodes nodes = "aaa";
  for (const std::string& algorithm :
       workload::algorithms(Collective::all_reduce, workload::Where::processes)) {
    DYNAMIC_SECTION("all-reduce, algorithm " << (algorithm.empty() ? "automatic" : algorithm)) {
      run_on_nodes(nodes, algorithm, workload::all_reduce_matrix(3, Amount::few, 20011, 73));
    }
  }
  for (const std::string& algorithm :
       workload::algorithms(Collective::broadcast, workload::Where::processes)) {
    DYNAMIC_SECTION("broadcast, algorithm " << (algorithm.empty() ? "automatic" : algorithm)) {
      run_on_nodes(nodes, algorithm, workload::broadcast_matrix(3, Amount::few, 20011, 79));
    }
  }
}

TEST_CASE("a graph with operations between nodes is replayed, with other data and other operations between") {
  if (skipped_here()) return;
  for (const Nodes nodes : {"ab", "aabb"}) {
    const int ranks = static_cast<int>(nodes.size());
    on_nodes(nodes, device_config(), {}, [&](const DeviceProcess& own, int rank) {
      const Sum small(own, rank, ranks, 100);
      const Sum large(own, rank, ranks, 100'000);
      const Sum eager(own, rank, ranks, 5'000);
      Graph graph(own.device->driver(), own.stream.get());
      expect_success(small.run(own), "a small all-reduce, captured");
      expect_success(large.run(own), "a large all-reduce, captured");
      graph.end();
      for (int turn = 0; turn < 10; ++turn) {
        for (const Sum* sum : {&small, &large, &eager}) sum->fill(own, turn);
        graph.launch();
        if (turn % 3 == 1) expect_success(eager.run(own), "an all-reduce between replays");
        own.stream.wait();
        expect_success(tutti_comm_query(own.comm()), "tutti_comm_query");
        small.check(own, turn);
        large.check(own, turn);
        if (turn % 3 == 1) eager.check(own, turn);
      }
    });
  }
}

TEST_CASE("a communicator tells how device memory reaches ranks of other nodes, and what went there") {
  if (skipped_here()) return;
  Shared<std::atomic<int>> gate(1);
  const Nodes nodes = "aabb";  // each rank sends to the one of its rail
  on_nodes(nodes, device_config(), {}, [&](const DeviceProcess& own, int rank) {
    const Sum sum(own, rank, 4, 100'000);
    sum.fill(own, 0);
    expect_success(sum.run(own), "an all-reduce");
    own.stream.wait();
    // While its progress code runs.
    std::string text(8192, '\0');
    expect_success(tutti_comm_describe(own.comm(), text.data(), text.size(), nullptr), "tutti_comm_describe");
    uint64_t sent = 0;
    for (int peer = 0; peer < 4; ++peer) {
      const char node = nodes[static_cast<size_t>(peer)];
      const std::string route = fmt::format("device memory to rank {} (node {}): ucx", peer, node);
      const bool is_elsewhere = node != nodes[static_cast<size_t>(rank)];
      const size_t at = text.find(route);
      expect((at != std::string::npos) == is_elsewhere, "rank {}: '{}' in: {}", rank, route, text);
      if (is_elsewhere && text.compare(text.find(", ", at), 8, ", 0 sent") != 0) ++sent;
    }
    expect(sent != 0, "rank {} sent nothing: {}", rank, text);
    meet_at(gate[0], 4);
  });
}

TEST_CASE("a rank that ends is found by the others' kernels") {
  if (skipped_here()) return;
  for (const Nodes nodes : {"ab", "aabb"}) {
    const auto ranks = static_cast<int>(nodes.size());
    const int victim = ranks - 1;
    Shared<std::atomic<int>> gate(1);
    on_nodes(nodes, device_config(), {static_cast<size_t>(victim)}, [&](const DeviceProcess& own, int rank) {
      const Sum first(own, rank, ranks, 1000);
      const Sum second(own, rank, ranks, 100'000);
      first.fill(own, 0);
      second.fill(own, 0);
      expect_success(first.run(own), "the first all-reduce");
      own.stream.wait();
      first.check(own, 0);
      if (rank != victim) expect_success(second.run(own), "enqueuing the second all-reduce");
      meet_at(gate[0], ranks);
      if (rank == victim) kill(getpid(), SIGKILL);
      const uint64_t start = tutti::now_ns();
      own.stream.wait();
      expect(tutti::now_ns() - start < 20'000'000'000, "rank {} took too long to find out", rank);
      // Ranks that need nothing from the victim themselves are told by those that do.
      expect_result(tutti_comm_query(own.comm()), TUTTI_PEER_LOST, fmt::format("rank {}", rank));
      expect_text(fmt::format("rank {} (node b)", victim), "the victim");
    });
  }
}

TEST_CASE("a rank on another node that is late is named when the deadline has passed") {
  if (skipped_here()) return;
  tutti_comm_config_t config = device_config();
  config.timeout_ns = kSecond;
  Shared<std::atomic<int>> gate(1);
  on_nodes("ab", config, {}, [&](const DeviceProcess& own, int rank) {
    const Sum sum(own, rank, 2, 1000);
    sum.fill(own, 0);
    if (rank == 0) {
      expect_success(sum.run(own), "enqueuing");
      own.stream.wait();
      expect_result(tutti_comm_query(own.comm()), TUTTI_TIMEOUT, "rank 0");
      expect_text("rank 1", "who is late");
      expect_text("its device memory is reached by ucx", "the way there");
      expect_text("all_reduce of 1000 int32, sum", "what was called");
    }
    meet_at(gate[0], 2);
  });
}

TEST_CASE("ranks of two nodes that call different operations are told both") {
  if (skipped_here()) return;
  Shared<std::atomic<int>> gate(1);
  on_nodes("ab", device_config(), {}, [&](const DeviceProcess& own, int rank) {
    const Sum sum(own, rank, 2, rank == 0 ? 1000 : 999);
    sum.fill(own, 0);
    expect_success(sum.run(own), "enqueuing");
    own.stream.wait();
    expect_result(tutti_comm_query(own.comm()), TUTTI_MISMATCH, fmt::format("rank {}", rank));
    expect_text("all_reduce of 1000 int32, sum", "rank 0's call");
    expect_text("all_reduce of 999 int32, sum", "rank 1's call");
    meet_at(gate[0], 2);
  });
}

TEST_CASE("a communicator of several nodes of which only some ranks have devices is refused") {
  if (skipped_here()) return;
  const tutti_unique_id_t id = make_id();
  Forked group;
  for (int rank = 0; rank < 2; ++rank) {
    group.start([&, rank] {
      move_to("ab"[rank]);
      tutti_comm_config_t config = device_config();
      if (rank == 1) config.device = TUTTI_DEVICE_NONE;
      tutti_comm_t comm = nullptr;
      expect_result(tutti_comm_create(&comm, &id, rank, 2, &config), TUTTI_MISMATCH, "tutti_comm_create");
      expect_text("rank 1 uses none", "who has none");
    });
  }
  group.expect_all_good();
}
