// The simulator between nodes: that posted puts compute what the plans promise and nothing else passes, that cards are busy for as
// long as the model says, and that claims hold back who has not been granted anything.
#include <algorithm>
#include <cmath>
#include <vector>

#include "collectives/algorithms/algorithms.h"
#include "collectives/executors/sim/simulator.h"
#include "core/error.h"
#include "core/sync.h"
#include "tests/catch.h"
#include "tests/plan/mutants_support.h"
#include "tests/plan/port_plans_support.h"

using namespace tutti;
using namespace tutti::plan::testing;
using plan::Builder;
using plan::Plan;
using plan::StepKind;
using sim::kMicrosecond;
using sim::kNanosecond;
using sim::Model;
using sim::Time;

namespace {

sim::Scratch small_scratch() {
  return {.slots_bytes = 1 << 10,
          .packets_bytes = 1 << 10,
          .limits = {.slots_bytes = 512, .packets_bytes = 512, .max_slice_bytes = 128}};
}

/// One slice, whatever the size.
sim::Scratch one_slice() {
  return {.slots_bytes = 64 << 20,
          .packets_bytes = 1 << 10,
          .limits = {.slots_bytes = 32 << 20, .packets_bytes = 512, .max_slice_bytes = 8 << 20}};
}

/// Nothing but the cards takes time.
Model cards_only(Time alpha, double beta) {
  Model model;
  model.step = 0;
  model.memory = 1e12;
  model.near = {0, 1e12};
  model.far = {alpha, beta};
  return model;
}

Model noisy(uint64_t seed) {
  Model model;
  model.noise = {.probability = 0.1, .mean = kMicrosecond};
  model.arrival = kMicrosecond;
  model.far = {300 * kNanosecond, 0.5};
  model.seed = seed;
  return model;
}

float value(size_t rank, uint64_t i, size_t operation) {
  return static_cast<float>((rank * 7919 + i * 104729 + operation * 1299709) % 1009);
}

/// Runs the plans a few times in a row; returns how many elements are wrong.
uint64_t wrong_after(const std::vector<Plan>& plans, uint64_t count, bool in_place, uint64_t seed,
                     const sim::Scratch& scratch = small_scratch()) {
  constexpr size_t kOperations = 6;
  const size_t n = plans.size();
  std::vector<std::vector<float>> inputs(kOperations * n, std::vector<float>(count + 1));
  std::vector<std::vector<float>> outputs(kOperations * n, std::vector<float>(count + 1, -1));
  std::vector<std::vector<sim::Buffers>> buffers(kOperations, std::vector<sim::Buffers>(n));
  std::vector<sim::Operation> operations;
  for (size_t k = 0; k < kOperations; ++k) {
    for (size_t r = 0; r < n; ++r) {
      std::vector<float>& input = inputs[k * n + r];
      for (uint64_t i = 0; i < count; ++i) input[i] = value(r, i, k);
      buffers[k][r] = {input.data(), in_place ? input.data() : outputs[k * n + r].data()};
    }
    operations.push_back({.plans = plans, .count = count, .buffers = buffers[k]});
  }
  sim::simulate(operations, noisy(seed), scratch);
  uint64_t wrong = 0;
  for (size_t k = 0; k < kOperations; ++k) {
    for (uint64_t i = 0; i < count; ++i) {
      float expected = value(plans[0].root, i, k);
      for (size_t r = 1; r < n && plans[0].collective == Collective::all_reduce; ++r)
        expected += value(r, i, k);
      for (size_t r = 0; r < n; ++r) wrong += (in_place ? inputs : outputs)[k * n + r][i] == expected ? 0 : 1;
    }
  }
  return wrong;
}

sim::Report once(const std::vector<Plan>& plans, uint64_t bytes, const Model& model) {
  const sim::Operation operation{.plans = plans, .count = bytes / sizeof(float)};
  return sim::simulate({&operation, 1}, model, one_slice());
}

void drop(Plan& plan, StepKind kind) {
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    if (plan.steps[i].kind == kind) return drop_step(plan, i);
  }
  FAIL("no such step");
}

/// All algorithms of a collective that suit the nodes.
std::vector<plan::Algorithm> suiting(Collective collective, const Nodes& nodes) {
  std::vector<plan::Algorithm> suiting;
  const plan::Shape shape{.ranks = static_cast<uint16_t>(nodes.size()), .nodes = nodes};
  for (const plan::Algorithm algorithm : algorithms::algorithms_of(collective)) {
    if (algorithms::suits(algorithm, shape)) suiting.push_back(algorithm);
  }
  return suiting;
}

