// The verbs transport at work, on the RDMA devices of this machine: rank r uses device r, so that everything goes over the wire where there are
// several (two queue pairs of one Soft-RoCE device are looped back inside it).
#include <poll.h>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "tests/catch.h"
#include "tests/transports/ranks.h"
#include "tests/transports/traffic.h"
#include "transports/verbs/devices.h"
#include "transports/verbs/verbs.h"

using namespace tutti;
using namespace port_test;

namespace {

std::vector<std::string> usable_rails() {
  std::vector<std::string> names;
  for (const verbs::RailInfo& rail : verbs::list_rails(-1)) {
    if (rail.problem.empty()) names.push_back(rail.name);
  }
  return names;
}

/// Names of the rails of one rank: `each` of them, or fewer where there are not so many.
std::string rails_of(int rank, int ranks, size_t each) {
  const std::vector<std::string> all = usable_rails();
  const size_t share = std::clamp<size_t>(all.size() / static_cast<size_t>(ranks), 1, each);
  std::string names;
  for (size_t i = 0; i < share; ++i)
    names += (i == 0 ? "" : ",") + all[(static_cast<size_t>(rank) * share + i) % all.size()];
  return names;
}

class VerbsRank : public Rank {
 public:
  VerbsRank(Shared& shared, int rank, int ranks, size_t slots_bytes, size_t rails = 1)
      : Rank(
            shared, rank, ranks,
            [rails](int r, int n, std::span<std::byte> slots) {
              return make_verbs_transport({.rank = r,
                                           .ranks = n,
                                           .slots = slots.data(),
                                           .slots_bytes = slots.size(),
                                           .rails = rails_of(r, n, rails)});
            },
            slots_bytes) {}
};

const char* text_of(Mode mode) {
  return mode == Mode::threads ? "threads" : "processes";
}

/// Without devices there is nothing to try: said once, as ctest's reason for a skip.
bool no_devices() {
  if (!usable_rails().empty()) return false;
  std::puts("skipped: this machine has no RDMA device");
  return true;
}

}  // namespace

TEST_CASE("every size arrives by RDMA, and nothing of it is read after flushed()", "[verbs]") {
  if (no_devices()) return;
  const Mode mode = GENERATE(Mode::threads, Mode::processes);
  const int ranks = GENERATE(2, 3);
  const size_t rails = GENERATE(1, 2);
  INFO(text_of(mode) << ", " << ranks << " ranks, " << rails << " rails");
  CHECK(run(mode, ranks, [&](Shared& shared, int rank) {
          VerbsRank me(shared, rank, ranks, slots_for_sizes(ranks), rails);
          send_sizes(me);
          me.meet();
        }) == "");
}

TEST_CASE("random puts and signals keep their order over queue pairs", "[verbs]") {
  if (no_devices()) return;
  const Mode mode = GENERATE(Mode::threads, Mode::processes);
  const int ranks = GENERATE(2, 3);
  const size_t rails = GENERATE(1, 2);
  INFO(text_of(mode) << ", " << ranks << " ranks, " << rails << " rails");
  CHECK(run(mode, ranks, [&](Shared& shared, int rank) {
          VerbsRank me(shared, rank, ranks, slots_for_bursts(ranks), rails);
          exchange_bursts(me, 200);
          me.meet();
        }) == "");
}

TEST_CASE("a rank sleeps on the completion channel and is woken by what comes", "[verbs]") {
  if (no_devices()) return;
  const Mode mode = GENERATE(Mode::threads, Mode::processes);
  CHECK(run(mode, 2, [&](Shared& shared, int rank) {
          VerbsRank me(shared, rank, 2, 64);
          me.port(1 - rank).signal(1, 1, {});
          me.until([&] { return reached(me.inbox(1 - rank).line.counters[1], 1); }, "the first signal");
          for (uint64_t round = 1; round <= 50; ++round) {
            if (rank == 0) me.port(1).signal(0, round, {});
            const uint64_t end = now_ns() + 10 * kSecond;
            while (!reached(me.inbox(1 - rank).line.counters[0], round)) {
              expect(now_ns() < end, "round {} does not come", round);
              me.transport().advance();
              if (reached(me.inbox(1 - rank).line.counters[0], round)) break;
              if (!me.transport().arm()) continue;
              pollfd entry = {me.transport().descriptor(), POLLIN, 0};
              expect(poll(&entry, 1, 5000) == 1, "nothing woke rank {} in round {}", rank, round);
            }
            if (rank == 1) me.port(0).signal(0, round, {});
          }
          me.meet();
        }) == "");
}

TEST_CASE("a device that is not there is refused by name", "[verbs]") {
  const auto why = [](const std::string& rails) -> std::string {
    std::vector<std::byte> slots(64);
    try {
      make_verbs_transport({.rank = 0, .ranks = 2, .slots = slots.data(), .slots_bytes = 64, .rails = rails});
    } catch (const Error& error) {
      return error.what();
    }
    return "made";
  };
  CHECK(why("nosuch0").starts_with("TUTTI_IB_HCA: there is no 'nosuch0'"));
  CHECK(why("^nosuch0").starts_with("TUTTI_IB_HCA: there is no 'nosuch0'"));
  if (usable_rails().empty()) CHECK(why("").starts_with("there is no RDMA device that can be used"));
}
