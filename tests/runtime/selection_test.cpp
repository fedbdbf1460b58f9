// Which algorithm is chosen, and what TUTTI_ALGO may say.
#include "runtime/tuner/selection.h"

#include "collectives/algorithms/algorithms.h"
#include "core/error.h"
#include "runtime/statistics/built_in.h"
#include "tests/catch.h"
#include "transports/shm/window.h"

using namespace tutti;
using plan::Algorithm;

namespace {

constexpr uint64_t kPackets = 64 << 10;
constexpr ScratchLimits kScratch = {1 << 20, kPackets};

Algorithm chosen(Collective collective, int ranks, uint64_t bytes, const Tuning& tuning = {}) {
  return select(selection_table(collective, JobShape::one_node(ranks), tuning, kScratch), bytes);
}

Tuning forcing(std::string_view text) {
  Tuning tuning;
  tuning.forced = parse_forced(text);
  return tuning;
}

}  // namespace

TEST_CASE("small messages go by packets, an empty one always does") {
  for (const int ranks : {2, 3, 8, 64}) {
    CHECK(chosen(Collective::all_reduce, ranks, 0) == Algorithm::one_shot);
    CHECK(chosen(Collective::all_reduce, ranks, 1024) == Algorithm::one_shot);
    CHECK(chosen(Collective::all_reduce, ranks, 1 << 20) == Algorithm::two_shot);
    CHECK(chosen(Collective::broadcast, ranks, 8192) == Algorithm::one_writer_packets);
    CHECK(chosen(Collective::broadcast, ranks, 8193) == Algorithm::one_writer);
    CHECK(chosen(Collective::barrier, ranks, 0) == Algorithm::one_shot);
    CHECK(chosen(Collective::all_reduce, ranks, 0, forcing("ring")) == Algorithm::one_shot);
  }
  CHECK(chosen(Collective::all_reduce, 2, 32768) == Algorithm::all_pairs);
  CHECK(chosen(Collective::all_reduce, 3, 32768) == Algorithm::two_shot);
  CHECK(chosen(Collective::all_reduce, 1, 32768) == Algorithm::local);
  CHECK(chosen(Collective::all_reduce, 65, 1 << 20) == Algorithm::ring);
  CHECK(chosen(Collective::all_reduce, 65, 1 << 20, forcing("two_shot")) == Algorithm::ring);
}

TEST_CASE("every table is ascending and has no end") {
  for (const Collective collective : {Collective::all_reduce, Collective::broadcast, Collective::barrier}) {
    for (const char* forced : {"", "ring", "one_shot", "chain", "one_writer_packets", "recursive_doubling"}) {
      for (const int ranks : {1, 2, 5, 64, 1024}) {
        const auto table = selection_table(collective, JobShape::one_node(ranks), forcing(forced), kScratch);
        for (size_t i = 1; i < table.size(); ++i) CHECK(table[i].bytes > table[i - 1].bytes);
        CHECK(table.back().bytes == UINT64_MAX);
      }
    }
  }
}

TEST_CASE("a forced packet algorithm carries what packets can, the table the rest") {
  const Tuning tuning = forcing("one_shot");
  const uint64_t most = kPackets / 64 * 56;
  CHECK(chosen(Collective::all_reduce, 4, most, tuning) == Algorithm::one_shot);
  CHECK(chosen(Collective::all_reduce, 4, most + 1, tuning) == Algorithm::two_shot);
  CHECK(chosen(Collective::broadcast, 4, 1 << 20, tuning) == Algorithm::one_writer);
}

TEST_CASE("what is chosen fits its limits at every size") {
  for (const Collective collective : {Collective::all_reduce, Collective::broadcast}) {
    for (const int ranks : {2, 3, 7, 64, 65, 1024}) {
      const shm::Layout layout = shm::layout(ranks, 0, statistics_bytes(ranks));
      for (uint64_t bytes = 0; bytes < (uint64_t{1} << 33); bytes = bytes * 7 + 1) {
        const Algorithm algorithm = chosen(collective, ranks, bytes);
        const auto plan = algorithms::build(
            collective, algorithm,
            {static_cast<uint16_t>(ranks), 0, 0, static_cast<uint16_t>(credits_for(algorithm, {}))});
        CHECK(plan::fits(plan, bytes, 1,
                         limits_for(collective, JobShape::one_node(ranks), {},
                                    scratch_limits(layout.slots_size, layout.packets_size))));
      }
    }
  }
}

