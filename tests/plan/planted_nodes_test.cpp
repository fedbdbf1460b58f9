// Planted faults in plans over several nodes, each caught with the right kind of violation, beside the sound plan that it was
// made from.
#include <string>

#include "core/sync.h"
#include "tests/catch.h"
#include "tests/plan/matrix_support.h"
#include "tests/plan/mutants_support.h"
#include "tests/plan/port_plans_support.h"

using namespace tutti;
using namespace tutti::plan;
using namespace tutti::plan::testing;

namespace {

Team hand_built(Collective collective, const Nodes& nodes, Build build, uint16_t credits = 1) {
  Team team;
  team.collective = collective;
  team.shape = {.ranks = static_cast<uint16_t>(nodes.size()), .credits = credits};
  team.nodes = nodes;
  team.plans = build_all(collective, nodes, build, credits);
  team.algorithm = team.plans[0].algorithm;
  return team;
}

Verdict check(const std::vector<Operation>& sequence) {
  return verify(sequence, largest_need(sequence));
}

/// Three times in a row on a ring for one: every slot is reused by the next operation.
Verdict check(const Team& team, uint64_t slices, bool in_place = false) {
  const Operation once = operation(team, full_count(team, slices), in_place);
  return check({once, once, once});
}

void require_proven(const Verdict& verdict) {
  INFO(verdict.text());
  REQUIRE(verdict.proven());
}

void require_fault(const Verdict& verdict, Fault fault, const std::string& text) {
  INFO(verdict.text());
  REQUIRE_FALSE(verdict.proven());
  CHECK(verdict.violations[0].fault == fault);
  CHECK(verdict.violations[0].text.find(text) != std::string::npos);
}

void drop(Plan& plan, StepKind kind) {
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    if (plan.steps[i].kind == kind) return drop_step(plan, i);
  }
  FAIL("no such step");
}

}  // namespace

TEST_CASE("nodes: a source slot given back before the put has left it is a race") {
  const Team sound = hand_built(Collective::broadcast, kRelayNodes, relay);
  for (const uint64_t slices : {0, 1, 2, 3}) require_proven(check(sound, slices));
  Team team = sound;
  drop(team.plans[1], StepKind::flush);
  require_fault(check({operation(team, full_count(team, 3), false)}), Fault::race,
                "of slots of rank 1, not ordered with the read by rank 1 lane 0");

  // What the receiver tells does as well as a flush.
  const auto told = [](Builder& b) {
    if (b.rank() != 1) return relay(b);
    b.areas(1).claim().block().wait_pair(0, kData);
    b.put({}, b.slot(1, 0), {b.output(), b.slot(2, 0)}).signal_pair(2, kData);
    b.wait_pair(2, kFree).signal_pair(0, kFree);
  };
  require_proven(check(hand_built(Collective::broadcast, kRelayNodes, told), 3));
}

TEST_CASE("nodes: in place, an output written while the put still reads it is a race") {
  const Team sound = hand_built(Collective::all_reduce, kExchangeNodes, exchange);
  for (const uint64_t slices : {0, 1, 2, 3}) {
    require_proven(check(sound, slices, false));
    require_proven(check(sound, slices, true));
  }
  Team team = sound;
  drop(team.plans[1], StepKind::flush);
  require_proven(check(team, 3, false));
  require_fault(check(team, 1, true), Fault::race,
                "of output of rank 1, not ordered with the read by rank 1 lane 0");
}

TEST_CASE("nodes: the end of an operation is the end of its puts, and of what they read only") {
  // Rank 0 says nothing: nobody may touch rank 1's slot again, not even after both have returned.
  const auto silent = [](Builder& b) {
    b.areas(1).claim().block();
    if (b.rank() == 0) {
      b.put({}, b.input(), {b.slot(1, 0)}).signal_pair(1, kData).copy({}, b.input(), {b.output()});
      b.put({}, b.input(), {b.slot(1, 0)});
    } else {
      b.wait_pair(0, kData).copy({}, b.slot(1, 0), {b.output()});
    }
  };
  const auto polite = [](Builder& b) {
    b.areas(1).claim().block();
    if (b.rank() == 0) {
      b.put({}, b.input(), {b.slot(1, 0)}).signal_pair(1, kData).copy({}, b.input(), {b.output()});
    } else {
      b.wait_pair(0, kData).copy({}, b.slot(1, 0), {b.output()});
    }
  };
  require_proven(check(hand_built(Collective::broadcast, {0, 1}, polite), 1));
  require_fault(check(hand_built(Collective::broadcast, {0, 1}, silent), 1), Fault::race,
                "of slots of rank 1");
}

