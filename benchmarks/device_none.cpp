// A build without CUDA has no runs on device memory.
#include "benchmarks/device_run.h"

namespace tutti::bench {

int run_on_device(const CollectiveInfo&, const Options&, int, char**) {
  throw UsageError("--memory device: this build has no CUDA");
}

}  // namespace tutti::bench
