// Direct plans: what they may touch of their peers, when, and that each planted fault is found.
#include <array>

#include "collectives/executors/sim/simulator.h"
#include "core/error.h"
#include "core/sync.h"
#include "tests/catch.h"
#include "tests/plan/matrix_support.h"
#include "tests/plan/mutants_support.h"

using namespace tutti;
using namespace tutti::plan;
using namespace tutti::plan::testing;

namespace {

constexpr int kArrived = 0;
constexpr int kDone = 1;

Team direct(Collective collective, int ranks, int root = 0) {
  return make_team(collective, Algorithm::direct, ranks, root, 1);
}

Verdict check(const Team& team, bool in_place, uint64_t count = 0) {
  const std::vector<Operation> sequence(3,
                                        operation(team, count == 0 ? full_count(team, 1) : count, in_place));
  return verify(sequence, {kCacheLine, kCacheLine});
}

void require_fault(const Team& team, bool in_place, Fault fault, const std::string& part) {
  const Verdict verdict = check(team, in_place);
  INFO(verdict.text());
  REQUIRE_FALSE(verdict.proven());
  CHECK(verdict.violations[0].fault == fault);
  CHECK(verdict.text().find(part) != std::string::npos);
}

size_t find_wait(const Plan& plan, int peer, int index) {
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const Step& step = plan.steps[i];
    if (step.kind == StepKind::wait && step.channel.peer == peer && step.channel.index == index) return i;
  }
  FAIL("no wait for board " << peer << " #" << index);
  return 0;
}

size_t find_step(const Plan& plan, StepKind kind) {
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    if (plan.steps[i].kind == kind) return i;
  }
  FAIL("no such step");
  return 0;
}

Location& source(Plan& plan, StepKind kind, size_t which) {
  const Step& step = plan.steps[find_step(plan, kind)];
  return plan.locations[step.first_location + step.dsts + which];
}

Location& destination(Plan& plan, StepKind kind, size_t which) {
  return plan.locations[plan.steps[find_step(plan, kind)].first_location + which];
}

/// Plans of a broadcast from rank 0.
template <typename Build>
Team hand_built(int ranks, Build build) {
  Team team;
  team.collective = Collective::broadcast;
  team.algorithm = Algorithm::direct;
  team.shape = {.ranks = static_cast<uint16_t>(ranks), .credits = 1, .one_process = true};
  for (int r = 0; r < ranks; ++r) {
    Shape shape = team.shape;
    shape.rank = static_cast<uint16_t>(r);
    Builder builder(team.collective, team.algorithm, shape);
    build(builder);
    team.plans.push_back(builder.take());
  }
  return team;
}

}  // namespace

TEST_CASE("direct plans need no scratch, and cut the message into one slice per chunk") {
  const Team team = direct(Collective::all_reduce, 4);
  const Limits none{};
  for (const uint64_t count : {uint64_t{0}, uint64_t{1}, uint64_t{3}, uint64_t{1} << 33}) {
    REQUIRE(fits(team.plans[0], count, 4, none));
    const Binding binding = bind(team.plans[0], count, 4, none);
    CHECK(binding.slots_need == 0);
    CHECK(binding.packets_need == 0);
    CHECK(binding.slices == (count == 0 ? 0U : 1U));
    CHECK(binding.ticks == binding.slices);
    uint64_t total = 0;
    for (int chunk = 0; chunk < 4; ++chunk) total += binding.slices == 0 ? 0 : binding.length(chunk, 0);
    CHECK(total == count);
  }
}

TEST_CASE("direct is built for one process only") {
  for (const Collective collective : {Collective::all_reduce, Collective::broadcast}) {
    CHECK(algorithms::suits(Algorithm::direct, {.ranks = 4, .one_process = true}));
    CHECK_FALSE(algorithms::suits(Algorithm::direct, {.ranks = 4}));
    CHECK_THROWS_AS(algorithms::build(collective, Algorithm::direct, {.ranks = 4}), Error);
    constexpr std::array<uint16_t, 4> kNodes = {0, 0, 1, 1};
    const Shape apart{.ranks = 4, .nodes = kNodes, .one_process = true};
    CHECK_THROWS_AS(algorithms::build(collective, Algorithm::direct, apart), Error);
  }
}

