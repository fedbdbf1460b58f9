// The UCX transport at work: sizes, both ways of sending, order, credit, draining, sleeping.
#include <poll.h>

#include <algorithm>
#include <deque>
#include <random>
#include <thread>

#include "tests/catch.h"
#include "tests/transports/ranks.h"

using namespace tutti;
using namespace port_test;

namespace {

const char* text_of(Mode mode) {
  return mode == Mode::threads ? "threads" : "processes";
}

const char* text_of(UcxPut way) {
  return way == UcxPut::rma ? "rma" : way == UcxPut::message ? "message" : "automatic";
}

constexpr size_t kSizes[] = {0,     1,     56,    4095,   4096,   8191,    16384,   61439,
                             61440, 61441, 65536, 122881, 262144, 1 << 20, 1000003, 56};

uint64_t seed_of(int from, int to, size_t number) {
  return (static_cast<uint64_t>(from) * kMaxRanks + static_cast<uint64_t>(to)) << 32 | number;
}

/// Everybody sends every size to everybody; the source is overwritten as soon as it may be, the slot after an answer.
void send_sizes(Rank& me) {
  const size_t area = 1 << 20;
  std::vector<std::vector<std::byte>> sources(static_cast<size_t>(me.ranks()), std::vector<std::byte>(area));
  for (size_t i = 0; i < std::size(kSizes); ++i) {
    const size_t bytes = kSizes[i];
    for (int peer = 0; peer < me.ranks(); ++peer) {
      if (peer == me.rank()) continue;
      std::byte* const source = sources[static_cast<size_t>(peer)].data();
      fill(source, bytes, seed_of(me.rank(), peer, i));
      me.port(peer).put(source, bytes, static_cast<size_t>(me.rank()) * area);
      me.port(peer).signal(0, i + 1, {.tag = 7 << 8 | i, .epoch = i + 1, .call = 5, .count = bytes});
    }
    for (int peer = 0; peer < me.ranks(); ++peer) {
      if (peer == me.rank()) continue;
      me.until([&] { return me.port(peer).flushed(); }, "the sources");
      std::ranges::fill(sources[static_cast<size_t>(peer)], std::byte{0xee});
      Inbox& inbox = me.inbox(peer);
      me.until([&] { return reached(inbox.line.counters[0], i + 1); }, "a slice");
      const size_t wrong =
          first_wrong(&me.slots()[static_cast<size_t>(peer) * area], bytes, seed_of(peer, me.rank(), i));
      expect(wrong == bytes, "byte {} of {} from rank {} is wrong", wrong, bytes, peer);
      expect(inbox.line.tag == (7 << 8 | i) && inbox.latest.epoch == i + 1 && inbox.latest.call == 5 &&
                 inbox.latest.count == bytes && inbox.latest.signature == (7 << 8 | i),
             "what came beside the counter is wrong");
      me.port(peer).signal(1, i + 1, {.tag = 7 << 8 | i, .epoch = i + 1, .call = 5, .count = bytes});
    }
    for (int peer = 0; peer < me.ranks(); ++peer) {
      if (peer == me.rank()) continue;
      me.until([&] { return reached(me.inbox(peer).line.counters[1], i + 1); }, "the answer");
    }
  }
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

/// What one rank sends to another: puts of several slices, then a signal on one of two counters.
struct Burst {
  std::vector<size_t> sizes;
  uint8_t index = 0;
  uint64_t value = 0;                   // of its counter
  std::array<uint64_t, 2> values = {};  // of both, once this burst has been signalled
};

std::vector<Burst> bursts_of(int from, int to, size_t count, size_t largest) {
  std::mt19937_64 random(seed_of(from, to, 99));
  std::vector<Burst> bursts(count);
  std::array<uint64_t, 2> values = {};
  for (Burst& burst : bursts) {
    burst.sizes.resize(random() % 4);
    for (size_t& size : burst.sizes) size = random() % (random() % 4 == 0 ? largest : 200);
    burst.index = static_cast<uint8_t>(random() % 2);
    burst.value = (values[burst.index] += 1 + random() % 3);
    burst.values = values;
  }
  return bursts;
}

constexpr size_t kBursts = 400;
constexpr size_t kRing = 4;              // bursts that a sender may be ahead
constexpr size_t kLargest = 150'000;     // bytes of a slice
constexpr size_t kPlace = 4 * kLargest;  // of a burst in the slots

/// One direction to one peer and one from it, a step at a time.
class Exchange {
 public:
  Exchange(Rank& me, int peer)
      : me_(me),
        peer_(peer),
        sends_(bursts_of(me.rank(), peer, kBursts, kLargest)),
        receives_(bursts_of(peer, me.rank(), kBursts, kLargest)),
        sources_(kPlace) {
    const size_t areas = static_cast<size_t>(me.ranks());
    base_here_ = static_cast<size_t>(peer) % areas * kRing * kPlace;
    base_there_ = static_cast<size_t>(me.rank()) % areas * kRing * kPlace;
    me_.port(peer_).grant(kRing);
  }

  bool done() const { return sent_ == kBursts && received_ == kBursts; }

  void step() {
    if (sent_ < kBursts && me_.inbox(peer_).granted > sent_ && me_.port(peer_).flushed()) send();
    if (received_ < kBursts) receive();
  }

 private:
  void send() {
    const Burst& burst = sends_[sent_];
    size_t at = 0;
    std::ranges::fill(sources_, std::byte{0xee});
    for (const size_t size : burst.sizes) {
      fill(&sources_[at], size, seed_of(me_.rank(), peer_, 1000 + sent_ * 10 + at));
      me_.port(peer_).put(&sources_[at], size, base_there_ + sent_ % kRing * kPlace + at);
      at += size;
    }
    me_.port(peer_).signal(burst.index, burst.value, {.tag = sent_});
    ++sent_;
  }

  void receive() {
    const Burst& burst = receives_[received_];
    const PairLine& line = me_.inbox(peer_).line;
    if (!reached(line.counters[burst.index], burst.value)) return;
    expect(reached(line.counters[0], burst.values[0]) && reached(line.counters[1], burst.values[1]),
           "a counter was raised before one that was signalled earlier");
    size_t at = 0;
    for (const size_t size : burst.sizes) {
      const size_t wrong = first_wrong(&me_.slots()[base_here_ + received_ % kRing * kPlace + at], size,
                                       seed_of(peer_, me_.rank(), 1000 + received_ * 10 + at));
      expect(wrong == size, "burst {} from rank {}: byte {} of {} is wrong", received_, peer_, wrong, size);
      at += size;
    }
    ++received_;
    me_.port(peer_).grant(received_ + kRing);
  }

  Rank& me_;
  const int peer_;
  const std::vector<Burst> sends_;
  const std::vector<Burst> receives_;
  std::vector<std::byte> sources_;
  size_t base_here_ = 0;
  size_t base_there_ = 0;
  size_t sent_ = 0;
  size_t received_ = 0;
};

void exchange_bursts(Rank& me) {
  std::deque<Exchange> exchanges;
  for (int peer = 0; peer < me.ranks(); ++peer) {
    if (peer != me.rank()) exchanges.emplace_back(me, peer);
  }
  me.until(
      [&] {
        for (Exchange& exchange : exchanges) exchange.step();
        return std::ranges::all_of(exchanges, &Exchange::done);
      },
      "the bursts", 60 * kSecond);
}

}  // namespace

TEST_CASE("every size arrives, and nothing of it is read after flushed()", "[ucx]") {
  const Mode mode = GENERATE(Mode::threads, Mode::processes);
  const UcxPut way = GENERATE(UcxPut::automatic, UcxPut::message, UcxPut::rma);
  const int ranks = GENERATE(2, 3);
  INFO(text_of(mode) << ", " << text_of(way) << ", " << ranks << " ranks");
  CHECK(run(mode, ranks, [&](Shared& shared, int rank) {
          Rank me(shared, rank, ranks, way, static_cast<size_t>(ranks) << 20);
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
          Rank me(shared, rank, ranks, way, static_cast<size_t>(ranks) * kRing * kPlace);
          exchange_bursts(me);
          me.meet();
        }) == "");
}

TEST_CASE("what is drained arrives although the sender is never advanced again", "[ucx]") {
  const Mode mode = GENERATE(Mode::threads, Mode::processes);
  INFO(text_of(mode));
  constexpr size_t kBytes = 30'000;
  CHECK(run(mode, 2, [&](Shared& shared, int rank) {
          Rank me(shared, rank, 2, UcxPut::automatic, kBytes);
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

TEST_CASE("a put without a signal goes out while the transport is advanced", "[ucx]") {
  CHECK(run(Mode::threads, 2, [&](Shared& shared, int rank) {
          Rank me(shared, rank, 2, UcxPut::automatic, 64);
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
          Rank me(shared, rank, 2, UcxPut::automatic, 64, rank == 0);
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
          Rank me(shared, rank, 2, UcxPut::automatic, 64);
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
          Rank me(shared, rank, 2, way, 4 * kBytes);
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
          expect(now.busy_ns > 0 && now.busy_ns < 60 * kSecond, "busy for {} ns", now.busy_ns);
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