TEST_CASE("ranks of one process work in each other's buffers, and only they") {
  const auto choose = [](Collective collective, int ranks, bool one_process, uint64_t bytes,
                         const Tuning& tuning = {}) {
    const JobShape shape = {.ranks = ranks, .nodes = 1, .one_process = one_process};
    return select(selection_table(collective, shape, tuning, kScratch), bytes);
  };
  for (const int ranks : {2, 3, 8, 64}) {
    CHECK(choose(Collective::all_reduce, ranks, true, 1024) == Algorithm::one_shot);
    CHECK(choose(Collective::all_reduce, ranks, true, 64 << 10) == Algorithm::direct);
    CHECK(choose(Collective::all_reduce, ranks, false, 64 << 10) == Algorithm::two_shot);
    CHECK(choose(Collective::broadcast, ranks, true, 8 << 20) == Algorithm::direct);
    CHECK(choose(Collective::broadcast, ranks, false, 8 << 20) == Algorithm::one_writer);
    CHECK(choose(Collective::broadcast, ranks, true, 100 << 10) == Algorithm::one_writer);
    CHECK(choose(Collective::broadcast, ranks, true, 256 << 10) ==
          (ranks <= 4 ? Algorithm::direct : Algorithm::one_writer));
    CHECK(choose(Collective::all_reduce, ranks, false, 64 << 10, forcing("direct")) == Algorithm::two_shot);
    CHECK(choose(Collective::all_reduce, ranks, true, 0, forcing("direct")) == Algorithm::one_shot);
    CHECK(choose(Collective::all_reduce, ranks, true, 4, forcing("direct")) == Algorithm::direct);
  }
  CHECK(forced_in_vain({.ranks = 4, .nodes = 1, .one_process = true}, forcing("direct")).empty());
  CHECK(forced_in_vain(JobShape::one_node(4), forcing("direct")) ==
        "direct needs all ranks to be threads of one process (tutti_comm_create_local)");
  CHECK(forced_in_vain({.ranks = 4, .nodes = 2}, forcing("direct")).find("direct needs") == 0);
}

TEST_CASE("what is chosen between nodes suits them and fits its limits at every size") {
  for (const Collective collective : {Collective::all_reduce, Collective::broadcast, Collective::barrier}) {
    for (const int nodes : {2, 3, 4, 5, 8, 9, 33}) {
      for (const size_t scratch : {size_t{256} << 10, size_t{4} << 20}) {
        const JobShape shape = {.ranks = 2 * nodes, .nodes = nodes};
        const shm::Layout layout = shm::layout(2, scratch);
        const ScratchLimits limits = scratch_limits(layout.slots_size, layout.packets_size);
        std::vector<uint16_t> node_of;
        for (int r = 0; r < shape.ranks; ++r) node_of.push_back(static_cast<uint16_t>(r / 2));
        const auto table = selection_table(collective, shape, {}, limits);
        for (uint64_t bytes = 0; bytes < (uint64_t{1} << 33); bytes = bytes * 7 + 1) {
          if (collective == Collective::barrier && bytes != 0) break;
          const Algorithm algorithm = select(table, bytes);
          const auto plan = algorithms::build(collective, algorithm,
                                              {.ranks = static_cast<uint16_t>(shape.ranks),
                                               .credits = static_cast<uint16_t>(credits_for(algorithm, {})),
                                               .nodes = node_of});
          INFO(name_of(algorithm) << " of " << bytes << " bytes on " << nodes << " nodes, scratch "
                                  << scratch);
          CHECK(plan::fits(plan, bytes, 1, limits_for(collective, shape, {}, limits)));
        }
      }
    }
  }
}

TEST_CASE("algorithms that do not exist for a shape are not used, and that is said") {
  const JobShape one = JobShape::one_node(4);
  const JobShape two = {.ranks = 4, .nodes = 2};
  CHECK(forced_in_vain(one, forcing("ring")).empty());
  CHECK(forced_in_vain(two, forcing("ring")).empty());
  CHECK(forced_in_vain(two, forcing("two_shot")) == "two_shot needs all ranks on one node");
  CHECK(forced_in_vain(one, forcing("hierarchical_ring")) ==
        "hierarchical_ring needs ranks on several nodes");
  CHECK(select(selection_table(Collective::all_reduce, two, forcing("two_shot"), kScratch), 1 << 20) ==
        Algorithm::hierarchical_doubling);
}

TEST_CASE("TUTTI_ALGO: one name for all, or one for each; what does not exist is named with what does") {
  const Forced both = parse_forced("all_reduce=ring,broadcast=chain");
  CHECK(both[static_cast<size_t>(Collective::all_reduce)] == Algorithm::ring);
  CHECK(both[static_cast<size_t>(Collective::broadcast)] == Algorithm::chain);
  const Forced one = parse_forced("chain");
  CHECK_FALSE(one[static_cast<size_t>(Collective::all_reduce)].has_value());
  CHECK(one[static_cast<size_t>(Collective::broadcast)] == Algorithm::chain);
  CHECK_FALSE(parse_forced("")[0].has_value());

  const auto refused = [](std::string_view text) -> std::string {
    try {
      parse_forced(text);
    } catch (const Error& e) {
      CHECK(e.code() == Result::invalid_argument);
      return e.what();
    }
    return "accepted";
  };
  CHECK(refused("rung").find("'rung' does not exist; all_reduce has one_shot, all_pairs, two_shot, ring") !=
        std::string::npos);
  CHECK(refused("all_reduce=chain").find("all_reduce has no algorithm 'chain'") != std::string::npos);
  CHECK(refused("gather=ring").find("'gather' is not a collective") != std::string::npos);
  CHECK(refused("local").find("does not exist") != std::string::npos);
}
