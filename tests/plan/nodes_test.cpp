// Every algorithm is proven on several nodes: even and uneven ones, ranks in any order, every root, all sizes, repeated and in every
// order of two; and how much crosses between nodes.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "collectives/executors/sim/simulator.h"
#include "core/error.h"
#include "tests/catch.h"
#include "tests/plan/matrix_support.h"

using namespace tutti;
using namespace tutti::plan;
using namespace tutti::plan::testing;

namespace {

using Map = std::vector<uint16_t>;

/// The first ranks on node 0, the next on node 1, and so on.
Map consecutive(const std::vector<int>& sizes) {
  Map nodes;
  for (size_t node = 0; node < sizes.size(); ++node) {
    nodes.insert(nodes.end(), static_cast<size_t>(sizes[node]), static_cast<uint16_t>(node));
  }
  return nodes;
}

Map single(int ranks) {
  Map nodes(static_cast<size_t>(ranks));
  std::iota(nodes.begin(), nodes.end(), uint16_t{0});
  return nodes;
}

void require_all(const std::vector<Team>& teams, Coverage coverage) {
  REQUIRE(!teams.empty());
  for (const Team& team : teams) {
    Proofs proofs;
    prove_matrix(team, coverage, proofs);
    INFO(proofs.failure);
    REQUIRE(proofs.ok());
    REQUIRE(proofs.made > 0);
  }
}

/// All algorithms, of broadcasts those of a few roots.
std::vector<Team> some_teams(const Map& nodes, int more_credits) {
  const auto ranks = static_cast<int>(nodes.size());
  std::vector<Team> teams;
  Shape shape{.ranks = static_cast<uint16_t>(ranks)};
  shape.nodes = nodes;
  for (const Collective collective : {Collective::all_reduce, Collective::broadcast, Collective::barrier}) {
    for (const Algorithm algorithm : algorithms::algorithms_of(collective)) {
      if (!algorithms::suits(algorithm, shape)) continue;
      const int credits = algorithms::least_credits(algorithm) + more_credits;
      for (const int root : {0, ranks / 2}) {
        if (root == 0 || collective == Collective::broadcast)
          teams.push_back(make_team(collective, algorithm, ranks, root, credits, nodes));
      }
    }
  }
  return teams;
}

/// What leaves and enters each node in one operation.
std::vector<sim::CardTraffic> crossing(const Team& team, uint64_t bytes) {
  const sim::Operation operation{.plans = team.plans, .count = bytes, .type = DataType::uint8};
  return sim::simulate({&operation, 1}).cards;
}

}  // namespace

TEST_CASE("every plan on a few small nodes is proven at every size, placement and ring size") {
  for (const Map& nodes : {consecutive({1, 1}), consecutive({2, 1}), consecutive({1, 2}), consecutive({2, 2}),
                           consecutive({1, 1, 1}), Map{0, 1, 0, 1}, Map{0, 1, 1, 0, 2}}) {
    for (const int more : {0, 1, 2, 3}) {
      if (kSanitized && more > 1) continue;
      require_all(all_teams(static_cast<int>(nodes.size()), more, nodes), Coverage::full);
    }
  }
}

TEST_CASE("every plan on uneven nodes is proven for every root") {
  for (const int more : {0, 2}) {
    if (kSanitized && more != 0) continue;
    for (const Map& nodes : {consecutive({3, 5, 1}), Map{0, 1, 1, 2, 0, 1, 0, 1, 1},
                             consecutive({2, 3, 2, 2}), consecutive({2, 1, 1, 2, 1})}) {
      require_all(all_teams(static_cast<int>(nodes.size()), more, nodes),
                  more == 0 && !kSanitized ? Coverage::full : Coverage::light);
    }
  }
}

TEST_CASE("every plan on four nodes of four ranks is proven for every root") {
  for (const int more : {0, 2}) {
    if (kSanitized && more != 0) continue;
    require_all(all_teams(16, more, consecutive({4, 4, 4, 4})), Coverage::light);
  }
}