TEST_CASE("nodes: two puts to one slot are not ordered by having been posted one after the other") {
  const auto twice = [](Builder& b) {
    b.areas(1).claim().block();
    if (b.rank() == 0) {
      b.put({}, b.input(), {b.slot(1, 0)}).put({}, b.input(), {b.slot(1, 0)}).signal_pair(1, kData);
      b.copy({}, b.input(), {b.output()});
    } else {
      b.wait_pair(0, kData).copy({}, b.slot(1, 0), {b.output()});
    }
  };
  require_fault(check(hand_built(Collective::broadcast, {0, 1}, twice), 1), Fault::race,
                "of slots of rank 1, not ordered with the write by rank 0");
  require_proven(check(hand_built(Collective::broadcast, {0, 0}, twice), 1));  // stores are
}

TEST_CASE("nodes: memory of another node is written by puts to slots and not read") {
  const auto reads_slot = [](Builder& b) {
    relay(b);
    if (b.rank() == 2) b.copy({}, b.slot(1, 0), {b.output()});
  };
  const auto reads_input = [](Builder& b) {
    relay(b);
    if (b.rank() == 2) b.copy({}, Location{Space::input, 0, 0, {}}, {b.output()});
  };
  const auto reduces = [](Builder& b) {
    relay(b);
    const Location operands[] = {b.input(), b.slot(b.rank(), 0)};
    if (b.rank() == 1) b.reduce({}, operands, {b.slot(2, 0)}, false);
  };
  const auto copies = [](Builder& b) {
    relay(b);
    if (b.rank() == 1) b.copy({}, b.input(), {b.slot(2, 0)});
  };
  const auto puts_to_output = [](Builder& b) {
    relay(b);
    if (b.rank() == 1) b.put({}, b.input(), {Location{Space::output, 2, 0, {}}});
  };
  const auto puts_first = [](Builder& b) {
    relay(b);
    if (b.rank() == 1) b.put({}, b.input(), {b.slot(2, 0), b.slot(0, 0)});
  };
  for (const Build build : {Build{reads_slot}, Build{reads_input}}) {
    require_fault(check(hand_built(Collective::broadcast, kRelayNodes, build), 1), Fault::location,
                  ", which is on another node");
  }
  for (const Build build : {Build{reduces}, Build{copies}, Build{puts_to_output}, Build{puts_first}}) {
    require_fault(
        check(hand_built(Collective::broadcast, kRelayNodes, build), 1), Fault::location,
        "writes memory of rank 2, which is on another node; only the last destination of a put may");
  }
}

TEST_CASE("nodes: boards and packets stay on their node") {
  const auto board = [](Builder& b) {
    relay(b);
    if (b.rank() == 0) b.signal_board(0);
    if (b.rank() == 2) b.wait_board(0, 0);
  };
  require_fault(check(hand_built(Collective::broadcast, kRelayNodes, board), 1), Fault::location,
                "the board of rank 0 is on another node");
  Team team = make_team(Collective::all_reduce, Algorithm::one_shot, 3, 0, 1);
  require_proven(check({operation(team, 17, false)}));
  for (Plan& plan : team.plans) plan.nodes = {0, 0, 1};
  require_fault(check({operation(team, 17, false)}), Fault::location,
                "reads memory of rank 2, which is on another node");
}

namespace {

/// Rank 0 puts to ranks 1 and 2, and rank 2 hands on to rank 3. News: how rank 2 hears of what was put to it.
enum class News { from_the_writer, by_rank_3, by_rank_3_after_a_flush };

template <News kNews>
void fan_out(Builder& b) {
  const bool direct = kNews == News::from_the_writer;
  b.areas(1).claim().block();
  if (b.rank() == 0) {
    b.put({}, b.input(), {b.slot(2, 0)});
    if (kNews == News::by_rank_3_after_a_flush) b.flush(2);
    b.signal_pair(direct ? 2 : 3, kData);
    b.put({}, b.input(), {b.slot(1, 0)}).signal_pair(1, kData).copy({}, b.input(), {b.output()});
  } else if (b.rank() == 2) {
    b.wait_pair(direct ? 0 : 3, kData);
    b.put({}, b.slot(2, 0), {b.output(), b.slot(3, 0)}).signal_pair(3, kData);
  } else {
    if (b.rank() == 3 && !direct) b.wait_pair(0, kData).signal_pair(2, kData);
    b.wait_pair(b.rank() - 1, kData).copy({}, b.slot(b.rank(), 0), {b.output()});
  }
}

}  // namespace

