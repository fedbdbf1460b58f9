// A run on device memory: this process is all ranks.
#pragma once

#include "benchmarks/options.h"

namespace tutti::bench {

/// Returns the exit status. Throws UsageError, or std::runtime_error where the run fails.
int run_on_device(const CollectiveInfo& collective, const Options& options, int argc, char** argv);

}  // namespace tutti::bench
