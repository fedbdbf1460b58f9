// The mutation test on several nodes: see mutation_support.h.
#include "tests/catch.h"
#include "tests/plan/mutation_support.h"

using namespace tutti;
using namespace tutti::plan;
using namespace tutti::plan::testing;

namespace {

/// All algorithms that suit the nodes; broadcasts from the first and the last rank, in turns.
void mutate_all(const Nodes& nodes, const std::vector<int>& which) {
  const auto ranks = static_cast<int>(nodes.size());
  int root = 0;
  for (const Collective collective : {Collective::all_reduce, Collective::broadcast, Collective::barrier}) {
    for (const Algorithm algorithm : algorithms::algorithms_of(collective)) {
      if (!algorithms::suits(algorithm, {.ranks = static_cast<uint16_t>(ranks), .nodes = nodes})) continue;
      const Totals totals =
          mutate(collective, algorithm, ranks, collective == Collective::broadcast ? root : 0, which, nodes);
      CHECK(totals.unexplained == std::vector<std::string>{});
      REQUIRE(totals.killed > 0);
      root = ranks - 1 - root;
    }
  }
}

}  // namespace

TEST_CASE("mutants of plans over nodes of two ranks and one") {
  mutate_all({0, 0, 1}, kSanitized ? std::vector<int>{1} : std::vector<int>{0, 1, 2});
}

TEST_CASE("mutants of plans over two nodes of two ranks") {
  if (kSanitized) return;  // the same code on more ranks
  mutate_all({0, 0, 1, 1}, {0, 3});
}
