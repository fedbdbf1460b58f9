#include "tests/transports/traffic.h"

#include <algorithm>
#include <deque>
#include <random>

namespace port_test {

using namespace tutti;

namespace {

constexpr size_t kArea = size_t{1} << 20;
constexpr size_t kSizes[] = {0,     1,     56,    4095,   4096,   8191,    16384,   61439,
                             61440, 61441, 65536, 122881, 262144, 1 << 20, 1000003, 56};

uint64_t seed_of(int from, int to, size_t number) {
  return (static_cast<uint64_t>(from) * kMaxRanks + static_cast<uint64_t>(to)) << 32 | number;
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

constexpr size_t kRing = 4;              // bursts that a sender may be ahead
constexpr size_t kLargest = 150'000;     // bytes of a slice
constexpr size_t kPlace = 4 * kLargest;  // of a burst in the slots

/// One direction to one peer and one from it, a step at a time.
class Exchange {
 public:
  Exchange(Rank& me, int peer, size_t bursts)
      : me_(me),
        peer_(peer),
        sends_(bursts_of(me.rank(), peer, bursts, kLargest)),
        receives_(bursts_of(peer, me.rank(), bursts, kLargest)),
        sources_(kPlace) {
    const size_t areas = static_cast<size_t>(me.ranks());
    base_here_ = static_cast<size_t>(peer) % areas * kRing * kPlace;
    base_there_ = static_cast<size_t>(me.rank()) % areas * kRing * kPlace;
    me_.port(peer_).grant(kRing);
  }

  bool done() const { return sent_ == sends_.size() && received_ == receives_.size(); }

  void step() {
    if (sent_ < sends_.size() && me_.inbox(peer_).granted > sent_ && me_.port(peer_).flushed()) send();
    if (received_ < receives_.size()) receive();
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

}  // namespace

size_t slots_for_sizes(int ranks) {
  return static_cast<size_t>(ranks) * kArea;
}

size_t slots_for_bursts(int ranks) {
  return static_cast<size_t>(ranks) * kRing * kPlace;
}

void send_sizes(Rank& me) {
  std::vector<std::vector<std::byte>> sources(static_cast<size_t>(me.ranks()), std::vector<std::byte>(kArea));
  for (size_t i = 0; i < std::size(kSizes); ++i) {
    const size_t bytes = kSizes[i];
    for (int peer = 0; peer < me.ranks(); ++peer) {
      if (peer == me.rank()) continue;
      std::byte* const source = sources[static_cast<size_t>(peer)].data();
      fill(source, bytes, seed_of(me.rank(), peer, i));
      me.port(peer).put(source, bytes, static_cast<size_t>(me.rank()) * kArea);
      me.port(peer).signal(0, i + 1, {.tag = 7 << 8 | i, .epoch = i + 1, .call = 5, .count = bytes});
    }
    for (int peer = 0; peer < me.ranks(); ++peer) {
      if (peer == me.rank()) continue;
      me.until([&] { return me.port(peer).flushed(); }, "the sources");
      std::ranges::fill(sources[static_cast<size_t>(peer)], std::byte{0xee});
      Inbox& inbox = me.inbox(peer);
      me.until([&] { return reached(inbox.line.counters[0], i + 1); }, "a slice");
      const size_t wrong =
          first_wrong(&me.slots()[static_cast<size_t>(peer) * kArea], bytes, seed_of(peer, me.rank(), i));
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

void exchange_bursts(Rank& me, size_t bursts) {
  std::deque<Exchange> exchanges;
  for (int peer = 0; peer < me.ranks(); ++peer) {
    if (peer != me.rank()) exchanges.emplace_back(me, peer, bursts);
  }
  me.until(
      [&] {
        for (Exchange& exchange : exchanges) exchange.step();
        return std::ranges::all_of(exchanges, &Exchange::done);
      },
      "the bursts", 60 * kSecond);
}

}  // namespace port_test
