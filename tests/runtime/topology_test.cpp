// Topology: placement of ranks on nodes from any bytes that claim to say so, node ids in namespaces, and a machine's description.
#include <fmt/format.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "core/error.h"
#include "runtime/describe.h"
#include "runtime/topology/machine.h"
#include "runtime/topology/networks.h"
#include "runtime/topology/placement.h"
#include "runtime/topology/printer.h"
#include "tests/catch.h"

namespace {

using namespace tutti;

/// One rank's bytes: on host `host`, with node id `id`, on a machine named after the host.
std::string at(const std::string& id, const std::string& host, const std::string& machine = "boot=1,net=1") {
  return Whereabouts{.node_id = id, .machine = machine, .host = host, .pid = 7}.serialize();
}

template <typename Body>
std::string error_of(Body body) {
  try {
    body();
  } catch (const Error& e) {
    CHECK(e.code() == Result::invalid_argument);
    return e.what();
  }
  return "no error";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// hwloc's synthetic machines, for as long as this lives.
class SyntheticMachine {
 public:
  explicit SyntheticMachine(const char* description) { ::setenv("HWLOC_SYNTHETIC", description, 1); }
  ~SyntheticMachine() { ::unsetenv("HWLOC_SYNTHETIC"); }
  SyntheticMachine(const SyntheticMachine&) = delete;
  SyntheticMachine& operator=(const SyntheticMachine&) = delete;
};

}  // namespace

TEST_CASE("ranks are placed on uneven nodes") {
  std::vector<std::string> described;
  for (int r = 0; r < 9; ++r)
    described.push_back(r < 3 ? at("x", "a") : (r < 8 ? at("y", "b") : at("z", "c")));
  const Placement placement = Placement::from(described);
  CHECK(placement.size() == 9);
  CHECK(placement.node_count() == 3);
  CHECK(placement.nodes == std::vector<uint16_t>{0, 0, 0, 1, 1, 1, 1, 1, 2});
  CHECK(placement.places == std::vector<int>{0, 1, 2, 0, 1, 2, 3, 4, 0});
  CHECK(placement.ranks_of(1) == std::vector<int>{3, 4, 5, 6, 7});
  CHECK(placement.rails() == 1);
  CHECK(placement.rail(0) == std::vector<int>{0, 3, 8});
  CHECK_THROWS_AS(placement.rail(1), Error);
  CHECK(placement.shape_nodes() == placement.nodes);
  CHECK(placement.summary() == "9 ranks on 3 nodes: a 0-2, b 3-7, c 8");
}

TEST_CASE("ranks of a node need not follow each other") {
  const Placement placement =
      Placement::from({at("y", "b"), at("x", "a"), at("y", "b"), at("x", "a"), at("x", "a")});
  CHECK(placement.nodes == std::vector<uint16_t>{0, 1, 0, 1, 1});
  CHECK(placement.places == std::vector<int>{0, 0, 1, 1, 2});
  CHECK(placement.ranks_of(0) == std::vector<int>{0, 2});
  CHECK(placement.ranks_of(1) == std::vector<int>{1, 3, 4});
  CHECK(placement.rails() == 2);
  CHECK(placement.rail(1) == std::vector<int>{2, 3});
  CHECK(placement.same_node(1, 4));
  CHECK_FALSE(placement.same_node(0, 1));
  CHECK(placement.summary() == "5 ranks on 2 nodes: b 0,2, a 1,3-4");
}

TEST_CASE("nodes have names of their own, and ranks are called by them") {
  const Placement placement =
      Placement::from({at("1", "b"), at("2", "b#2"), at("3", "b"), at("4", "b"), at("3", "b")});
  CHECK(placement.names == std::vector<std::string>{"b", "b#2", "b#3", "b#4"});
  CHECK(placement.rank_name(4) == "rank 4 (node b#3)");
  CHECK(placement.rank_names().size() == 5);
  CHECK(placement.rank_names()[1] == "rank 1 (node b#2)");
  CHECK(placement.rank_name(9) == "rank 9");
}

TEST_CASE("on one node a rank is a number") {
  const Placement one = Placement::from({at("x", "a"), at("x", "a")});
  CHECK(one.rank_name(1) == "rank 1");
  CHECK(one.shape_nodes().empty());
  const Placement local = Placement::one_node(3);
  CHECK(local.nodes == std::vector<uint16_t>{0, 0, 0});
  CHECK(local.places == std::vector<int>{0, 1, 2});
  CHECK(local.ranks_of(0) == std::vector<int>{0, 1, 2});
  CHECK(local.rank_name(2) == "rank 2");
  CHECK(local.rails() == 3);
}

TEST_CASE("one node id on machines that share no memory is an error that names both ranks") {
  const std::string text = error_of([] {
    Placement::from({at("name=n", "n"), at("name=m", "m"), at("name=n", "n", "boot=2,net=1")});
  });
  CHECK(contains(text, "ranks 0 and 2 have the same node id 'name=n'"));
  CHECK(contains(text, "boot=1,net=1"));
  CHECK(contains(text, "boot=2,net=1"));
  CHECK(contains(text, "TUTTI_NODE_ID"));
}

TEST_CASE("whereabouts come back as they were, and nothing else is taken") {
  const Whereabouts mine = {.node_id = std::string(255, 'i'), .machine = "m", .host = "h", .pid = 0xdeadbeef};
  const std::string bytes = mine.serialize();
  const Whereabouts back = Whereabouts::parse(bytes, 0);
  CHECK(back.node_id == mine.node_id);
  CHECK(back.machine == mine.machine);
  CHECK(back.host == mine.host);
  CHECK(back.pid == mine.pid);

  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::string text = error_of([&] { Whereabouts::parse(bytes.substr(0, size), 5); });
    CHECK(contains(text, fmt::format("rank 5: where it runs cannot be read from the {} bytes", size)));
  }
  CHECK(contains(error_of([&] { Whereabouts::parse(bytes + "x", 5); }), "were announced"));
  CHECK(contains(error_of([] { Whereabouts::parse(at("a b", "h"), 5); }), "not printable"));
  CHECK(contains(error_of([] { Whereabouts::parse(at("a", "h\x1b[2J"), 5); }), "not printable"));
  CHECK(contains(error_of([] { Whereabouts::parse(at("", "h"), 5); }), "empty"));
  CHECK(contains(error_of([] { Placement::from({at("a", "h"), "rubbish"}); }), "rank 1: "));
}

