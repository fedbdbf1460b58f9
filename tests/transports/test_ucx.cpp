// The UCX transport at work: sizes, both ways of sending, order, credit, draining, sleeping.
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <thread>

#include "tests/catch.h"
#include "tests/transports/ranks.h"
#include "tests/transports/traffic.h"
#include "tests/transports/ucx_ranks.h"

using namespace tutti;
using namespace port_test;

namespace {

const char* text_of(Mode mode) {
  return mode == Mode::threads ? "threads" : "processes";
}

const char* text_of(UcxPut way) {
  return way == UcxPut::rma ? "rma" : way == UcxPut::message ? "message" : "automatic";
}

/// Waits without advancing anything.
void idle_until(const std::atomic<int>& flag, const char* what) {
  const uint64_t end = now_ns() + 25 * kSecond;
  while (flag == 0) {
    expect(now_ns() < end, "waiting in vain for {}", what);
    std::this_thread::yield();
  }
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("every size arrives, and nothing of it is read after flushed()", "[ucx]") {
  const Mode mode = GENERATE(Mode::threads, Mode::processes);
  const UcxPut way = GENERATE(UcxPut::automatic, UcxPut::message, UcxPut::rma);
  const int ranks = GENERATE(2, 3);
  INFO(text_of(mode) << ", " << text_of(way) << ", " << ranks << " ranks");
  CHECK(run(mode, ranks, [&](Shared& shared, int rank) {
          UcxRank me(shared, rank, ranks, way, slots_for_sizes(ranks));
          send_sizes(me);
          me.meet();
        }) == "");
}

TEST_CASE("random puts and signals on two counters keep their order", "[ucx]") {
  const Mode mode = GENERATE(Mode::threads, Mode::processes);
  const UcxPut way = GENERATE(UcxPut::message, UcxPut::rma);
  const int ranks = GENERATE(2, 3);
  INFO(text_of(mode) << ", " << text_of(way) << ", " << ranks << " ranks");
  CHECK(run(mode, ranks, [&](Shared& shared, int rank) {
          UcxRank me(shared, rank, ranks, way, slots_for_bursts(ranks));
          exchange_bursts(me);
          me.meet();
        }) == "");
}

TEST_CASE("what is drained arrives although the sender is never advanced again", "[ucx]") {
  const Mode mode = GENERATE(Mode::threads, Mode::processes);
  INFO(text_of(mode));
  constexpr size_t kBytes = 30'000;
  CHECK(run(mode, 2, [&](Shared& shared, int rank) {
          UcxRank me(shared, rank, 2, UcxPut::automatic, kBytes);
          // The connection stands before the receiver turns to something else.
          me.port(1 - rank).signal(1, 1, {});
          me.until([&] { return reached(me.inbox(1 - rank).line.counters[1], 1); }, "the first signal");
          me.until([&] { return me.port(1 - rank).drained(); }, "draining");
          me.meet();
          std::atomic<int>& is_drained = shared.flags[0];
          std::atomic<int>& has_come = shared.flags[1];
          if (rank == 0) {
            std::vector<std::byte> source(kBytes);
            fill(source.data(), kBytes, 1);
            me.port(1).put(source.data(), kBytes, 0);
            expect(!me.port(1).flushed(), "a put that was only remembered still needs its source");
            me.port(1).signal(0, 1, {});
            me.until([&] { return me.port(1).drained(); }, "draining while the receiver computes");
            expect(me.port(1).flushed() && me.port(1).drained(), "drained, and still");
            is_drained = 1;
            idle_until(has_come, "the receiver");
          } else {
            idle_until(is_drained, "the sender");
            me.until([&] { return reached(me.inbox(0).line.counters[0], 1); }, "the drained signal");
            expect(first_wrong(me.slots().data(), kBytes, 1) == kBytes, "the data are wrong");
            has_come = 1;
          }
          me.meet();
        }) == "");
}

TEST_CASE("after abandon() UCX reads no source of a message either", "[ucx]") {
  constexpr size_t kBytes = size_t{32} << 20;
  CHECK(run(Mode::processes, 2, [&](Shared& shared, int rank) {
          UcxRank me(shared, rank, 2, UcxPut::message, kBytes);
          me.port(1 - rank).signal(1, 1, {});
          me.until([&] { return reached(me.inbox(1 - rank).line.counters[1], 1); }, "the first signal");
          me.meet();
          std::atomic<int>& is_over = shared.flags[0];
          if (rank == 1) return idle_until(is_over, "the sender");
          // More than sockets hold, while nobody reads.
          void* const source = mmap(nullptr, kBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
          expect(source != MAP_FAILED, "no memory");
          me.port(1).put(static_cast<std::byte*>(source), kBytes, 0);
          me.port(1).signal(0, 1, {});
          for (int turn = 0; turn < 1000; ++turn) me.transport().advance();
          expect(!me.port(1).flushed(), "it was to be too much");
          me.transport().abandon();
          expect(me.port(1).flushed() && me.port(1).drained(), "who has given up still holds its user up");
          munmap(source, kBytes);
          me.transport().close(kSecond);
          is_over = 1;
        }) == "");
}

TEST_CASE("a put without a signal goes out while the transport is advanced", "[ucx]") {
  CHECK(run(Mode::threads, 2, [&](Shared& shared, int rank) {
          UcxRank me(shared, rank, 2, UcxPut::automatic, 64);
          if (rank == 0) {
            std::vector<std::byte> source(64);
            fill(source.data(), 64, 3);
            me.port(1).put(source.data(), 64, 0);
            me.until([&] { return me.port(1).flushed(); }, "the source");
            me.until([&] { return me.port(1).drained(); }, "draining");
          } else {
            me.until([&] { return first_wrong(me.slots().data(), 64, 3) == 64; }, "the slice");
          }
          me.meet();
        }) == "");
}

TEST_CASE("signals, grants and bytes that come before open() are kept", "[ucx]") {
  CHECK(run(Mode::threads, 2, [&](Shared& shared, int rank) {
          UcxRank me(shared, rank, 2, UcxPut::automatic, 64, rank == 0);
          if (rank == 0) {
            std::vector<std::byte> source(64);
            fill(source.data(), 64, 4);
            me.port(1).grant(77);
            me.port(1).put(source.data(), 64, 0);
            me.port(1).signal(1, 9, {.tag = 10, .epoch = 11, .call = 12, .count = 13});
            me.meet();
          } else {
            me.until([&] { return first_wrong(me.slots().data(), 64, 4) == 64; }, "the slice");
            me.open(0);
            const Inbox& inbox = me.inbox(0);
            expect(reached(inbox.line.counters[1], 9) && inbox.line.tag == 10 && inbox.latest.epoch == 11 &&
                       inbox.latest.call == 12 && inbox.latest.count == 13 && inbox.granted == 77,
                   "open() hands over what has come");
            me.meet();
          }
        }) == "");
}

TEST_CASE("a rank sleeps on the descriptor and is woken by what comes", "[ucx]") {
  const Mode mode = GENERATE(Mode::threads, Mode::processes);
  CHECK(run(mode, 2, [&](Shared& shared, int rank) {
          UcxRank me(shared, rank, 2, UcxPut::automatic, 64);
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

TEST_CASE("statistics say what went through a port, and how much was in flight", "[ucx]") {
  const UcxPut way = GENERATE(UcxPut::message, UcxPut::rma);
  INFO(text_of(way));
  constexpr size_t kBytes = 100'000;
  CHECK(run(Mode::threads, 2, [&](Shared& shared, int rank) {
          UcxRank me(shared, rank, 2, way, 4 * kBytes);
          const int peer = 1 - rank;
          std::vector<std::byte> source(4 * kBytes);
          // One put at a time, four times; then rank 0 posts three at once.
          for (uint64_t i = 0; i < 4; ++i) {
            me.port(peer).put(source.data(), kBytes, i * kBytes);
            me.port(peer).signal(0, i + 1, {});
            me.until([&] { return me.port(peer).flushed(); }, "the source");
          }
          me.until([&] { return reached(me.inbox(peer).line.counters[0], 4); }, "the slices");
          const PortStatistics now = me.port(peer).statistics();
          expect(now.puts == 4 && now.signals == 4 && now.bytes_sent == 4 * kBytes &&
                     now.bytes_received == 4 * kBytes && now.in_flight_most == kBytes,
                 "puts {}, signals {}, sent {}, received {}, most in flight {}", now.puts, now.signals,
                 now.bytes_sent, now.bytes_received, now.in_flight_most);
          me.meet();
          me.port(peer).put(source.data(), 50, 0);
          me.port(peer).put(source.data(), 0, 0);  // nothing
          expect(me.port(peer).statistics().puts == 5, "a put of nothing is no put");
          expect(me.transport().route(peer).starts_with("tcp/"), "route: {}", me.transport().route(peer));
          me.until([&] { return me.port(peer).drained(); }, "draining");
          me.meet();
        }) == "");
}

TEST_CASE("a port is not opened with an address that is none", "[ucx]") {
  std::vector<std::byte> slots(64);
  std::vector<Inbox> inboxes(3);
  const auto zero = make_ucx_transport({.rank = 0, .ranks = 3, .slots = slots.data(), .slots_bytes = 64});
  const auto one = make_ucx_transport({.rank = 1, .ranks = 3, .slots = slots.data(), .slots_bytes = 64});
  const auto why = [&](int peer, const std::string& address) -> std::string {
    try {
      zero->open(peer, address, inboxes[1]);
    } catch (const Error& error) {
      return error.what();
    }
    return "opened";
  };
  std::string changed = one->address();
  changed[60] = static_cast<char>(changed[60] + 1);
  CHECK(zero->name() == "ucx");
  CHECK(zero->failure().rank == -1);
  CHECK(zero->route(1).empty());
  CHECK(why(1, "") == "rank 0 cannot open a port to rank 1: a UCX address of 0 bytes; it has at least 48");
  CHECK(contains(why(1, one->address() + "x"), "says that it has"));
  CHECK(contains(why(1, changed), "does not match its checksum"));
  CHECK(contains(why(2, one->address()), "the address of rank 1 came instead"));
  CHECK(contains(why(0, zero->address()), "itself"));
  CHECK(why(1, one->address()) == "opened");
  CHECK(contains(why(1, one->address()), "open already"));
  CHECK_THROWS_AS(make_ucx_transport({.rank = 3, .ranks = 3}), Error);
}
