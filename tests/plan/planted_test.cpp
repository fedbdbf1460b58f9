// Planted faults, each caught with the right kind of violation, beside the sound plan that it was made from.
#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/sync.h"
#include "tests/catch.h"
#include "tests/plan/matrix_support.h"
#include "tests/plan/mutants_support.h"

using namespace tutti;
using namespace tutti::plan;
using namespace tutti::plan::testing;

namespace {

using Build = void (*)(Builder&);

/// A team of hand-built plans of an all-reduce, or of a broadcast from rank 0.
Team hand_built(Collective collective, int ranks, Build build, uint16_t credits = 1) {
  const Algorithm algorithm =
      collective == Collective::broadcast ? Algorithm::one_writer : Algorithm::two_shot;
  Team team;
  team.collective = collective;
  team.algorithm = algorithm;
  team.shape = {.ranks = static_cast<uint16_t>(ranks), .credits = credits};
  for (int r = 0; r < ranks; ++r) {
    Shape shape = team.shape;
    shape.rank = static_cast<uint16_t>(r);
    Builder builder(collective, algorithm, shape);
    build(builder);
    team.plans.push_back(builder.take());
  }
  return team;
}

Verdict check(const std::vector<Operation>& sequence, uint64_t more = 0) {
  const Scratch need = largest_need(sequence);
  return verify(sequence, {need.slots_bytes + more, need.packets_bytes + more});
}

Verdict check(const Team& team, uint64_t slices, bool in_place = false) {
  const uint64_t count = team.plans[0].packet_areas != 0 ? 17 : full_count(team, slices);
  return check({operation(team, count, in_place)});
}

size_t find_step(const Plan& plan, StepKind kind, size_t which = 0) {
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    if (plan.steps[i].kind == kind && which-- == 0) return i;
  }
  FAIL("no such step");
  return 0;
}

void require_only(const Verdict& verdict, Fault fault) {
  INFO(verdict.text());
  REQUIRE_FALSE(verdict.proven());
  CHECK(verdict.violations[0].fault == fault);
}

void require_proven(const Verdict& verdict) {
  INFO(verdict.text());
  REQUIRE(verdict.proven());
}

}  // namespace

TEST_CASE("a dropped signal is a deadlock that names both sides") {
  Team team = make_team(Collective::broadcast, Algorithm::chain, 3, 0, 2);
  require_proven(check(team, 5));
  drop_step(team.plans[0], find_step(team.plans[0], StepKind::signal));
  const Verdict verdict = check(team, 5);
  require_only(verdict, Fault::deadlock);
  const std::string text = verdict.text();
  CHECK(text.find("rank 1 lane 0, operation 0 (broadcast chain), step 1") != std::string::npos);
  CHECK(text.find("pair channel 0 of rank 0: awaits 1, which is raise 0, but it stays at 0") !=
        std::string::npos);
}

TEST_CASE("a signal that only a later operation makes good is found") {
  Team team = make_team(Collective::broadcast, Algorithm::chain, 2, 0, 1);
  const Team later = team;
  // The first operation raises one slice too few; the raises of the second would satisfy the wait.
  team.plans[0].steps[find_step(team.plans[0], StepKind::signal)].lag = 1;
  const uint64_t count = full_count(team, 1);
  CHECK(check({operation(team, count, false), operation(later, count, false)}, 1024).has(Fault::counter));
}

TEST_CASE("a swapped chunk is wrong data") {
  for (const Algorithm algorithm : {Algorithm::two_shot, Algorithm::ring}) {
    Team team = make_team(Collective::all_reduce, algorithm, 3, 0, 2);
    require_proven(check(team, 3));
    // The last copy of rank 1 takes the right slot to the wrong place of the output.
    Plan& plan = team.plans[1];
    const Step& step = plan.steps[find_step(plan, StepKind::copy)];
    Affine& chunk = plan.locations[step.first_location].index;
    chunk.base = (chunk.base + 1) % 3;
    CHECK(check(team, 3).has(Fault::data));
  }
}