TEST_CASE("random changes of whereabouts are taken or refused, never misread") {
  const std::string good = at("boot=1,net=2", "host");
  int taken = 0;
  int refused = 0;
  for (uint64_t seed = 0; seed < 20'000; ++seed) {
    std::mt19937_64 random(seed);
    std::string bytes = good;
    for (uint64_t changes = random() % 4; changes > 0; --changes)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    if (random() % 4 == 0) bytes.resize(random() % (2 * bytes.size()), static_cast<char>(random()));
    std::string again;
    std::string problem;
    try {
      again = Whereabouts::parse(bytes, 1).serialize();
    } catch (const Error& e) {
      problem = e.what();
    }
    // Whatever is understood says exactly what the bytes say.
    if (problem.empty()) REQUIRE(again == bytes);
    if (!problem.empty()) REQUIRE(problem.rfind("rank 1: ", 0) == 0);
    REQUIRE(std::all_of(problem.begin(), problem.end(), [](char c) { return c >= ' ' && c <= '~'; }));
    ++(problem.empty() ? taken : refused);
  }
  CHECK(taken > 1000);
  CHECK(refused > 1000);
}

TEST_CASE("a node id is the machine and its namespaces, or what the user says") {
  const Whereabouts mine = my_whereabouts("");
  CHECK(mine.node_id == my_whereabouts("").node_id);
  CHECK(mine.node_id.rfind(mine.machine, 0) == 0);
  CHECK(mine.pid == static_cast<uint32_t>(::getpid()));
  CHECK(contains(mine.machine, "boot="));
  CHECK(contains(mine.machine, "net="));
  const Whereabouts named = my_whereabouts("rack-7");
  CHECK(named.node_id == "name=rack-7");
  CHECK(named.host == "rack-7");
  CHECK(named.machine == mine.machine);
  CHECK_NOTHROW(Placement::from({mine.serialize(), named.serialize()}));
  CHECK(Placement::from({mine.serialize(), named.serialize(), mine.serialize()}).node_count() == 2);
}

