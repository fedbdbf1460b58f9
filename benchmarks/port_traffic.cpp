// The two measurements.
#include "benchmarks/port_traffic.h"

#include <algorithm>
#include <cstring>

namespace tutti::bench {

namespace {

constexpr size_t kWord = sizeof(uint64_t);

uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

/// Calls visit(place, word, bytes) for what message `number` consists of: all of it, or its first and last word.
template <typename Visit>
void each_word(size_t bytes, uint64_t number, bool all, const Visit& visit) {
  const uint64_t seed = mixed(number + 1);
  const auto one = [&](size_t at) {
    const uint64_t word = seed + at * 0x9e3779b97f4a7c15;
    visit(at, word, std::min(kWord, bytes - at));
  };
  const size_t last = (bytes - 1) / kWord * kWord;
  if (!all) {
    one(0);
    if (last != 0) one(last);
    return;
  }
  for (size_t at = 0; at < bytes; at += kWord) one(at);
}

void fill(std::byte* to, size_t bytes, uint64_t number, bool all) {
  each_word(bytes, number, all,
            [to](size_t at, uint64_t word, size_t size) { std::memcpy(to + at, &word, size); });
}

bool is_right(const std::byte* from, size_t bytes, uint64_t number, bool all) {
  bool right = true;
  each_word(bytes, number, all, [&](size_t at, uint64_t word, size_t size) {
    right = right && std::memcmp(from + at, &word, size) == 0;
  });
  return right;
}

}  // namespace

// ---- latency

std::vector<double> PortTraffic::latency(size_t bytes) {
  std::vector<double> samples;
  samples.reserve(options_.rounds);
  make_ready(bytes);
  pair_.meet();
  ping_pong(bytes, options_.checked, Verify::all, nullptr);
  ping_pong(bytes, options_.warmup, Verify::ends, nullptr);
  ping_pong(bytes, options_.rounds, Verify::ends, &samples);
  return samples;
}

void PortTraffic::ping_pong(size_t bytes, uint64_t count, Verify verify, std::vector<double>* samples) {
  prepare(bytes, number_, verify);
  uint64_t before = ticks();
  for (uint64_t i = 0; i < count; ++i) {
    if (pair_.rank() == 0) pair_.send(number_, bytes);
    pair_.receive();
    if (pair_.rank() == 1) pair_.send(number_, bytes);
    look(bytes, number_, verify);
    ++number_;
    prepare(bytes, number_, verify);
    const uint64_t now = ticks();
    if (samples != nullptr && pair_.rank() == 0)
      samples->push_back(static_cast<double>(ticks_to_ns(now - before)) / 2000);
    before = now;
  }
}

/// Writes a message to its source.
void PortTraffic::prepare(size_t bytes, uint64_t number, Verify verify) {
  pair_.await_flushed();
  fill(pair_.source(number), bytes, number, verify == Verify::all);
  if (options_.plant_wrong && pair_.rank() == 1) pair_.source(number)[bytes / 2] ^= std::byte{1};
}

void PortTraffic::look(size_t bytes, uint64_t number, Verify verify) {
  if (!is_right(pair_.slot(number), bytes, number, verify == Verify::all)) ++wrong_;
}

// ---- bandwidth

double PortTraffic::bandwidth(size_t bytes) {
  exchange_checked(bytes);
  for (uint64_t place = 0; place < options_.window; ++place)
    fill(pair_.source(number_ + place), bytes, number_ + place, true);
  make_ready(bytes);
  pair_.meet();
  transfer(0, bytes, 0, options_.warmup);
  pair_.meet();
  const uint64_t start = ticks();
  transfer(0, bytes, options_.warmup, options_.rounds);
  pair_.meet();
  const uint64_t end = ticks();
  if (pair_.rank() == 1) {
    const uint64_t came = std::min(options_.warmup + options_.rounds, options_.window);
    for (uint64_t place = 0; place < came; ++place) look(bytes, number_ + place, Verify::all);
  }
  number_ += options_.warmup + options_.rounds;
  return static_cast<double>(ticks_to_ns(end - start)) / 1e9;
}

/// Messages that all differ, from rank 0 and then from rank 1.
void PortTraffic::exchange_checked(size_t bytes) {
  make_ready(bytes);
  for (int sender = 0; sender < 2; ++sender) {
    pair_.meet();
    if (pair_.rank() != sender) {
      take(options_.checked, [&](uint64_t i) { look(bytes, number_ + i, Verify::all); });
    } else {
      for (uint64_t i = 0; i < options_.checked; ++i) {
        pair_.await_credit();
        prepare(bytes, number_ + i, Verify::all);
        pair_.send(number_ + i, bytes);
      }
      pair_.await_flushed();
    }
    number_ += options_.checked;
  }
  pair_.meet();
}

/// `count` messages from `sender`, the first of them `first` after number_.
void PortTraffic::transfer(int sender, size_t bytes, uint64_t first, uint64_t count) {
  if (pair_.rank() != sender) {
    take(count, [](uint64_t) {});
    return;
  }
  for (uint64_t i = 0; i < count; ++i) {
    pair_.await_credit();
    pair_.send(number_ + first + i, bytes);
  }
  pair_.await_flushed();
}

template <typename Look>
void PortTraffic::take(uint64_t count, const Look& look_at) {
  const uint64_t step = options_.window / 2;
  for (uint64_t i = 0; i < count; ++i) {
    pair_.receive();
    look_at(i);
    if ((i + 1) % step == 0 || i + 1 == count) pair_.grant(pair_.received() + options_.window);
  }
}

/// The peer may send a whole window, and nothing that came before can be taken for it.
void PortTraffic::make_ready(size_t bytes) {
  for (uint64_t place = 0; place < options_.window; ++place) std::memset(pair_.slot(place), 0xee, bytes);
  pair_.grant(pair_.received() + options_.window);
}

}  // namespace tutti::bench