TEST_CASE("every plan on two to 64 nodes of one rank is proven") {
  for (int n = 2; n <= 64; ++n) {
    if (n > 12 && n != 16 && n != 17 && n != 32 && n != 33 && n != 64) continue;
    if (kSanitized && n > 9) continue;
    require_all(some_teams(single(n), 0), Coverage::light);
  }
}

TEST_CASE("every plan on eight nodes of eight ranks is proven") {
  if (kSanitized) return;  // the same code on more ranks
  require_all(some_teams(consecutive(std::vector<int>(8, 8)), 0), Coverage::light);
}

TEST_CASE("every plan on 32 uneven nodes is proven") {
  if (kSanitized) return;  // the same code on more ranks
  std::vector<int> sizes(32, 1);
  for (size_t i = 0; i < sizes.size(); i += 3) sizes[i] = 2;
  require_all(some_teams(consecutive(sizes), 0), Coverage::light);
}

TEST_CASE("every ordered pair of plans on several nodes that share scratch is proven") {
  for (const Map& nodes : {consecutive({2, 1}), consecutive({1, 1, 1}), consecutive({2, 2})}) {
    if (kSanitized && nodes.size() > 3) continue;
    const std::vector<Team> teams = some_teams(nodes, nodes.size() == 4 ? 1 : 0);
    Proofs proofs;
    for (const Team& a : teams) {
      for (const Team& b : teams) prove_pair(a, b, proofs);
    }
    INFO(proofs.failure);
    REQUIRE(proofs.ok());
    REQUIRE(proofs.made > 0);
  }
}

TEST_CASE("ranks that are all on one node have the plans of ranks without nodes") {
  const Map nodes(5, 0);
  for (const Team& team : all_teams(5, 1)) {
    // It asks for one process, not for one node.
    if (team.algorithm == Algorithm::direct) continue;
    const Team other =
        make_team(team.collective, team.algorithm, 5, team.shape.root, team.shape.credits, nodes);
    INFO(team.name());
    for (size_t r = 0; r < 5; ++r) {
      CHECK(other.plans[r].areas == team.plans[r].areas);
      CHECK(other.plans[r].locations == team.plans[r].locations);
      REQUIRE(other.plans[r].steps.size() == team.plans[r].steps.size());
      CHECK(other.plans[r].port_targets.empty());
    }
  }
}

TEST_CASE("algorithms are refused where they do not suit the nodes") {
  const auto build_on = [](Algorithm algorithm, const Map& nodes) {
    make_team(Collective::all_reduce, algorithm, static_cast<int>(nodes.size()), 0, 4, nodes);
  };
  for (const Algorithm algorithm : {Algorithm::one_shot, Algorithm::all_pairs, Algorithm::two_shot}) {
    CHECK_NOTHROW(build_on(algorithm, {0, 0}));
    CHECK_THROWS_AS(build_on(algorithm, {0, 1}), Error);
  }
  for (const Algorithm algorithm : {Algorithm::hierarchical_small, Algorithm::hierarchical_direct}) {
    CHECK_THROWS_AS(build_on(algorithm, {0, 0}), Error);
    CHECK_NOTHROW(build_on(algorithm, {0, 1}));
    CHECK_THROWS_AS(build_on(algorithm, {0, 2}), Error);  // no rank on node 1
  }
  CHECK_THROWS_AS(make_team(Collective::all_reduce, Algorithm::hierarchical_direct, 4, 0, 1, {0, 0, 1, 1}),
                  Error);
}