TEST_CASE("a missing wait for credit is a race") {
  for (const Algorithm algorithm : {Algorithm::chain, Algorithm::one_writer}) {
    Team team = make_team(Collective::broadcast, algorithm, 3, 0, 2);
    require_proven(check(team, 5));
    drop_step(team.plans[0], find_step(team.plans[0], StepKind::wait));
    require_proven(check(team, 2));  // no slot is used twice
    require_only(check(team, 3), Fault::race);
  }
}

TEST_CASE("a slot reused too early is found only when plan B follows plan A") {
  // A: rank 1 may still read rank 0's window when rank 2 has returned. B: rank 2 writes there first of all.
  const Team a = make_team(Collective::broadcast, Algorithm::one_writer, 3, 0, 1);
  const Team sound = make_team(Collective::broadcast, Algorithm::chain, 3, 2, 1);
  Team b = sound;
  drop_step(b.plans[2], find_step(b.plans[2], StepKind::claim));
  const Operation first = operation(a, full_count(a, 3), false);
  const Operation claimed = operation(sound, full_count(sound, 3), false);
  const Operation unclaimed = operation(b, full_count(b, 3), false);
  require_proven(check({first, first}));
  require_proven(check({unclaimed}));
  require_proven(check({first, claimed}));
  require_proven(check({first, unclaimed}, kCacheLine));  // room for both: nothing is reused
  const Verdict verdict = check({first, unclaimed});
  require_only(verdict, Fault::race);
  CHECK(verdict.text().find("of slots of rank 0, not ordered with the read by rank 1") != std::string::npos);
}

TEST_CASE("packets overwritten before they are read are found") {
  Team team = make_team(Collective::all_reduce, Algorithm::one_shot, 3, 0, 1);
  const Operation sound = operation(team, 17, false);
  require_proven(check({sound, sound, sound}));
  Team broken = team;
  drop_step(broken.plans[1], find_step(broken.plans[1], StepKind::claim));
  const Operation unclaimed = operation(broken, 17, false);
  require_proven(check({unclaimed}));
  const Verdict verdict = check({sound, unclaimed});
  require_only(verdict, Fault::race);
  CHECK(verdict.text().find("packet") != std::string::npos);
}

TEST_CASE("a read of a peer's input needs the peer to wait in the operation") {
  // Rank 0 broadcasts out of its own input: the others copy from there. kReady says that it has entered.
  enum : int { kReady, kDone };
  const auto finish = [](Builder& b) {
    b.direct().block();
    if (b.rank() == 0) {
      b.signal_board(kReady).copy({}, b.input(), {b.output()});
      for (int p = 1; p < b.ranks(); ++p) b.wait_board(p, kDone);
    } else {
      const Location theirs{Space::input, 0, 0, {}};
      b.wait_board(0, kReady).copy({}, theirs, {b.output()}).signal_board(kDone);
    }
  };
  const auto leave = [](Builder& b) {
    b.direct().block();
    if (b.rank() == 0) {
      b.signal_board(kReady).copy({}, b.input(), {b.output()});
    } else {
      const Location theirs{Space::input, 0, 0, {}};
      b.wait_board(0, kReady).copy({}, theirs, {b.output()}).signal_board(kDone);
    }
  };
  const auto rush = [](Builder& b) {
    b.direct().block();
    if (b.rank() == 0) {
      b.copy({}, b.input(), {b.output()});
      for (int p = 1; p < b.ranks(); ++p) b.wait_board(p, kDone);
    } else {
      b.copy({}, Location{Space::input, 0, 0, {}}, {b.output()}).signal_board(kDone);
    }
  };
  require_proven(check(hand_built(Collective::broadcast, 3, finish), 3));
  require_only(check(hand_built(Collective::broadcast, 3, leave), 3), Fault::race);
  require_only(check(hand_built(Collective::broadcast, 3, rush), 3), Fault::race);
}

