// What lies between the stamps of an iteration.
#pragma once

#include <cstdint>

#include "benchmarks/library.h"
#include "benchmarks/stamp.h"
#include "benchmarks/trace.h"

namespace tutti::bench {

struct TimedCalls {
  int64_t chain = 1;   // calls that follow each other
  double slow_by = 0;  // lasts longer by this share of its time: the slowdown that a test plants
};

/// Ends with the first call that fails; `code` is what the last call said.
inline Stamps timed_call(Library& library, const Call& call, const TimedCalls& calls, int& code) {
  Stamps stamps;
  stamps.arrival = stamp();
  code = library.run(call);
  for (int64_t i = 1; i < calls.chain && code == 0; ++i) code = library.run(call);
  stamps.exit = stamp();
  if (calls.slow_by > 0) {
    const double longer = (1 + calls.slow_by) * static_cast<double>(stamps.exit - stamps.arrival);
    const uint64_t until = stamps.arrival + static_cast<uint64_t>(longer);
    while (stamps.exit < until) stamps.exit = stamp();
  }
  stamps.due = stamps.arrival;
  return stamps;
}

}  // namespace tutti::bench