std::vector<Plan> plans_of(Collective collective, plan::Algorithm algorithm, const Nodes& nodes,
                           uint16_t root = 0) {
  std::vector<Plan> plans;
  for (uint16_t r = 0; r < nodes.size(); ++r) {
    plans.push_back(algorithms::build(collective, algorithm,
                                      {.ranks = static_cast<uint16_t>(nodes.size()),
                                       .rank = r,
                                       .root = root,
                                       .credits = 4,
                                       .nodes = nodes}));
  }
  return plans;
}

/// Some timing out of many in which the plans give wrong numbers.
bool goes_wrong(const std::vector<Plan>& plans, bool in_place) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    if (wrong_after(plans, 500, in_place, seed) != 0) return true;
  }
  return false;
}

bool refused(const sim::Operation& operation, const Model& model = {}) {
  try {
    sim::simulate({&operation, 1}, model);
  } catch (const Error& error) {
    return error.code() == Result::invalid_argument;
  }
  return false;
}

}  // namespace

TEST_CASE("nodes: posted puts give the right numbers whatever the timing") {
  const std::vector<Plan> relayed = build_all(Collective::broadcast, kRelayNodes, relay);
  const std::vector<Plan> exchanged = build_all(Collective::all_reduce, kExchangeNodes, exchange, 3);
  const std::vector<Plan> sent = build_all(Collective::broadcast, {0, 1, 0, 2}, star, 4);
  for (const uint64_t count : {0, 1, 31, 33, 500}) {
    for (const bool in_place : {false, true}) {
      for (uint64_t seed = 0; seed < 5; ++seed) {
        INFO("count " << count << " in place " << in_place << " seed " << seed);
        CHECK(wrong_after(relayed, count, in_place, seed) == 0);
        CHECK(wrong_after(exchanged, count, in_place, seed) == 0);
        if (count <= 33) CHECK(wrong_after(sent, count, in_place, seed) == 0);
      }
    }
  }
}

TEST_CASE("nodes: without its flush a put sends what came later") {
  std::vector<Plan> plans = build_all(Collective::broadcast, kRelayNodes, relay);
  REQUIRE_FALSE(goes_wrong(plans, false));
  drop(plans[1], StepKind::flush);
  CHECK(goes_wrong(plans, false));
  plans = build_all(Collective::all_reduce, kExchangeNodes, exchange);
  REQUIRE_FALSE(goes_wrong(plans, true));
  for (Plan& plan : plans) drop(plan, StepKind::flush);
  CHECK(goes_wrong(plans, true));
}

TEST_CASE("nodes: every algorithm computes what it promises") {
  // The rings turn around several times in the operations of one run.
  const sim::Scratch scratch{
      .slots_bytes = 64 << 10,
      .packets_bytes = 64 << 10,
      .limits = {.slots_bytes = 16 << 10, .packets_bytes = 16 << 10, .max_slice_bytes = 128}};
  size_t algorithms = 0;
  for (const Nodes& nodes :
       {Nodes{0, 1}, Nodes{0, 0, 1}, Nodes{0, 1, 0, 1}, Nodes{0, 0, 0, 1, 1, 1, 1, 1, 2}}) {
    for (const Collective collective : {Collective::all_reduce, Collective::broadcast}) {
      for (const plan::Algorithm algorithm : suiting(collective, nodes)) {
        ++algorithms;
        const auto root = static_cast<uint16_t>(collective == Collective::broadcast ? nodes.size() - 1 : 0);
        const std::vector<Plan> plans = plans_of(collective, algorithm, nodes, root);
        for (const uint64_t count : {1, 37, 700}) {
          if (!plan::fits(plans[0], count, sizeof(float), scratch.limits)) continue;
          INFO(name_of(collective) << " " << name_of(algorithm) << " ranks " << nodes.size() << " count "
                                   << count);
          CHECK(wrong_after(plans, count, count % 2 == 0, count, scratch) == 0);
        }
      }
    }
  }
  CHECK(algorithms >= 4 * 8);
}

