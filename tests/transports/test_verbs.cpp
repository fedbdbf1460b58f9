// The verbs transport at work, on the RDMA devices of this machine: rank r uses device r, so that everything goes over the wire where there are
// several (two queue pairs of one Soft-RoCE device are looped back inside it).
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "core/units.h"
#include "tests/catch.h"
#include "tests/transports/ranks.h"
#include "tests/transports/traffic.h"
#include "transports/verbs/connection.h"
#include "transports/verbs/devices.h"
#include "transports/verbs/mail.h"
#include "transports/verbs/rail.h"
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
  VerbsRank(Shared& shared, int rank, int ranks, size_t slots_bytes, size_t rails = 1,
            const VerbsTuning& tuning = {})
      : Rank(
            shared, rank, ranks,
            [rails, tuning](int r, int n, std::span<std::byte> slots) {
              return make_verbs_transport({.rank = r,
                                           .ranks = n,
                                           .slots = slots.data(),
                                           .slots_bytes = slots.size(),
                                           .rails = rails_of(r, n, rails),
                                           .tuning = tuning});
            },
            slots_bytes) {}
};

const char* text_of(Mode mode) {
  return mode == Mode::threads ? "threads" : "processes";
}

/// What the process had open is closed when it is a zombie.
bool has_ended(int process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');
  return name_end == std::string::npos || text.compare(name_end, 3, ") Z") == 0;
}

/// Where there are fewer devices than these would have, they get fewer, and it would be the same again.
std::vector<std::pair<int, size_t>> ranks_and_rails() {
  std::vector<std::pair<int, size_t>> all = {{2, 1}, {3, 1}};
  for (const int ranks : {2, 3}) {
    if (usable_rails().size() >= size_t{2} * static_cast<size_t>(ranks)) all.emplace_back(ranks, 2);
  }
  return all;
}

/// Without devices there is nothing to try: said once, as ctest's reason for a skip.
bool no_devices() {
  if (!usable_rails().empty()) return false;
  std::puts("SKIPPED: this machine has no RDMA device");
  return true;
}

}  // namespace

