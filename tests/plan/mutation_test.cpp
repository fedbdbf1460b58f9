// The mutation test on one node: see mutation_support.h.
#include "tests/catch.h"
#include "tests/plan/mutation_support.h"

using namespace tutti;
using namespace tutti::plan;
using namespace tutti::plan::testing;

namespace {

void require_explained(const Totals& totals) {
  CHECK(totals.unexplained == std::vector<std::string>{});
  REQUIRE(totals.killed > 0);
}

bool is_for_several_nodes(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::halving_doubling:
    case Algorithm::double_binary_tree:
    case Algorithm::binomial_tree:
    case Algorithm::scatter_all_gather:
      return true;
    default:
      return false;
  }
}

void mutate_all(Collective collective, int ranks, const std::vector<int>& which) {
  for (const Algorithm algorithm : algorithms::algorithms_of(collective)) {
    if (!algorithms::suits(algorithm, {.ranks = static_cast<uint16_t>(ranks), .one_process = true})) continue;
    if (ranks > 3 && is_for_several_nodes(algorithm)) continue;
    std::vector<int> roots{0};
    if (collective == Collective::broadcast && ranks <= 3) roots = {0, ranks - 1};
    if (collective == Collective::broadcast && ranks > 3) roots = {1};
    for (const int root : roots) require_explained(mutate(collective, algorithm, ranks, root, which));
  }
}

}  // namespace

TEST_CASE("mutants of all plans of two and three ranks") {
  for (const Collective collective : {Collective::all_reduce, Collective::broadcast, Collective::barrier}) {
    mutate_all(collective, 2, {0, 1});
    if (!kSanitized) mutate_all(collective, 3, {0, 1, 2});
  }
}

TEST_CASE("mutants of plans of four ranks") {
  // Of those that suit several nodes, two nodes of two: mutation_nodes_test.
  if (kSanitized) return;  // the same code on more ranks
  for (const Collective collective : {Collective::all_reduce, Collective::broadcast, Collective::barrier}) {
    mutate_all(collective, 4, {0, 1, 3});
  }
}

TEST_CASE("mutants of the ring of five ranks") {
  if (kSanitized) return;  // the same code on more ranks
  require_explained(mutate(Collective::all_reduce, Algorithm::ring, 5, 0, {0, 2, 4}));
}