TEST_CASE(
    "nodes: hierarchical all-reduce moves 2(N-1)/N S through each card, broadcast S into each receiving "
    "node") {
  // One chunk has the length of all others: a multiple of a cache line for any cutting into up to 4 * 3 * 4 chunks.
  const uint64_t bytes = 48 * 4096;
  for (const Nodes& nodes :
       {Nodes{0, 0, 1, 1}, Nodes{0, 0, 1, 1, 2, 2}, Nodes{0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3}}) {
    const uint64_t n = nodes.back() + uint64_t{1};
    for (const auto algorithm : {plan::Algorithm::hierarchical_direct, plan::Algorithm::hierarchical_ring}) {
      const sim::Report report = once(plans_of(Collective::all_reduce, algorithm, nodes), bytes, {});
      INFO(name_of(algorithm) << " nodes " << n);
      const uint64_t bound = 2 * (n - 1) * bytes / n;
      CHECK(report.cards == std::vector<sim::CardTraffic>(n, {bound, bound}));
    }
    for (const auto algorithm : {plan::Algorithm::hierarchical_chain, plan::Algorithm::hierarchical_binomial,
                                 plan::Algorithm::hierarchical_scatter}) {
      const sim::Report report = once(plans_of(Collective::broadcast, algorithm, nodes), bytes, {});
      INFO(name_of(algorithm) << " nodes " << n);
      REQUIRE(report.cards.size() == n);
      CHECK(report.cards[0].received == 0);
      for (size_t node = 1; node < n; ++node) CHECK(report.cards[node].received == bytes);
    }
  }
}

TEST_CASE("nodes: a put takes alpha + S/beta, a slow card in proportion") {
  const std::vector<Plan> plans = build_all(Collective::broadcast, {0, 1}, star);
  Model model = cards_only(2 * kMicrosecond, 10);
  const uint64_t bytes = 1 << 20;
  const Time crossing = sim::duration_of(bytes, 10);
  sim::Report report = once(plans, bytes, model);
  CHECK(report.operations[0].exit[1] == crossing + 2 * kMicrosecond);
  // The root's operation ends when the bytes have left its input, not when they have arrived.
  CHECK(report.operations[0].exit[0] == crossing);
  for (const std::vector<double>& factors : {std::vector<double>{0.25}, std::vector<double>{1, 0.25}}) {
    model.card_factor = factors;
    report = once(plans, bytes, model);
    INFO("factors of " << factors.size() << " cards");
    CHECK(report.operations[0].exit[1] == 4 * crossing + 2 * kMicrosecond);
  }
}

TEST_CASE("nodes: a node's card sends to one after the other, receives likewise, and both at once") {
  const Model model = cards_only(0, 10);
  const uint64_t bytes = 1 << 20;
  const Time crossing = sim::duration_of(bytes, 10);
  // Three other nodes: out of one card three times. One other node: the same. Its own node: no card.
  CHECK(once(build_all(Collective::broadcast, {0, 1, 2, 3}, star), bytes, model).operations[0].last_exit() ==
        3 * crossing);
  CHECK(once(build_all(Collective::broadcast, {0, 1, 1, 1}, star), bytes, model).operations[0].last_exit() ==
        3 * crossing);
  CHECK(once(build_all(Collective::broadcast, {0, 1, 0, 0}, star), bytes, model).operations[0].last_exit() <
        crossing * 11 / 10);
  // Both ways at the same time.
  const sim::Report report = once(build_all(Collective::all_reduce, kExchangeNodes, exchange), bytes, model);
  CHECK(report.operations[0].last_exit() < crossing * 11 / 10);
  // Many to one: incast.
  const auto gather = [](Builder& b) {
    b.areas(b.ranks()).claim().block();
    if (b.rank() != 0) b.put({}, b.input(), {b.slot(0, b.rank())}).signal_pair(0, kData);
    for (int peer = 1; peer < b.ranks() && b.rank() == 0; ++peer) b.wait_pair(peer, kData);
  };
  CHECK(once(build_all(Collective::broadcast, {0, 1, 2, 3}, gather), bytes, model).operations[0].exit[0] ==
        3 * crossing);
}

TEST_CASE("nodes: bytes are counted where they cross") {
  const uint64_t bytes = 3 << 12;
  const sim::Report report = once(build_all(Collective::broadcast, {0, 1, 0, 2}, star), bytes, {});
  REQUIRE(report.cards.size() == 3);
  CHECK(report.cards[0] == sim::CardTraffic{2 * bytes, 0});
  CHECK(report.cards[1] == sim::CardTraffic{0, bytes});
  CHECK(report.cards[2] == sim::CardTraffic{0, bytes});
  const sim::Report both = once(build_all(Collective::all_reduce, kExchangeNodes, exchange), bytes, {});
  CHECK(both.cards == std::vector<sim::CardTraffic>(2, {bytes, bytes}));
}

