// A cache line that the first two ranks share, and how long it takes from one to the other.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "benchmarks/launcher.h"

namespace tutti::bench {

class SharedLine {
 public:
  /// Collective. Where the two cannot share memory there is no latency to measure.
  explicit SharedLine(World& world);
  ~SharedLine();
  SharedLine(const SharedLine&) = delete;
  SharedLine& operator=(const SharedLine&) = delete;

  /// Collective; the same on all ranks. Half a round trip: the mean of 10 of them, the best of 500 such means.
  std::optional<double> one_way_ns();

 private:
  void map(int fd);
  void create(uint64_t name);
  void open(uint64_t name);
  bool wait_for(uint64_t value) const;
  /// Nanoseconds of one round trip; nothing where the other does not answer in time.
  std::optional<double> round_trips(bool first);

  World& world_;
  std::atomic<uint64_t>* line_ = nullptr;  // counts: odd values are rank 0's, even ones rank 1's
  uint64_t count_ = 0;
};

}  // namespace tutti::bench
