// What a process pays: its CPU time, of all its threads, and how often it lost or gave up the processor.
#pragma once

#include <cstdint>

namespace tutti::bench {

/// Since some moment; differences have a meaning.
struct CpuUse {
  double seconds = 0;  // of user and system, all threads
  double voluntary =
      0;  // context switches because there was nothing to do: sleeps, and yields that were taken
  double involuntary = 0;  // because somebody else was to run
};

CpuUse cpu_use();
CpuUse operator-(const CpuUse& later, const CpuUse& earlier);

/// Of one rank and call: means over the ranks.
struct CpuCost {
  double us = 0;
  double voluntary = 0;
  double involuntary = 0;

  /// Core-seconds of a rank for 10^9 bytes of its message.
  double core_s_per_gb(uint64_t bytes) const {
    return bytes == 0 ? 0 : us * 1000 / static_cast<double>(bytes);
  }
  /// Core-seconds of a rank for a million calls.
  double core_s_per_million() const { return us; }
};

}  // namespace tutti::bench