TEST_CASE("without the wait for its arrival a peer's buffers are not known") {
  for (const bool in_place : {false, true}) {
    Team reduce = direct(Collective::all_reduce, 3);
    REQUIRE(check(reduce, in_place).proven());
    drop_step(reduce.plans[1], find_wait(reduce.plans[1], 2, kArrived));
    require_fault(reduce, in_place, Fault::race,
                  "touches the output of rank 2 before a board of that rank has told");
    Team broadcast = direct(Collective::broadcast, 3, 1);
    REQUIRE(check(broadcast, in_place).proven());
    drop_step(broadcast.plans[2], find_wait(broadcast.plans[2], 1, kArrived));
    require_fault(broadcast, in_place, Fault::race,
                  "touches the input of rank 1 before a board of that rank has told");
  }
}

TEST_CASE("without the wait at the end a peer may still touch the buffers of a caller that has returned") {
  for (const bool in_place : {false, true}) {
    for (const int peer : {0, 2}) {
      Team reduce = direct(Collective::all_reduce, 3);
      drop_step(reduce.plans[1], find_wait(reduce.plans[1], peer, kDone));
      // The caller's return is not after the peer's step.
      require_fault(reduce, in_place, Fault::race, "rank 1");
      Team broadcast = direct(Collective::broadcast, 3, 1);
      drop_step(broadcast.plans[1], find_wait(broadcast.plans[1], peer, kDone));
      require_fault(broadcast, in_place, Fault::race, "rank 1");
    }
  }
}

TEST_CASE("done must come after the work") {
  for (const bool in_place : {false, true}) {
    Team team = direct(Collective::all_reduce, 3);
    Plan& plan = team.plans[2];
    const size_t reduce = find_step(plan, StepKind::reduce);
    REQUIRE(plan.steps[reduce + 1].kind == StepKind::signal);
    std::swap(plan.steps[reduce], plan.steps[reduce + 1]);
    require_fault(team, in_place, Fault::race, "rank 2");
  }
}

TEST_CASE("the wrong chunk and the wrong peer are wrong data") {
  Team chunk = direct(Collective::all_reduce, 3);
  source(chunk.plans[1], StepKind::reduce, 2).index = Builder::chunk(0);
  CHECK(check(chunk, false).has(Fault::data));
  CHECK_FALSE(check(chunk, true).proven());
  Team peer = direct(Collective::all_reduce, 3);
  source(peer.plans[1], StepKind::reduce, 2).rank = 0;
  require_fault(peer, false, Fault::data, "");
  Team left_out = direct(Collective::all_reduce, 3);
  destination(left_out.plans[0], StepKind::reduce, 2) = Builder::output_of(0, Builder::chunk(1));
  CHECK(check(left_out, false).has(Fault::data));
}

TEST_CASE("an output written in place before everybody has read it is found") {
  // Every rank folds the whole message to its own output: sound out of place. In place each destroys what the others read.
  const auto greedy = [](Builder& b) {
    b.direct().block().signal_board(kArrived);
    std::vector<Location> inputs;
    for (int p = 0; p < b.ranks(); ++p) {
      if (p != b.rank()) b.wait_board(p, kArrived);
      inputs.push_back(Builder::input_of(p));
    }
    b.reduce({}, inputs, {b.output()}, true);
    b.signal_board(kDone);
    for (int p = 0; p < b.ranks(); ++p) {
      if (p != b.rank()) b.wait_board(p, kDone);
    }
  };
  Team team = hand_built(3, greedy);
  team.collective = Collective::all_reduce;
  for (Plan& plan : team.plans) plan.collective = Collective::all_reduce;
  REQUIRE(check(team, false).proven());
  require_fault(team, true, Fault::race, "of input of rank");
}

