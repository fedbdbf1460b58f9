// Every algorithm is proven on several nodes: even and uneven ones, ranks in any order, every root, all sizes, repeated and in pairs.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tests/catch.h"
#include "tests/plan/matrix_support.h"

using namespace tutti;
using namespace tutti::plan;
using namespace tutti::plan::testing;

namespace {

using Map = std::vector<uint16_t>;

Map consecutive(const std::vector<int>& sizes) {
  Map nodes;
  for (size_t node = 0; node < sizes.size(); ++node) {
    nodes.insert(nodes.end(), static_cast<size_t>(sizes[node]), static_cast<uint16_t>(node));
  }
  return nodes;
}

void prove_all(const Map& nodes, int more_credits, Coverage coverage) {
  const auto ranks = static_cast<int>(nodes.size());
  for (const Team& team : all_teams(ranks, more_credits, nodes)) {
    Proofs proofs;
    prove_matrix(team, coverage, proofs);
    INFO(proofs.failure);
    CHECK(proofs.ok());
    CHECK(proofs.made > 0);
  }
}

}  // namespace

TEST_CASE("small nodes") {
  for (const Map& nodes :
       {consecutive({1, 1}), consecutive({2, 1}), consecutive({2, 2}), consecutive({1, 1, 1}),
        consecutive({1, 2, 1}), consecutive({2, 2, 2, 2, 2}), Map{0, 1, 0, 1}, Map{0, 1, 1, 2, 0, 1}}) {
    for (const int more : {0, 1, 2, 3}) {
      prove_all(nodes, more, Coverage::full);
    }
  }
}