TEST_CASE("a lost or repeated final is wrong data") {
  for (const Algorithm algorithm : {Algorithm::one_shot, Algorithm::two_shot, Algorithm::ring}) {
    for (const int rank : {0, 2}) {
      Team team = make_team(Collective::all_reduce, algorithm, 3, 0, 2);
      for (Step& step : team.plans[static_cast<size_t>(rank)].steps) step.final = false;
      require_only(check(team, 3), Fault::data);
    }
  }
  // All ranks agree, so only the rule about final can tell.
  Team never = make_team(Collective::all_reduce, Algorithm::one_shot, 3, 0, 1);
  for (Plan& plan : never.plans) {
    for (Step& step : plan.steps) step.final = false;
  }
  require_only(check(never, 1), Fault::data);
  Team twice = make_team(Collective::all_reduce, Algorithm::recursive_doubling, 4, 0, 1);
  for (Plan& plan : twice.plans) {
    for (Step& step : plan.steps) step.final = step.kind == StepKind::reduce;
  }
  require_only(check(twice, 1), Fault::data);
}

TEST_CASE("an operand folded twice, left out or out of order is wrong data even where all ranks agree") {
  const auto build = [](std::array<int, 3> order) {
    Team team = make_team(Collective::all_reduce, Algorithm::one_shot, 3, 0, 1);
    for (Plan& plan : team.plans) {
      const Step& step = plan.steps[find_step(plan, StepKind::reduce_packets)];
      const std::vector<Location> srcs(plan.srcs(step).begin(), plan.srcs(step).end());
      for (size_t k = 0; k < 3; ++k) {
        plan.locations[step.first_location + step.dsts + k] = srcs[static_cast<size_t>(order[k])];
      }
    }
    return team;
  };
  require_proven(check(build({0, 1, 2}), 1));
  require_only(check(build({0, 1, 1}), 1), Fault::data);
  require_only(check(build({0, 2, 1}), 1), Fault::data);
  const Team disordered = build({0, 2, 1});
  Operation any = operation(disordered, 17, false);
  any.order = OperandOrder::any;
  require_proven(check({any}));
}

TEST_CASE("a put is done for its receiver only with the signal to it") {
  // Rank 0 puts to rank 1; the news must not travel by another way than the put.
  enum : int { kData };
  const auto direct = [](Builder& b) {
    b.areas(1).claim().block();
    if (b.rank() == 0) {
      b.put({}, b.input(), {b.slot(1, 0)}).signal_pair(1, kData).copy({}, b.input(), {b.output()});
    } else {
      b.wait_pair(0, kData).copy({}, b.slot(1, 0), {b.output()});
    }
  };
  const auto by_board = [](Builder& b) {
    b.areas(1).claim().block();
    if (b.rank() == 0) {
      b.put({}, b.input(), {b.slot(1, 0)}).signal_board(0).copy({}, b.input(), {b.output()});
    } else {
      b.wait_board(0, 0).copy({}, b.slot(1, 0), {b.output()});
    }
  };
  require_proven(check(hand_built(Collective::broadcast, 2, direct), 1));
  require_only(check(hand_built(Collective::broadcast, 2, by_board), 1), Fault::race);
}

TEST_CASE("lanes of one rank are ordered by barrier and nothing else") {
  // Lane 0 of rank 1 receives, lane 1 hands on to the output.
  const auto with_barrier = [](Builder& b) {
    b.areas(1);
    if (b.rank() == 0) {
      b.claim()
          .block()
          .put({}, b.input(), {b.slot(1, 0)})
          .signal_pair(1, 0)
          .copy({}, b.input(), {b.output()});
    } else {
      b.block().wait_pair(0, 0).barrier();
      b.lane().block().barrier().copy({}, b.slot(1, 0), {b.output()});
    }
  };
  const auto without = [](Builder& b) {
    b.areas(1);
    if (b.rank() == 0) {
      b.claim()
          .block()
          .put({}, b.input(), {b.slot(1, 0)})
          .signal_pair(1, 0)
          .copy({}, b.input(), {b.output()});
    } else {
      b.block().wait_pair(0, 0);
      b.lane().block().copy({}, b.slot(1, 0), {b.output()});
    }
  };
  const auto alone = [](Builder& b) {
    b.areas(1);
    if (b.rank() == 0) {
      b.claim()
          .block()
          .put({}, b.input(), {b.slot(1, 0)})
          .signal_pair(1, 0)
          .copy({}, b.input(), {b.output()});
    } else {
      b.block().wait_pair(0, 0).barrier();
      b.lane().block();
    }
  };
  const Team ordered = hand_built(Collective::broadcast, 2, with_barrier);
  require_proven(
      check({operation(ordered, 8, false), operation(ordered, 8, true), operation(ordered, 8, false)}));
  const Verdict unordered = check(hand_built(Collective::broadcast, 2, without), 1);
  CHECK((unordered.has(Fault::race) || unordered.has(Fault::data)));
  CHECK(check(hand_built(Collective::broadcast, 2, alone), 1).has(Fault::deadlock));
}