TEST_CASE("every size arrives by RDMA, and nothing of it is read after flushed()", "[verbs]") {
  if (no_devices()) return;
  const Mode mode = GENERATE(Mode::threads, Mode::processes);
  const auto shape = GENERATE(from_range(ranks_and_rails()));
  const int ranks = shape.first;
  const size_t rails = shape.second;
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
  const auto shape = GENERATE(from_range(ranks_and_rails()));
  const int ranks = shape.first;
  const size_t rails = shape.second;
  INFO(text_of(mode) << ", " << ranks << " ranks, " << rails << " rails");
  CHECK(run(mode, ranks, [&](Shared& shared, int rank) {
          VerbsRank me(shared, rank, ranks, slots_for_bursts(ranks), rails);
          exchange_bursts(me, 100);
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

TEST_CASE("a peer that is killed is found by the writes that it does not answer", "[verbs]") {
  if (no_devices()) return;
  const std::string problems = run(
      Mode::processes, 2,
      [](Shared& shared, int rank) {
        VerbsRank me(shared, rank, 2, 1 << 20, 2, {.timeout = 12, .retries = 2});
        me.port(1 - rank).signal(1, 1, {});
        me.until([&] { return reached(me.inbox(1 - rank).line.counters[1], 1); }, "the first signal");
        if (rank == 1) {
          shared.flags[0] = 1;
          raise(SIGKILL);
        }
        while (shared.flags[0] == 0) me.transport().advance();
        std::vector<std::byte> source(1 << 20);
        const uint64_t end = now_ns() + 20 * kSecond;
        for (uint64_t i = 0; me.transport().failure().rank < 0; ++i) {
          expect(now_ns() < end, "nobody noticed");
          if (me.port(1).flushed()) me.port(1).put(source.data(), source.size(), 0);
          me.transport().advance();
        }
        const PortTransport::Failure& failure = me.transport().failure();
        expect(failure.rank == 1 && failure.text.starts_with("rank 1: ") &&
                   failure.text.find("IBV_WC_RETRY_EXC_ERR") != std::string::npos,
               "failure of rank {}: {}", failure.rank, failure.text);
        // What is posted from now on goes nowhere, and holds nobody up.
        me.port(1).put(source.data(), 100, 0);
        me.port(1).signal(0, 2, {});
        expect(me.port(1).flushed() && me.port(1).drained(), "a broken port holds its user up");
      },
      1);
  CHECK(problems == "");
}

TEST_CASE("what has not arrived when a rank leaves is a failure", "[verbs]") {
  if (no_devices()) return;
  const std::string problems = run(
      Mode::processes, 2,
      [](Shared& shared, int rank) {
        // A packet is sent again after 8 s: nothing else tells before the rank's patience is over.
        VerbsRank me(shared, rank, 2, 64, 1, {.timeout = 21, .retries = 6});
        me.port(1 - rank).signal(1, 1, {});
        me.until([&] { return reached(me.inbox(1 - rank).line.counters[1], 1); }, "the first signal");
        if (rank == 1) {
          shared.flags[0] = getpid();
          raise(SIGKILL);
        }
        me.until([&] { return shared.flags[0] != 0 && has_ended(shared.flags[0]); }, "the end of rank 1");
        me.port(1).signal(0, 1, {});
        me.transport().close(300'000'000);
        const PortTransport::Failure& failure = me.transport().failure();
        expect(failure.rank == 1 && failure.text == "rank 1: what was sent last has not arrived after 300ms",
               "failure of rank {}: {}", failure.rank, failure.text);
      },
      1);
  CHECK(problems == "");
}

TEST_CASE("a peer that leaves in good order is no failure", "[verbs]") {
  if (no_devices()) return;
  const Mode mode = GENERATE(Mode::threads, Mode::processes);
  CHECK(run(mode, 3, [&](Shared& shared, int rank) {
          VerbsRank me(shared, rank, 3, 4096);
          std::vector<std::byte> source(4096);
          // Rank 2 speaks to rank 0 alone; ranks 1 and 2 never meet.
          if (rank == 2) {
            fill(source.data(), source.size(), 5);
            me.port(0).put(source.data(), source.size(), 0);
            me.port(0).signal(0, 1, {});
            me.until([&] { return me.port(0).drained(); }, "draining");
            me.leave();
          } else if (rank == 0) {
            me.until([&] { return me.transport().has_left(2); }, "the goodbye");
            expect(reached(me.inbox(2).line.counters[0], 1), "the signal before it");
            expect(first_wrong(me.slots().data(), 4096, 5) == 4096, "the slice before it");
            expect(me.transport().failure().rank < 0, "{}", me.transport().failure().text);
          } else {
            expect(me.transport().route(0).empty(), "nobody has spoken to rank 0");
          }
        }) == "");
}

TEST_CASE("ranks that leave at the same time do not wait for answers of one that is gone", "[verbs]") {
  if (no_devices()) return;
  // More than there are processors, so that some are interrupted in the middle of leaving.
  constexpr int kRanks = 4;
  for (int round = 0; round < 8; ++round) {
    CHECK(run(Mode::processes, kRanks, [&](Shared& shared, int rank) {
            // A write that nobody answers is repeated for 4.3 s.
            VerbsRank me(shared, rank, kRanks, 4096, 1, {.timeout = 17, .retries = 7});
            const std::vector<std::byte> source(1000);
            for (int peer = 0; peer < kRanks; ++peer) {
              if (peer == rank) continue;
              me.port(peer).put(source.data(), source.size(), 0);
              me.port(peer).signal(0, 1, {});
            }
            for (int peer = 0; peer < kRanks; ++peer)
              if (peer != rank)
                me.until([&] { return reached(me.inbox(peer).line.counters[0], 1); }, "its signal");
            const uint64_t begin = now_ns();
            me.transport().close(10 * kSecond);
            me.leave();
            expect(now_ns() - begin < 3 * kSecond, "rank {} took {} to leave", rank,
                   format_duration(now_ns() - begin));
          }) == "");
  }
}

TEST_CASE("a goodbye does not get lost in a put that no signal follows", "[verbs]") {
  if (no_devices()) return;
  CHECK(run(Mode::threads, 2, [&](Shared& shared, int rank) {
          VerbsRank me(shared, rank, 2, 64);
          // The peer is not ready yet, so the put waits, and the goodbye with it.
          const std::vector<std::byte> source(8);
          if (rank == 0) me.port(1).put(source.data(), source.size(), 0);
          const uint64_t begin = now_ns();
          if (rank == 1) me.until([&] { return me.transport().has_left(0); }, "the goodbye");
          me.transport().close(10 * kSecond);
          expect(now_ns() - begin < 5 * kSecond, "rank {} waited in vain", rank);
          expect(me.transport().failure().rank < 0, "{}", me.transport().failure().text);
        }) == "");
}

TEST_CASE("after abandon() no source is read", "[verbs]") {
  if (no_devices()) return;
  CHECK(run(Mode::processes, 2, [&](Shared& shared, int rank) {
          constexpr size_t kBytes = size_t{8} << 20;
          VerbsRank me(shared, rank, 2, kBytes);
          me.port(1 - rank).signal(1, 1, {});
          me.until([&] { return reached(me.inbox(1 - rank).line.counters[1], 1); }, "the first signal");
          me.meet();
          if (rank == 0) {
            void* const source = mmap(nullptr, kBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            expect(source != MAP_FAILED, "no memory");
            // More than there is room to copy to.
            me.port(1).put(static_cast<std::byte*>(source), kBytes, 0);
            me.transport().advance();
            expect(!me.port(1).flushed(), "it was to be too much");
            me.transport().abandon();
            expect(me.port(1).flushed(), "who has given up still holds its user up");
            munmap(source, kBytes);
            me.transport().close(kSecond);
            shared.flags[0] = 1;
          }
          me.until([&] { return shared.flags[0] != 0; }, "rank 0");
        }) == "");
}

TEST_CASE("statistics say what went through a port", "[verbs]") {
  if (no_devices()) return;
  constexpr size_t kBytes = 100'000;
  CHECK(run(Mode::threads, 2, [&](Shared& shared, int rank) {
          VerbsRank me(shared, rank, 2, 4 * kBytes);
          const int peer = 1 - rank;
          std::vector<std::byte> source(4 * kBytes);
          for (uint64_t i = 0; i < 4; ++i) {
            me.port(peer).put(source.data(), kBytes, i * kBytes);
            me.port(peer).signal(0, i + 1, {});
            me.until([&] { return me.port(peer).flushed(); }, "the source");
          }
          me.until([&] { return reached(me.inbox(peer).line.counters[0], 4); }, "the slices");
          const PortStatistics now = me.port(peer).statistics();
          expect(now.puts == 4 && now.signals == 4 && now.bytes_sent == 4 * kBytes &&
                     now.bytes_received == 4 * kBytes && now.in_flight_most >= kBytes &&
                     now.in_flight_most <= 4 * kBytes,
                 "puts {}, signals {}, sent {}, received {}, most in flight {}", now.puts, now.signals,
                 now.bytes_sent, now.bytes_received, now.in_flight_most);
          expect(me.transport().route(peer) == rails_of(rank, 2, 1), "route: {}", me.transport().route(peer));
          me.meet();
        }) == "");
}

TEST_CASE("large puts from a registered buffer leave as they lie", "[verbs]") {
  if (no_devices()) return;
  const size_t rails = GENERATE(1, 2);
  constexpr size_t kLarge = 300'000;
  constexpr size_t kSmall = 1000;
  CHECK(run(Mode::processes, 2, [&](Shared& shared, int rank) {
          VerbsRank me(shared, rank, 2, kLarge, rails);
          const int peer = 1 - rank;
          std::vector<std::byte> source(2 * kLarge);
          const std::span<const std::byte> registered = std::span(source).subspan(kLarge / 2, kLarge);
          const std::string problem = me.transport().register_source(7, registered);
          expect(problem.empty(), "{}", problem);
          uint64_t round = 0;
          const auto copied = [&](size_t at, size_t bytes) {
            ++round;
            fill(source.data() + at, bytes, round);
            const uint64_t before = me.port(peer).statistics().bytes_copied;
            me.port(peer).put(source.data() + at, bytes, 0);
            me.port(peer).signal(0, round, {});
            me.until([&] { return me.port(peer).flushed(); }, "the source");
            std::fill_n(source.data() + at, bytes, std::byte{0xee});
            me.until([&] { return reached(me.inbox(peer).line.counters[0], round); }, "the slice");
            const size_t wrong = first_wrong(me.slots().data(), bytes, round);
            expect(wrong == bytes, "round {}: byte {} is wrong", round, wrong);
            me.meet();
            return me.port(peer).statistics().bytes_copied - before;
          };
          expect(copied(kLarge / 2, kLarge) == 0, "all of it was copied");
          expect(copied(kLarge / 2 + 1, kLarge - 1) == 0, "a part of it was copied");
          expect(copied(kLarge / 2 - 1, kLarge) == kLarge, "a byte before it was not copied");
          expect(copied(kLarge / 2 + 1, kLarge) == kLarge, "a byte after it was not copied");
          expect(copied(kLarge / 2, kSmall) == kSmall, "a small one was not copied");
          me.transport().forget_source(7);
          expect(copied(kLarge / 2, kLarge) == kLarge, "what was forgotten was not copied");
        }) == "");
}

namespace {

/// What this rank's second rail has received so far, used or not.
uint64_t packets_at_second_rail(int rank) {
  const std::string names = rails_of(rank, 2, 2);
  for (const verbs::RailInfo& rail : verbs::list_rails(-1)) {
    if (rail.name != names.substr(names.find(',') + 1)) continue;
    uint64_t packets = 0;
    std::ifstream("/sys/class/net/" + rail.network + "/statistics/rx_packets") >> packets;
    return packets;
  }
  return 0;
}

/// Slices over all rails, the last of which raises counter 0 to `round`.
void send_round(VerbsRank& me, uint64_t round, size_t slices, size_t bytes) {
  std::vector<std::byte> source(slices * bytes);
  fill(source.data(), source.size(), round);
  for (size_t i = 0; i < slices; ++i) {
    me.port(1).put(source.data() + i * bytes, bytes, i * bytes);
    me.port(1).signal(i + 1 < slices ? 1 : 0, i + 1 < slices ? round * slices + i : round, {});
  }
  me.until([&] { return reached(me.inbox(1).line.counters[0], round); }, "the answer");
}

}  // namespace

// Hidden: the command in VERBS_TEST_HOLD has to delay for seconds what the second rail of rank 0 sends. tests/rdma/verbs_checks.sh does that.
TEST_CASE("what arrives by a rail after it was given up changes nothing", "[.late]") {
  const char* hold = std::getenv("VERBS_TEST_HOLD");
  REQUIRE(hold != nullptr);
  constexpr size_t kSlices = 16;
  constexpr size_t kBytes = 64 << 10;
  CHECK(run(Mode::processes, 2, [&](Shared& shared, int rank) {
          VerbsRank me(shared, rank, 2, kSlices * kBytes, 2, {.timeout = 14, .retries = 3});
          if (rank == 0) {
            send_round(me, 1, kSlices, kBytes);
            expect(std::system(hold) == 0, "{}", hold);
            send_round(me, 2, kSlices, kBytes);
            expect(me.transport().route(1).ends_with(" (dead)"), "route: {}", me.transport().route(1));
            send_round(me, 3, kSlices, kBytes);
            me.meet();
            return;
          }
          for (uint64_t round = 1; round <= 3; ++round) {
            me.until([&] { return reached(me.inbox(0).line.counters[0], round); }, "a round");
            const size_t wrong = first_wrong(me.slots().data(), kSlices * kBytes, round);
            expect(wrong == kSlices * kBytes, "round {}: byte {} is wrong", round, wrong);
            me.port(0).signal(0, round, {});
          }
          const uint64_t before = packets_at_second_rail(rank);
          for (const uint64_t end = now_ns() + 5 * kSecond; now_ns() < end;) me.transport().advance();
          expect(packets_at_second_rail(rank) > before, "nothing came late");
          const size_t wrong = first_wrong(me.slots().data(), kSlices * kBytes, 3);
          expect(wrong == kSlices * kBytes, "byte {} was overwritten by what came late", wrong);
          me.meet();
        }) == "");
}

TEST_CASE("a small slice and its signal are one write", "[verbs]") {
  if (no_devices()) return;
  constexpr uint64_t kMessages = 40;
  const size_t bytes = GENERATE(8, 300, 4096);
  const bool is_news = GENERATE(false, true);  // what the signals say beside their counter
  INFO(bytes << " bytes, " << (is_news ? "other" : "the same") << " information");
  CHECK(run(Mode::threads, 2, [&](Shared& shared, int rank) {
          VerbsRank me(shared, rank, 2, kMessages * bytes);
          Port& port = me.port(1 - rank);
          std::vector<std::byte> source(bytes);
          for (uint64_t i = 0; i < kMessages; ++i) {
            fill(source.data(), bytes, i);
            port.put(source.data(), bytes, i * bytes);
            port.signal(0, i + 1, {.tag = is_news ? i + 1 : 0});
            me.until([&] { return port.flushed(); }, "the source");
          }
          const Inbox& inbox = me.inbox(1 - rank);
          me.until([&] { return reached(inbox.line.counters[0], kMessages); }, "the messages");
          for (uint64_t i = 0; i < kMessages; ++i)
            expect(first_wrong(me.slots().data() + i * bytes, bytes, i) == bytes, "message {} is wrong", i);
          expect(inbox.line.tag == (is_news ? kMessages : 0), "the last tag is {}", inbox.line.tag.load());
          uint64_t writes = 0;
          for (const RailStatistics& rail : me.transport().rail_statistics()) writes += rail.writes;
          // Acknowledgements are writes too: one for every 32 messages at most.
          expect(writes >= kMessages && writes <= kMessages + 2, "{} writes", writes);
          me.meet();
        }) == "");
}

TEST_CASE("what went over each rail is counted", "[verbs]") {
  if (no_devices()) return;
  constexpr size_t kBytes = 50'000;
  CHECK(run(Mode::threads, 2, [&](Shared& shared, int rank) {
          VerbsRank me(shared, rank, 2, kBytes, 2);
          Port& port = me.port(1 - rank);
          std::vector<std::byte> source(kBytes);
          for (uint64_t i = 1; i <= 20; ++i) {
            port.put(source.data(), kBytes, 0);
            port.signal(0, i, {});
            me.until([&] { return port.flushed(); }, "the source");
          }
          me.until([&] { return reached(me.inbox(1 - rank).line.counters[0], 20); }, "the slices");
          uint64_t bytes = 0;
          uint64_t writes = 0;
          std::string names;
          for (const RailStatistics& rail : me.transport().rail_statistics()) {
            names += (names.empty() ? "" : ",") + rail.name;
            bytes += rail.bytes;
            writes += rail.writes;
            const uint64_t complete = rail.completion.count();
            expect(complete <= rail.writes && (rail.bytes < kBytes || complete != 0),
                   "{} of {} writes are complete", complete, rail.writes);
            expect(rail.is_up && rail.dead_peers == 0 && rail.outstanding < kBytes,
                   "rail {}: {} bytes outstanding", rail.name, rail.outstanding);
          }
          expect(names == rails_of(rank, 2, 2), "rails {}", names);
          // A write for each slice and its signal; or two, for one.
          expect(writes >= 20 && writes < 25 && bytes >= 20 * kBytes && bytes < 21 * kBytes,
                 "{} bytes in {} writes", bytes, writes);
          me.meet();
        }) == "");
}

namespace {

/// What one rank of two has on one rail, connected to the other.
struct End {
  verbs::MailMemory mail;
  verbs::Rail rail;
  verbs::Connection connection;

  End(const verbs::RailInfo& info, int rank)
      : mail(rank, 2),
        rail(info, {{}, mail.mailboxes(), mail.outgoing()}, verbs::Connection::kCompletions),
        connection(rail, 1 - rank) {}
  void connect(const End& peer) {
    connection.connect(peer.rail.address(), peer.connection.number(), peer.connection.first(),
                       {.timeout = 12});
  }
};

/// How a write of one word to `to` at the peer ends.
ibv_wc_status status_of_write(End& from, const std::byte* to) {
  from.connection.stage({.from = from.mail.outbox(0, 0),
                         .bytes = 8,
                         .to = reinterpret_cast<uintptr_t>(to),
                         .put_bytes = 8,
                         .reads_source = true});
  REQUIRE(from.connection.post() == 0);
  ibv_wc completion = {};
  for (const uint64_t end = now_ns() + 10 * kSecond; now_ns() < end;) {
    if (ibv_poll_cq(from.rail.completions(), 1, &completion) == 1) return completion.status;
  }
  return IBV_WC_GENERAL_ERR;
}

}  // namespace

TEST_CASE("a peer can write a rank's mailboxes, and nothing of what it sends to others", "[verbs]") {
  if (no_devices()) return;
  std::vector<verbs::RailInfo> rails = verbs::choose_rails(verbs::list_rails(-1), "");
  const bool is_mailbox = GENERATE(true, false);
  End writer(rails.front(), 0);
  End owner(rails.back(), 1);
  writer.connect(owner);
  owner.connect(writer);
  const std::byte* const to = is_mailbox ? owner.mail.mailboxes().data() : owner.mail.outgoing().data();
  CHECK(status_of_write(writer, to) == (is_mailbox ? IBV_WC_SUCCESS : IBV_WC_REM_ACCESS_ERR));
}

// In a guest of scripts/rdma_vm.sh with two nodes of two rails: its commands pull links.
TEST_CASE("a rail whose port is down is passed over until it is up", "[.link]") {
  REQUIRE(usable_rails().size() == 4);
  constexpr size_t kBytes = 32'768;
  constexpr uint64_t kBursts = 20;
  constexpr uint64_t kSlices = 4;
  CHECK(run(Mode::threads, 2, [&](Shared& shared, int rank) {
          VerbsRank me(shared, rank, 2, kBytes, 2);
          if (rank == 1) {
            me.until([&] { return shared.flags[0] != 0; }, "the end", 60 * kSecond);
            return;
          }
          const std::vector<std::byte> source(kBytes);
          uint64_t sent = 0;
          const auto burst = [&] {
            for (uint64_t i = 0; i < kSlices; ++i) {
              me.port(1).put(source.data(), kBytes, 0);
              me.port(1).signal(0, ++sent, {});
            }
            me.until([&] { return me.port(1).flushed(); }, "the sources");
          };
          const auto second = [&] { return me.transport().rail_statistics()[1]; };
          const auto second_is_used = [&] {
            const uint64_t before = second().bytes;
            burst();
            return second().bytes != before;
          };
          me.until(second_is_used, "a slice on the second rail");
          expect(std::system("rdma_vm_link 0.1 down") == 0, "the link cannot be pulled");
          me.until([&] { return !second().is_up; }, "the port going down");
          const RailStatistics down = second();
          for (uint64_t i = 0; i < kBursts; ++i) burst();
          expect(second().bytes == down.bytes, "{} bytes went by a rail that is down",
                 second().bytes - down.bytes);
          expect(std::system("rdma_vm_link 0.1 up") == 0, "the link cannot be plugged in");
          me.until([&] { return second().is_up; }, "the port coming back");
          me.until(second_is_used, "a slice on the second rail after it is up");
          expect(second().port_downs == 1 && second().port_ups == 1 && second().dead_peers == 0,
                 "{} downs, {} ups, {} dead peers", second().port_downs, second().port_ups,
                 second().dead_peers);
          shared.flags[0] = 1;
        }) == "");
}

// The same guest.
TEST_CASE("a rail that leads nowhere when two ranks first speak is dead from the beginning", "[.link]") {
  REQUIRE(usable_rails().size() == 4);
  const int asks = GENERATE(0, 1);  // the other answers
  constexpr size_t kBytes = 300'000;
  INFO("rank " << asks << " speaks first");
  CHECK(run(Mode::threads, 2, [&](Shared& shared, int rank) {
          VerbsRank me(shared, rank, 2, kBytes, 2);
          const int peer = 1 - rank;
          const auto peer_has_spoken = [&] { return reached(me.inbox(peer).line.counters[0], 1); };
          if (rank == 0) {
            expect(std::system("rdma_vm_link 0.1 down") == 0, "the link cannot be pulled");
            shared.flags[0] = 1;
          }
          me.until([&] { return shared.flags[0] != 0; }, "the link being pulled");
          if (rank != asks) me.until(peer_has_spoken, "the question");
          std::vector<std::byte> source(kBytes);
          fill(source.data(), kBytes, static_cast<uint64_t>(rank));
          me.port(peer).put(source.data(), kBytes, 0);
          me.port(peer).signal(0, 1, {});
          if (rank == asks) me.until(peer_has_spoken, "the answer");
          expect(first_wrong(me.slots().data(), kBytes, static_cast<uint64_t>(peer)) == kBytes,
                 "what came is wrong");
          me.until([&] { return me.port(peer).flushed() && me.port(peer).drained(); }, "the source");
          expect(me.transport().route(peer).ends_with(" (dead)"), "route: {}", me.transport().route(peer));
          // The other end may have found its way, and learns only then.
          if (rank == 0)
            expect(me.transport().rail_statistics()[1].bytes == 0, "something went by the dead rail");
          me.meet();
          if (rank == 0) {
            expect(std::system("rdma_vm_link 0.1 up") == 0, "the link cannot be plugged in");
            me.until([&] { return me.transport().rail_statistics()[1].port_ups != 0; },
                     "the port coming back");
          }
          me.meet();
        }) == "");
}

// The same guest; the first rail of each node. Greetings are datagrams: one that says that a rank is ready may be the only one that does.
TEST_CASE("whoever only receives acknowledges though a greeting was lost", "[.link]") {
  constexpr int kTimes = 20;
  constexpr uint64_t kSignals = 70;  // more than the records that may be under way
  REQUIRE(usable_rails().size() == 4);
  REQUIRE(std::system("rdma_vm_netem 0.0 loss 20%") == 0);
  for (int time = 0; time < kTimes; ++time) {
    INFO("time " << time);
    CHECK(run(Mode::threads, 2, [&](Shared& shared, int rank) {
            Rank me(
                shared, rank, 2,
                [](int r, int n, std::span<std::byte> slots) {
                  return make_verbs_transport({.rank = r,
                                               .ranks = n,
                                               .slots = slots.data(),
                                               .slots_bytes = slots.size(),
                                               .rails = usable_rails().at(static_cast<size_t>(2 * r)),
                                               .tuning = {.timeout = 10, .retries = 7}});
                },
                64);
            for (uint64_t i = 1; rank == 0 && i <= kSignals; ++i) me.port(1).signal(0, i, {.tag = i});
            if (rank == 1)
              me.until([&] { return reached(me.inbox(0).line.counters[0], kSignals); }, "the signals");
            if (rank == 0) me.until([&] { return me.port(1).drained(); }, "the acknowledgements");
            shared.flags[rank] = 1;
            me.until([&] { return shared.flags[1 - rank] != 0; }, "the other rank");
          }) == "");
  }
  REQUIRE(std::system("rdma_vm_netem 0.0 off") == 0);
}
