// The printer: exact lines where people read them, and a graph with exactly the edges that the plan implies.
#include "collectives/plan/printer.h"

#include <regex>
#include <set>
#include <string>

#include "collectives/algorithms/algorithms.h"
#include "tests/catch.h"
#include "tests/plan/port_plans_support.h"

using namespace tutti;
using plan::Affine;
using plan::Algorithm;
using plan::describe;
using plan::Plan;

namespace {

Plan make(Collective collective, Algorithm algorithm, int n, int rank, int root = 0, int credits = 4) {
  return algorithms::build(collective, algorithm,
                           {.ranks = static_cast<uint16_t>(n),
                            .rank = static_cast<uint16_t>(rank),
                            .root = static_cast<uint16_t>(root),
                            .credits = static_cast<uint16_t>(credits),
                            .one_process = true});
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

size_t count(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  return static_cast<size_t>(
      std::distance(std::sregex_iterator(text.begin(), text.end(), regex), std::sregex_iterator()));
}

std::string graph_of(Collective collective, Algorithm algorithm, int n, uint64_t elements,
                     uint64_t slice_bytes) {
  std::vector<Plan> plans;
  for (int r = 0; r < n; ++r) plans.push_back(make(collective, algorithm, n, r, 0, 2));
  const plan::Limits limits{.slots_bytes = 1 << 20, .packets_bytes = 1 << 16, .max_slice_bytes = slice_bytes};
  return plan::graphviz(plans, plan::bind(plans[0], elements, 4, limits));
}

constexpr const char* kSignalEdge = R"( -> n\d+ \[color=blue\])";
constexpr const char* kPacketEdge = R"( -> n\d+ \[color=darkgreen\])";
constexpr const char* kLaneEdge = R"( -> n\d+ \[color=grey\])";
constexpr const char* kNode = R"(n\d+ \[label=)";

}  // namespace

TEST_CASE("expressions read as people write them") {
  CHECK(describe(Affine{}) == "0");
  CHECK(describe(Affine{5, 0, 0, 0}) == "5");
  CHECK(describe(Affine{9, 0, 0, 8}) == "1");
  CHECK(describe(Affine{-1, 0, 0, 8}) == "7");
  CHECK(describe(Affine{0, 0, 1, 0}) == "slice");
  CHECK(describe(Affine{1, 1, 14, 0}) == "14*slice + round + 1");
  CHECK(describe(Affine{-4, 0, 1, 0}) == "slice - 4");
  CHECK(describe(Affine{2, -1, 0, 8}) == "(2 - round) mod 8");
  CHECK(describe(Affine{0, -3, 0, 8}) == "(-3*round) mod 8");
  CHECK(describe(Affine{0, 1, -2, 0}) == "-2*slice + round");
}

TEST_CASE("a step is one line, in symbols and in numbers") {
  const Plan plan = make(Collective::all_reduce, Algorithm::ring, 5, 3);
  std::set<std::string> symbols;
  std::set<std::string> numbers;
  for (const plan::Step& step : plan.steps) {
    symbols.insert(describe(plan, step));
    numbers.insert(describe(plan, step, 1, 2));
    CHECK(describe(plan, step).find('\n') == std::string::npos);
  }
  CHECK(symbols.count("claim") == 1);
  CHECK(symbols.count("wait pair 2->3 #0 raise 8*slice + round") == 1);
  CHECK(symbols.count("wait pair 4->3 #1 raise 8*slice + round - 3 (credit)") == 1);
  CHECK(symbols.count("signal pair 3->4 #0 raise 8*slice + round + 1") == 1);
  CHECK(symbols.count(
            "reduce slot 3.0[8*slice + round] + input[(2 - round) mod 5] -> slot 4.0[8*slice + round + 1]") ==
        1);
  CHECK(symbols.count(
            "reduce slot 3.0[8*slice + 3] + input[4] -> output[4], slot 4.0[8*slice + 4] (final)") == 1);
  CHECK(numbers.count("reduce slot 3.0[17] + input[1] -> slot 4.0[18], round 1, slice 2") == 1);
  CHECK(numbers.count("wait pair 4->3 #1 raise 14 (credit), round 1, slice 2") == 1);
}

TEST_CASE("boards, packets, credit that is not needed yet, a length nobody shows") {
  const Plan two_shot = make(Collective::all_reduce, Algorithm::two_shot, 3, 1);
  std::string all;
  for (const plan::Step& step : two_shot.steps) all += describe(two_shot, step, 0, 1) + "\n";
  CHECK(has_line(all, "signal board 1 #0 raise 1, round 0, slice 1"));
  CHECK(has_line(all, "copy slot 2.2[1] -> output[2], round 0, slice 1"));

  const Plan root = make(Collective::broadcast, Algorithm::one_writer, 3, 0);
  all.clear();
  for (const plan::Step& step : root.steps) all += describe(root, step, 0, 1) + "\n";
  CHECK(has_line(all, "wait board 2 #1 raise none (credit), round 0, slice 1"));

  const Plan one_shot = make(Collective::all_reduce, Algorithm::one_shot, 3, 1);
  CHECK(describe(one_shot, one_shot.steps[1]) == "put_packets input -> packets 1.0");
  CHECK(describe(one_shot, one_shot.steps[2]) ==
        "reduce_packets packets 0.0 + input + packets 2.0 -> output (final)");

  plan::Builder b(Collective::all_reduce, Algorithm::ring, {4, 1, 0, 4});
  b.chunks(4).areas(1).block();
  b.copy(b.chunk(3), b.slot(1, 0), {b.slot(2, 0)});
  const Plan relay = b.take();
  CHECK(describe(relay, relay.steps[0]) == "copy slot 1.0[slice] -> slot 2.0[slice] (as long as chunk 3)");
}

TEST_CASE("the whole plan shows its loops") {
  const std::string ring = describe(make(Collective::all_reduce, Algorithm::ring, 5, 3));
  CHECK(has_line(ring, "all_reduce ring, rank 3 of 5"));
  CHECK(has_line(ring, "  message  5 chunks, cut into slices"));
  CHECK(has_line(ring, "  window   1 slot area, each a ring of up to 4 slots; 8 positions per slice"));
  CHECK(has_line(ring, "    for slice = 0 .. slices - 1"));
  CHECK(has_line(ring, "      for round = 0 .. 2"));
  CHECK(has_line(ring, "        wait   pair 2->3 #0 raise 8*slice + round"));
  // With two ranks there is nothing to pass on: the loops of no round are not shown.
  CHECK(describe(make(Collective::all_reduce, Algorithm::ring, 2, 0)).find("round") == std::string::npos);

  const std::string two_shot = describe(make(Collective::all_reduce, Algorithm::two_shot, 3, 1));
  CHECK(has_line(two_shot,
                 "    for iteration = 0 .. slices + 1, a step acting on slice = iteration - its lag"));
  CHECK(has_line(two_shot, "      lag 1: signal board 1 #1 raise slice"));

  const std::string chain = describe(make(Collective::broadcast, Algorithm::chain, 4, 2, 1));
  CHECK(has_line(chain, "broadcast chain, rank 2 of 4, root 1"));
}

TEST_CASE("the graph has a cluster per rank, a node per executed step and an edge per awaited signal") {
  // A chain of 3 ranks, 4 slices, 2 credits. Root: claim, then credit, put, signal, copy per slice; the middle:
  // claim, then wait, credit, put, two signals; the last: claim, then wait, copy, signal.
  const std::string chain = graph_of(Collective::broadcast, Algorithm::chain, 3, 64, 64);
  CHECK(count(chain, "subgraph cluster_") == 3);
  CHECK(count(chain, kNode) == (1 + 4 * 4) + (1 + 4 * 5) + (1 + 4 * 3));
  CHECK(count(chain, kLaneEdge) == 4 * 4 + 4 * 5 + 4 * 3);
  // 4 slices over 2 links, and 2 of 4 waits for credit on each that have something to await.
  CHECK(count(chain, kSignalEdge) == 2 * 4 + 2 * 2);
  CHECK(count(chain, kPacketEdge) == 0);
  CHECK(chain.find("put slot 1.0[3] -> output, slot 2.0[3]") != std::string::npos);

  // Everybody reads everybody else's packets.
  const std::string one_shot = graph_of(Collective::all_reduce, Algorithm::one_shot, 4, 14, 64);
  CHECK(count(one_shot, kPacketEdge) == 4 * 3);
  CHECK(count(one_shot, kSignalEdge) == 0);

  // Boards: per slice, each rank awaits two raises of each of the others.
  const std::string two_shot = graph_of(Collective::all_reduce, Algorithm::two_shot, 3, 3 * 64, 64);
  CHECK(count(two_shot, kSignalEdge) == 3 * 2 * (2 * 4));

  // One digraph whose braces match.
  CHECK(count(two_shot, R"(\{)") == count(two_shot, R"(\})"));
  CHECK(two_shot.rfind("digraph plan {", 0) == 0);
}

TEST_CASE("nodes, ports and flushes are shown") {
  const std::vector<Plan> plans =
      plan::testing::build_all(Collective::broadcast, {0, 0, 1, 1}, [](plan::Builder& b) {
        b.areas(1).claim().block();
        if (b.rank() == 1) b.put({}, b.input(), {b.slot(2, 0)}).signal_pair(2, 0).flush(2);
        if (b.rank() == 2) b.wait_pair(1, 0).put({}, b.slot(2, 0), {b.slot(3, 0)}).signal_pair(3, 0);
        if (b.rank() == 3) b.wait_pair(2, 0);
      });
  const std::string one = describe(plans[1]);
  CHECK(has_line(one, "  node 0   ranks 0, 1, this one among them"));
  CHECK(has_line(one, "  node 1   ranks 2, 3"));
  CHECK(has_line(one, "  ports    puts to 2; may be put to by nobody"));
  CHECK(has_line(one, "      put    input -> slot 2.0[slice] (port)"));
  CHECK(has_line(one, "      flush  port 1->2"));
  const std::string two = describe(plans[2]);
  CHECK(has_line(two, "  ports    puts to nobody; may be put to by 1"));
  CHECK(has_line(two, "      put    slot 2.0[slice] -> slot 3.0[slice]"));
  CHECK(describe(plans[1], plans[1].steps[3], 0, 2) == "flush port 1->2, round 0, slice 2");

  const plan::Limits limits{.slots_bytes = 1 << 20, .packets_bytes = 1 << 16, .max_slice_bytes = 64};
  const std::string graph = plan::graphviz(plans, plan::bind(plans[0], 32, 4, limits));
  CHECK(count(graph, "subgraph cluster_node_") == 2);
  CHECK(count(graph, R"(subgraph cluster_\d)") == 4);
  CHECK(graph.find("4 ranks on 2 nodes, 2 slices") != std::string::npos);
  CHECK(count(graph, R"( -> n\d+ \[color=red\])") == 2);  // 1 -> 2, twice
  CHECK(count(graph, kSignalEdge) == 2);                  // 2 -> 3, twice
  CHECK(count(graph, R"(\{)") == count(graph, R"(\})"));
  // The clusters of a node's ranks lie in that of the node.
  CHECK(graph.find("cluster_node_1") < graph.find("label=\"rank 2\""));
  CHECK(graph.find("label=\"rank 1\"") < graph.find("cluster_node_1"));
}

TEST_CASE("ranks that are not in order on their nodes") {
  const Plan plan =
      algorithms::build(Collective::all_reduce, Algorithm::hierarchical_ring,
                        {.ranks = 7, .rank = 4, .nodes = std::vector<uint16_t>{0, 1, 0, 0, 0, 1, 1}});
  const std::string text = describe(plan);
  CHECK(has_line(text, "  node 0   ranks 0, 2-4, this one among them"));
  CHECK(has_line(text, "  node 1   ranks 1, 5, 6"));
}

TEST_CASE("the legend explains every word the text uses") {
  const std::string legend = plan::legend();
  for (const char* word : {"round", "slice", "slot", "packets", "pair", "board", "raise", "(credit)",
                           "(final)", "claim", "(port)", "flush"}) {
    CHECK(legend.find(word) != std::string::npos);
  }
}