TEST_CASE(
    "between nodes a reduced message crosses 2(N-1)/N times per node, a broadcast one once per receiver") {
  for (const std::vector<int>& sizes :
       {std::vector<int>{1, 1}, {2, 2}, {3, 3, 3, 3}, {1, 1, 1, 1}, {3, 2, 5, 2}}) {
    const Map nodes = consecutive(sizes);
    const auto ranks = static_cast<int>(nodes.size());
    const uint64_t n = sizes.size();
    const uint64_t bytes = 64 * 4096 * 3;
    const auto rails = static_cast<uint64_t>(*std::min_element(sizes.begin(), sizes.end()));
    REQUIRE(bytes % (rails * n * 64) == 0);
    const uint64_t bound = 2 * (n - 1) * bytes / n;
    for (const Algorithm algorithm :
         {Algorithm::hierarchical_direct, Algorithm::hierarchical_ring, Algorithm::hierarchical_halving}) {
      INFO(name_of(algorithm) << " " << fmt::format("{}", fmt::join(sizes, "+")));
      const Team team = make_team(Collective::all_reduce, algorithm, ranks, 0, 4, nodes);
      CHECK(crossing(team, bytes) == std::vector<sim::CardTraffic>(n, {bound, bound}));
    }
    for (const Algorithm algorithm :
         {Algorithm::hierarchical_chain, Algorithm::hierarchical_binomial, Algorithm::hierarchical_scatter}) {
      const int root = ranks - 1;
      INFO(name_of(algorithm) << " " << fmt::format("{}", fmt::join(sizes, "+")));
      const auto cards = crossing(make_team(Collective::broadcast, algorithm, ranks, root, 4, nodes), bytes);
      for (size_t node = 0; node < n; ++node) CHECK(cards[node].received == (node + 1 == n ? 0 : bytes));
    }
  }
}

TEST_CASE("a double binary tree sends each node's card no more than twice the message") {
  for (const int n : {2, 3, 4, 7, 8, 16}) {
    const uint64_t bytes = 64 * 4096;
    const Team team = make_team(Collective::all_reduce, Algorithm::hierarchical_tree, n, 0, 4, single(n));
    for (const sim::CardTraffic& card : crossing(team, bytes)) {
      INFO("nodes " << n);
      CHECK(card.sent <= 2 * bytes);
      CHECK(card.received <= 2 * bytes);
      CHECK(card.sent >= bytes / 2);
    }
  }
}

TEST_CASE("credits say how many slices are in flight between nodes") {
  // A trip takes longer than many slices, so all that may be sent is sent.
  sim::Model model;
  model.far = {1000 * sim::kMicrosecond, 10};
  const sim::Scratch scratch{
      .slots_bytes = 16 << 20,
      .packets_bytes = 1 << 20,
      .limits = {.slots_bytes = 8 << 20, .packets_bytes = 1 << 20, .max_slice_bytes = 1 << 10}};
  for (const auto& [collective, algorithm] :
       {std::pair{Collective::all_reduce, Algorithm::hierarchical_direct},
        std::pair{Collective::all_reduce, Algorithm::hierarchical_doubling},
        std::pair{Collective::all_reduce, Algorithm::hierarchical_tree},
        std::pair{Collective::broadcast, Algorithm::hierarchical_chain}}) {
    sim::Time before = 0;
    uint32_t in_flight_before = 0;
    for (const int credits : {2, 4, 8}) {
      const Team team = make_team(collective, algorithm, 2, 0, credits, {0, 1});
      const sim::Operation operation{.plans = team.plans, .count = 256 << 10, .type = DataType::uint8};
      const sim::Report report = sim::simulate({&operation, 1}, model, scratch);
      INFO(team.name());
      const uint32_t in_flight = report.max_in_flight[1];
      CHECK(in_flight <= 2 * static_cast<uint32_t>(credits));
      if (before != 0) {
        CHECK(in_flight > in_flight_before);
        CHECK(static_cast<double>(report.operations[0].service()) < 0.7 * static_cast<double>(before));
      }
      before = report.operations[0].service();
      in_flight_before = in_flight;
    }
  }
}

TEST_CASE("members of a direct exchange begin with different receivers") {
  const int n = 5;
  const Team team = make_team(Collective::all_reduce, Algorithm::hierarchical_direct, n, 0, 4, single(n));
  for (const Plan& plan : team.plans) {
    // Staggered in both trips: the k-th put of each goes to the k-th rank after it.
    std::vector<int> receivers;
    for (const Step& step : plan.steps) {
      if (step.kind == StepKind::put) receivers.push_back((plan.dsts(step).back().rank - plan.rank + n) % n);
    }
    CHECK(receivers == std::vector<int>{1, 2, 3, 4, 1, 2, 3, 4});
  }
}