TEST_CASE("locations outside and operands that overlap are found") {
  const auto outside = [](Builder& b) {
    b.areas(1).claim().block();
    b.copy({}, b.input(), {b.slot(b.rank(), 1)});
  };
  const auto overlapping = [](Builder& b) {
    b.areas(1).claim().block();
    b.copy({}, b.input(), {b.slot(b.rank(), 0), b.slot(b.rank(), 0)});
  };
  const auto negative = [](Builder& b) {
    b.areas(1).claim().block();
    b.copy({}, b.input(Builder::chunk(-1)), {b.output()});
  };
  for (const Build build : {Build{outside}, Build{overlapping}, Build{negative}}) {
    require_only(check(hand_built(Collective::broadcast, 2, build), 2), Fault::location);
  }
}

TEST_CASE("counters: a second writer, a gap and a raise too many are found") {
  Team team = make_team(Collective::broadcast, Algorithm::one_writer, 2, 0, 1);
  Team foreign = team;
  foreign.plans[1].steps[find_step(foreign.plans[1], StepKind::signal)].channel.peer = 0;
  require_only(check(foreign, 2), Fault::counter);
  Team gap = team;
  gap.plans[0].steps[find_step(gap.plans[0], StepKind::signal)].count.per_slice = 2;
  require_only(check(gap, 2), Fault::counter);
  Team beyond = team;
  Operation short_of_ticks = operation(beyond, full_count(beyond, 2), false);
  short_of_ticks.binding.ticks = 1;
  require_only(check({short_of_ticks}), Fault::counter);
}

TEST_CASE("a barrier that somebody leaves before all have come is found") {
  Team team = make_team(Collective::barrier, Algorithm::one_shot, 3, 0, 1);
  require_proven(check({operation(team, 0, false)}));
  Plan& plan = team.plans[2];
  drop_step(plan, find_step(plan, StepKind::reduce_packets));
  require_only(check({operation(team, 0, false)}), Fault::ordering);
}

TEST_CASE("the fewest credits are the fewest: with one less the plan is wrong, and the builders say so") {
  // A ring with one credit cannot move; the others, which return no credit, overwrite slots that are still read.
  const std::pair<Algorithm, Fault> wrong[] = {{Algorithm::ring, Fault::deadlock},
                                               {Algorithm::two_shot, Fault::race},
                                               {Algorithm::all_pairs, Fault::race}};
  for (const auto& [algorithm, fault] : wrong) {
    REQUIRE(algorithms::least_credits(algorithm) == 2);
    for (const int n : {2, 3, 4}) {
      CHECK_THROWS_AS(make_team(Collective::all_reduce, algorithm, n, 0, 1), Error);
      // What the builder refuses: the same plan with one credit, bound for one credit.
      Team team = make_team(Collective::all_reduce, algorithm, n, 0, 2);
      team.shape.credits = 1;
      for (Plan& plan : team.plans) plan.credits = 1;
      require_only(check(team, 3), fault);
    }
  }
}

TEST_CASE("plans that do not belong together and too little scratch are refused") {
  Team team = make_team(Collective::all_reduce, Algorithm::ring, 2, 0, 2);
  const Team other = make_team(Collective::all_reduce, Algorithm::ring, 2, 0, 3);
  team.plans[1] = other.plans[1];
  CHECK(check(team, 3).has(Fault::shape));
  const Team sound = make_team(Collective::all_reduce, Algorithm::ring, 2, 0, 2);
  const std::vector<Operation> sequence{operation(sound, full_count(sound, 3), false)};
  CHECK_THROWS_AS(verify(sequence, {64, 0}), Error);
  CHECK_THROWS_AS(verify({}, {64, 64}), Error);
}
