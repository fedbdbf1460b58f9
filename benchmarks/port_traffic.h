// What port_bench sends, and how it is timed.
//
// Latency. The ranks send each other one message in turn. As perftest's ib_write_lat does it, a sample is half of the time from one
// message of rank 0 to its next: posting, the way there and back, and taking completions are all in it.
//
// Bandwidth. Rank 0 sends messages, as many at a time as the window allows, and rank 1 returns credit for half a window at a time. The
// time ends when rank 1 has answered that it has everything.
//
// Every message has a signal of its own. Messages of consecutive numbers lie in different places, so one is looked at before the next one
// in its place can come. In checked messages every byte depends on the message's number and is verified; the first and the last eight
// bytes of every message of latency do too. The messages of bandwidth that are timed leave from the same sources again and again, and the
// last window of them is verified afterwards, in slots that were wiped before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "benchmarks/port_pair.h"

namespace tutti::bench {

class PortTraffic {
 public:
  PortTraffic(PortPair& pair, const PortBenchOptions& options) : pair_(pair), options_(options) {}

  /// Microseconds, on rank 0; collective.
  std::vector<double> latency(size_t bytes);
  /// Seconds that options.rounds messages took, on rank 0; collective.
  double bandwidth(size_t bytes);
  /// Messages that came wrong to this rank.
  uint64_t wrong() const { return wrong_; }

 private:
  enum class Verify : uint8_t { ends, all };
  void ping_pong(size_t bytes, uint64_t count, Verify verify, std::vector<double>* samples);
  void prepare(size_t bytes, uint64_t number, Verify verify);
  void look(size_t bytes, uint64_t number, Verify verify);
  void exchange_checked(size_t bytes);
  void transfer(int sender, size_t bytes, uint64_t first, uint64_t count);
  template <typename Look>
  void take(uint64_t count, const Look& look_at);
  void make_ready(size_t bytes);

  PortPair& pair_;
  const PortBenchOptions& options_;
  uint64_t number_ = 0;  // of the next message of this rank; both ranks count alike
  uint64_t wrong_ = 0;
};

}  // namespace tutti::bench