TEST_CASE("another network namespace is another node", "[.namespaces]") {
  int pipe_ends[2];
  REQUIRE(::pipe(pipe_ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    if (::unshare(CLONE_NEWNET) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) ::_exit(77);
    const std::string bytes = Placement::describe_self("");
    ::_exit(::write(pipe_ends[1], bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()) ? 0 : 1);
  }
  ::close(pipe_ends[1]);
  char buffer[1024];
  const ssize_t got = ::read(pipe_ends[0], buffer, sizeof(buffer));
  ::close(pipe_ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) {
    std::puts("SKIPPED: network namespaces are not permitted");
    return;
  }
  REQUIRE(WEXITSTATUS(status) == 0);
  REQUIRE(got > 0);
  const std::string theirs(buffer, static_cast<size_t>(got));
  CHECK(Placement::from({Placement::describe_self(""), theirs}).node_count() == 2);
  // A common name cannot bridge it.
  const Whereabouts there = Whereabouts::parse(theirs, 1);
  CHECK(there.machine != my_whereabouts("").machine);
  CHECK_THROWS_AS(Placement::from({Placement::describe_self("n"), at("name=n", "n", there.machine)}), Error);
}

TEST_CASE("lists of numbers are written as ranges") {
  CHECK(format_list({}).empty());
  CHECK(format_list({3}) == "3");
  CHECK(format_list({0, 1, 2, 3, 8, 10, 11}) == "0-3,8,10-11");
}

TEST_CASE("memory is written as people say it") {
  CHECK(memory_text(0) == "0.0 KiB");
  CHECK(memory_text(1536) == "1.5 KiB");
  CHECK(memory_text(uint64_t{3} << 40) == "3.0 TiB");
  CHECK(memory_text(UINT64_MAX) == "16384.0 PiB");
}

TEST_CASE("this machine is described") {
  const Machine machine = look_at_machine();
  CHECK(contains(machine.source, "hwloc"));
  REQUIRE_FALSE(machine.processors.empty());
  REQUIRE_FALSE(machine.usable.empty());
  CHECK(machine.memory > 0);
  CHECK(std::includes(machine.processors.begin(), machine.processors.end(), machine.usable.begin(),
                      machine.usable.end()));
  const auto loopback = std::find_if(machine.networks.begin(), machine.networks.end(),
                                     [](const NetworkDevice& device) { return device.loopback; });
  REQUIRE(loopback != machine.networks.end());
  CHECK(loopback->name == "lo");
  // Packages or a reason why there are none.
  CHECK((!machine.packages.empty() || !machine.problem.empty()));
}

TEST_CASE("two packages with their memory, caches and cores") {
  const SyntheticMachine synthetic("Package:2 NUMANode:1(memory=1073741824) L3Cache:2(size=8MB) Core:2 PU:2");
  const Machine machine = look_at_machine();
  CHECK(machine.packages.size() == 2);
  CHECK(machine.numa.size() == 2);
  CHECK(machine.caches.size() == 4);
  CHECK(machine.cores.size() == 8);
  CHECK(machine.processors.size() == 16);
  CHECK(machine.packages[1].processors == std::vector<int>{8, 9, 10, 11, 12, 13, 14, 15});
  CHECK(contains(machine.problem, "another machine's"));

  const std::string text = topology_text(machine);
  CHECK(contains(text, "  package 1    4 cores, processors 8-15\n"));
  CHECK(contains(text, "  memory 0     1.0 GiB, processors 0-7\n"));
  CHECK(contains(text, ", 2 cores, processors 4-7\n"));

  const nlohmann::json json = topology_json(machine);
  CHECK(json["packages"].size() == 2);
  CHECK(json["cores"][7]["processors"] == nlohmann::json({14, 15}));
  CHECK(json["networks"].size() == machine.networks.size());
}

TEST_CASE("a picture has every package, memory, cache and network device once") {
  const SyntheticMachine synthetic("Package:2 NUMANode:1 L3Cache:2 Core:2 PU:1");
  Machine machine = look_at_machine();
  machine.networks = {{.name = "lo", .loopback = true},
                      {.name = "eth0", .up = true, .addresses = {"10.0.0.1"}},
                      {.name = "mlx5_0", .rdma = true, .numa = 1, .pci = "0000:81:00.0"}};
  machine.host = "quo\"te\\";
  const std::string graph = topology_graphviz(machine);
  CHECK(graph.rfind("graph \"topology\" {", 0) == 0);
  CHECK(std::count(graph.begin(), graph.end(), '{') == std::count(graph.begin(), graph.end(), '}'));
  for (const char* once :
       {"subgraph \"cluster_package0\"", "subgraph \"cluster_package1\"", "\"memory1\" [shape",
        "\"cache3\" [shape", "\"memory1\" -- \"cache3\";", "\"memory1\" -- \"net mlx5_0\";",
        "\"machine\" -- \"net eth0\";", "\"machine\" -- \"memory0\";", "quo\\\"te\\\\"}) {
    CAPTURE(once, graph);
    const size_t first = graph.find(once);
    REQUIRE(first != std::string::npos);
    CHECK(graph.find(once, first + 1) == std::string::npos);
  }
  CHECK_FALSE(contains(graph, "net lo"));
}

TEST_CASE("without hwloc the description is smaller and says why") {
  const Machine machine = look_without_hwloc("because");
  CHECK(machine.problem == "because");
  CHECK(machine.source == "system");
  CHECK_FALSE(machine.processors.empty());
  CHECK(machine.packages.empty());
  CHECK(contains(topology_text(machine), "incomplete   because\n"));
  CHECK(contains(topology_graphviz(machine), "\"machine\" [shape"));
  CHECK(topology_json(machine)["problem"] == "because");
}

TEST_CASE("what UCX prints is understood") {
  const std::string printed =
      "#\n# UCP context\n#\n#     component 0  :  self\n#\n#            md 0  :  component 1  tcp \n#\n"
      "#      resource 0  :  md 0  dev 0  flags -- self/memory0\n"
      "#      resource 1  :  md 1  dev 1  flags -- tcp/eth0 \n"
      "#      resource 2  :  md 1  dev 1  flags a- rc_mlx5\n"
      "#      resource 3  :  md 1  dev 1  flags -- rc_mlx5/mlx5_0:1\n";
  CHECK(parse_ucx_resources(printed) ==
        std::vector<std::string>{"self/memory0", "tcp/eth0", "rc_mlx5/mlx5_0:1"});
  CHECK(parse_ucx_resources("").empty());
  CHECK(leads_elsewhere("tcp/eth0"));
  CHECK(leads_elsewhere("rc_mlx5/mlx5_0:1"));
  CHECK_FALSE(leads_elsewhere("tcp/lo"));
  CHECK_FALSE(leads_elsewhere("posix/memory"));
  CHECK_FALSE(leads_elsewhere("self"));
}

TEST_CASE("UCX is usable, or it is said why not") {
  const UcxReport report = look_at_ucx();
  CHECK(report.usable == report.problem.empty());
  if (report.built) {
    CHECK_FALSE(report.version.empty());
  } else {
    CHECK_FALSE(report.usable);
  }
  if (report.usable) CHECK_FALSE(report.resources.empty());
}

TEST_CASE("a description shows the job it was asked for") {
  const nlohmann::json two = nlohmann::json::parse(describe("json", std::vector<int>{3, 1}));
  CHECK(two["scratch"]["ranks"] == 4);
  CHECK(two["scratch"]["nodes"] == 2);
  const nlohmann::json three = nlohmann::json::parse(describe("json", 3));
  CHECK(three["scratch"]["nodes"] == 1);
  // A window is as large as on the largest node, and larger where there are several.
  const nlohmann::json equal = nlohmann::json::parse(describe("json", std::vector<int>{3, 3}));
  CHECK(two["scratch"]["window_bytes"] == equal["scratch"]["window_bytes"]);
  CHECK(two["scratch"]["window_bytes"] > three["scratch"]["window_bytes"]);
  // Slots, mailboxes and bounce buffers.
  CHECK(two["scratch"]["verbs_locked_bytes_per_rail"] > two["scratch"]["slots_bytes"]);
  CHECK_FALSE(three["scratch"].contains("verbs_locked_bytes_per_rail"));
  CHECK(contains(describe("text", std::vector<int>{3, 1}), "Selection for 4 ranks on 2 nodes"));
  CHECK(contains(error_of([] { describe("text", std::vector<int>{}); }), "no node"));
  CHECK(contains(error_of([] { describe("text", std::vector<int>{2, 0}); }), "0 ranks"));
  CHECK(contains(error_of([] { describe("yaml", 2); }), "graphviz"));
}