TEST_CASE("a peer's buffers are for copy and reduce of plans that say so") {
  const auto sound = [](Builder& b) {
    b.direct().block();
    if (b.rank() == 0) {
      b.signal_board(kArrived).copy({}, b.input(), {b.output()}).wait_board(1, kDone);
    } else {
      b.wait_board(0, kArrived).copy({}, Builder::input_of(0), {b.output()}).signal_board(kDone);
    }
  };
  Team team = hand_built(2, sound);
  REQUIRE(check(team, false).proven());
  REQUIRE(check(team, true).proven());
  Team silent = team;
  for (Plan& plan : silent.plans) plan.direct = false;
  const Operation bound = operation(team, 8, false);
  Operation undeclared = operation(silent, 8, false);
  undeclared.binding = bound.binding;
  CHECK(verify({&undeclared, 1}, {kCacheLine, kCacheLine}).has(Fault::location));
  Team put = team;
  put.plans[1].steps[find_step(put.plans[1], StepKind::copy)].kind = StepKind::put;
  require_fault(put, false, Fault::location, "only copy and reduce of a direct plan may");
}

TEST_CASE("only a board tells where buffers are") {
  // Rank 1 hears of rank 0's arrival by a pair channel: ordered, but nobody has said where to read.
  const auto by_pair = [](Builder& b) {
    b.direct().block();
    if (b.rank() == 0) {
      b.signal_pair(1, 0).copy({}, b.input(), {b.output()}).wait_board(1, kDone);
    } else {
      b.wait_pair(0, 0).copy({}, Builder::input_of(0), {b.output()}).signal_board(kDone);
    }
  };
  require_fault(hand_built(2, by_pair), false, Fault::race, "before a board of that rank has told");
  // Rank 2 hears of it from rank 1, which had seen the board: that will do.
  const auto passed_on = [](Builder& b) {
    b.direct().block();
    if (b.rank() == 0) {
      b.signal_board(kArrived).copy({}, b.input(), {b.output()}).wait_board(1, kDone).wait_board(2, kDone);
    } else if (b.rank() == 1) {
      b.wait_board(0, kArrived).signal_pair(2, 0).copy({}, Builder::input_of(0), {b.output()});
      b.signal_board(kDone);
    } else {
      b.wait_pair(1, 0).copy({}, Builder::input_of(0), {b.output()}).signal_board(kDone);
    }
  };
  const Team relayed = hand_built(3, passed_on);
  const Verdict verdict = check(relayed, false);
  INFO(verdict.text());
  CHECK(verdict.proven());
}

TEST_CASE("plans of which some are direct do not belong together") {
  Team team = direct(Collective::all_reduce, 2);
  team.plans[1].direct = false;
  CHECK(check(team, false).has(Fault::shape));
}

TEST_CASE("the simulator refuses buffers of a rank that has left") {
  Team team = direct(Collective::broadcast, 3, 0);
  drop_step(team.plans[0], find_wait(team.plans[0], 2, kDone));
  std::vector<std::vector<float>> data(3, std::vector<float>(1000, 1));
  std::vector<sim::Buffers> buffers;
  for (auto& each : data) buffers.push_back({each.data(), each.data()});
  const std::vector<sim::Time> late = {0, 0, sim::kMicrosecond * 1000};
  const sim::Operation operation{.plans = team.plans, .count = 1000, .buffers = buffers, .delay = late};
  try {
    sim::simulate({&operation, 1}, {}, {});
    FAIL("rank 2 reads the input of rank 0 after that has left");
  } catch (const Error& e) {
    INFO(e.what());
    CHECK(std::string_view(e.what()).find("rank 0 is not in this operation") != std::string_view::npos);
  }
}
