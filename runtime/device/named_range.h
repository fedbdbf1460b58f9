// Names a stretch of the calling thread's time for profilers (NVTX); nothing where the toolkit lacks its header.
#pragma once

#include "core/types.h"

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define TUTTI_HAVE_NVTX 1
#endif

namespace tutti {

class NamedRange {
 public:
  explicit NamedRange([[maybe_unused]] Collective collective) {
#ifdef TUTTI_HAVE_NVTX
    constexpr const char* kNames[kCollectives] = {"tutti all_reduce", "tutti broadcast", "tutti barrier"};
    nvtxRangePushA(kNames[static_cast<size_t>(collective)]);
#endif
  }
  ~NamedRange() {
#ifdef TUTTI_HAVE_NVTX
    nvtxRangePop();
#endif
  }
  NamedRange(const NamedRange&) = delete;
  NamedRange& operator=(const NamedRange&) = delete;
};

}  // namespace tutti