TEST_CASE("nodes: the lane goes on while its put crosses, and flush waits for it") {
  const auto after = [](Builder& b) {
    star(b);
    // The second signal says when rank 0 had gone on.
    if (b.rank() == 0) b.signal_pair(2, kFree);
    if (b.rank() == 2) b.wait_pair(0, kFree);
  };
  const auto flushed = [](Builder& b) {
    b.areas(1).claim().block();
    if (b.rank() == 0)
      b.put({}, b.input(), {b.slot(1, 0)}).signal_pair(1, kData).flush(1).signal_pair(2, kFree);
    if (b.rank() == 1) b.wait_pair(0, kData);
    if (b.rank() == 2) b.wait_pair(0, kFree);
  };
  const Model model = cards_only(0, 1);
  const uint64_t bytes = 1 << 20;
  const Time crossing = sim::duration_of(bytes, 1);
  const Time at_once =
      once(build_all(Collective::broadcast, {0, 1, 0}, after), bytes, model).operations[0].exit[2];
  const Time late =
      once(build_all(Collective::broadcast, {0, 1, 0}, flushed), bytes, model).operations[0].exit[2];
  CHECK(at_once < crossing / 10);
  CHECK(late == crossing);
}

TEST_CASE("nodes: a root runs ahead of a reader on another node until the scratch of the ring is used up") {
  const std::vector<Plan> plans = build_all(Collective::broadcast, {0, 1, 1}, star);
  std::vector<Time> late(3, 0);
  late[2] = 1000 * kMicrosecond;
  std::vector<sim::Operation> operations(12, {.plans = plans, .count = 16});  // one slot each
  operations[0].delay = late;
  sim::Scratch scratch = small_scratch();
  scratch.slots_bytes = 4 * kCacheLine;
  scratch.limits.slots_bytes = 2 * kCacheLine;
  const sim::Report report = sim::simulate(operations, {}, scratch);
  CHECK(report.operations[3].exit[0] < late[2]);
  CHECK(report.operations[4].exit[0] > late[2]);
  // Rank 1 is ready, but its node is not: it cannot grant.
  CHECK(report.operations[3].exit[1] < late[2]);
  CHECK(report.operations[4].exit[1] > late[2]);
  CHECK(report == sim::simulate(operations, {}, scratch));
}

TEST_CASE("nodes: operations follow each other on a ring for one of them") {
  // Each claim waits for a whole trip more: the grant, which the other rank gives when it has come as far.
  const std::vector<Plan> plans = build_all(Collective::all_reduce, kExchangeNodes, exchange);
  const std::vector<sim::Operation> operations(20, {.plans = plans, .count = 16});
  sim::Scratch tight = small_scratch();
  tight.slots_bytes = kCacheLine;
  const Model model = cards_only(kMicrosecond, 10);
  const Time roomy = sim::simulate(operations, model, one_slice()).operations.back().last_exit();
  CHECK(sim::simulate(operations, model, tight).operations.back().last_exit() >= roomy + 19 * kMicrosecond);
}

TEST_CASE("nodes: a grant that never comes is a deadlock that names who waits") {
  const auto deaf = [](Builder& b) {
    star(b);
    if (b.rank() == 0) b.wait_pair(1, kFree);
    if (b.rank() == 1) b.signal_pair(0, kFree);
  };
  std::vector<Plan> plans = build_all(Collective::broadcast, {0, 1}, deaf);
  drop(plans[1], StepKind::claim);
  const std::vector<sim::Operation> operations(6, {.plans = plans, .count = 16});
  sim::Scratch scratch = small_scratch();
  scratch.slots_bytes = 4 * kCacheLine;
  scratch.limits.slots_bytes = 2 * kCacheLine;
  std::string message;
  try {
    sim::simulate(operations, {}, scratch);
  } catch (const Error& error) {
    message = error.what();
  }
  INFO(message);
  CHECK(message.find("rank 0 lane 0 in operation 4: claim") != std::string::npos);
}

TEST_CASE("nodes: plans that do not fit together are refused") {
  std::vector<Plan> plans = build_all(Collective::broadcast, kRelayNodes, relay);
  const sim::Operation operation{.plans = plans, .count = 16};
  CHECK_FALSE(refused(operation));
  Model placed;
  placed.ranks_per_node = 2;
  CHECK(refused(operation, placed));
  plans[2].port_sources.clear();
  CHECK(refused(operation));

  std::vector<Plan> moved = build_all(Collective::broadcast, kRelayNodes, relay);
  const sim::Operation other{.plans = moved, .count = 16};
  moved[2].nodes = {0, 1, 1};
  CHECK(refused(other));
  for (Plan& plan : moved) plan.nodes = {0, 0};
  CHECK(refused(other));
}
