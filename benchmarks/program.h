// A benchmark program from its command line to its exit status.
#pragma once

#include "benchmarks/collective.h"

namespace tutti::bench {

/// 0: all results are right; 1: a result is wrong, or the run failed; 2: bad option; 130: interrupted.
/// The options begin with argv[first].
int run_program(const CollectiveInfo& collective, int argc, char** argv, int first = 1);

}  // namespace tutti::bench
