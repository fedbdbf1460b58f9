// The process's CPU clock, which counts nanoseconds, and the kernel's count of switches.
#include "benchmarks/cpu_cost.h"

#include <sys/resource.h>

#include <ctime>

namespace tutti::bench {

CpuUse cpu_use() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return {static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9,
          static_cast<double>(usage.ru_nvcsw), static_cast<double>(usage.ru_nivcsw)};
}

CpuUse operator-(const CpuUse& later, const CpuUse& earlier) {
  return {later.seconds - earlier.seconds, later.voluntary - earlier.voluntary,
          later.involuntary - earlier.involuntary};
}

}  // namespace tutti::bench