TEST_CASE("nodes: a signal carries the puts to its receiver and no others") {
  const Nodes nodes = {0, 0, 1, 1};
  require_proven(check(hand_built(Collective::broadcast, nodes, fan_out<News::from_the_writer>), 1));
  // That the data have left does not mean that they have come.
  for (const Build build : {Build{fan_out<News::by_rank_3>}, Build{fan_out<News::by_rank_3_after_a_flush>}}) {
    Team team = hand_built(Collective::broadcast, nodes, build);
    // Rank 2 grants although it does not await rank 0, so that nothing but the order is wrong.
    team.plans[2].port_sources = {0};
    require_fault(check(team, 1), Fault::race,
                  "reads bytes [0, 64) of slots of rank 2, not ordered with the write by rank 0");
  }
}

TEST_CASE("nodes: both sides of a port claim and know of each other") {
  const Team sound = hand_built(Collective::broadcast, kRelayNodes, relay);
  Team team = sound;
  drop(team.plans[2], StepKind::claim);
  require_fault(check(team, 1), Fault::location, "puts to rank 2 of another node, but rank 2 never claims");
  team = sound;
  drop(team.plans[1], StepKind::claim);
  require_fault(check(team, 1), Fault::location, "puts to rank 2 of another node, but rank 1 never claims");
  team = sound;
  team.plans[1].port_targets.clear();
  require_fault(check(team, 1), Fault::location, "not among the plan's port targets");
  team = sound;
  team.plans[2].port_sources.clear();
  require_fault(check(team, 1), Fault::location, "does not list rank 1 among its port sources");
  team = sound;
  team.plans[0].port_targets = {1};
  require_fault(check(team, 1), Fault::location, "a port to rank 1, which is on no other node");
  team = sound;
  for (Step& step : team.plans[1].steps) {
    if (step.kind == StepKind::flush) step.channel.peer = 0;
  }
  require_fault(check(team, 1), Fault::location, "there is no port to rank 0");
}

TEST_CASE("nodes: a claim that waits for the grant of somebody who waits for its data is a deadlock") {
  const auto late = [](Builder& b) {
    if (b.rank() != 2) return relay(b);
    b.areas(1).block();
    b.wait_pair(1, kData).claim().copy({}, b.slot(2, 0), {b.output()}).signal_pair(1, kFree);
  };
  const Team team = hand_built(Collective::broadcast, kRelayNodes, late);
  const Operation once = operation(team, full_count(team, 1), false);
  require_proven(check({once}));
  const Verdict verdict = check({once, once});
  INFO(verdict.text());
  REQUIRE(verdict.has(Fault::deadlock));
  CHECK(verdict.text().find("waits for ever for rank 2 to grant position 64 of its slots") !=
        std::string::npos);
}

TEST_CASE("nodes: a claim hears from the nodes of its port targets who has finished with their slots") {
  // Rank 0 tells everybody and hears nothing in return: only the claim says that the slots of the operation before are free.
  const auto too_late = [](Builder& b) {
    b.areas(1);
    if (b.rank() != 0) b.claim();
    b.block();
    for (int peer = 1; peer < b.ranks() && b.rank() == 0; ++peer) {
      b.put({}, b.input(), {b.slot(peer, 0)}).claim().signal_pair(peer, kData);
    }
    if (b.rank() == 0) b.copy({}, b.input(), {b.output()});
    if (b.rank() != 0) b.wait_pair(0, kData).copy({}, b.slot(b.rank(), 0), {b.output()});
  };
  const Nodes nodes = {0, 1, 2};
  require_proven(check(hand_built(Collective::broadcast, nodes, star), 1));
  const Team team = hand_built(Collective::broadcast, nodes, too_late);
  require_proven(check({operation(team, full_count(team, 1), false)}));
  require_fault(check(team, 1), Fault::race, "of slots of rank 1, not ordered with the write by rank 0");
}

TEST_CASE("nodes: plans that do not agree about them are refused") {
  Team team = hand_built(Collective::broadcast, kRelayNodes, relay);
  team.plans[1].nodes = {0, 1, 1};
  require_fault(check(team, 1), Fault::shape, "the plan of rank 1 has other nodes");
  for (Plan& plan : team.plans) plan.nodes = {0, 0};
  require_fault(check(team, 1), Fault::shape, "knows the nodes of 2 ranks, not of 3");
}
