// What a process used includes what its other threads used.
#include "benchmarks/cpu_cost.h"

#include <ctime>
#include <thread>

#include "tests/catch.h"

using namespace tutti::bench;

namespace {

double thread_seconds() {
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

}  // namespace

TEST_CASE("another thread's CPU time counts") {
  constexpr double kBurned = 0.005;
  const CpuUse before = cpu_use();
  std::thread([] {
    while (thread_seconds() < kBurned) {
    }
  }).join();
  const CpuUse used = cpu_use() - before;
  CHECK(used.seconds >= kBurned);
  CHECK((used.voluntary >= 0 && used.involuntary >= 0));
}

TEST_CASE("core-seconds per GB and per million calls") {
  const CpuCost cost{.us = 2, .voluntary = 0, .involuntary = 0};
  CHECK(cost.core_s_per_million() == 2);
  CHECK(cost.core_s_per_gb(1000) == 2);  // a million calls of 1000 bytes are 10^9 bytes
  CHECK(cost.core_s_per_gb(0) == 0);
}
