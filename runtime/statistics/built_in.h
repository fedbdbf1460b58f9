// Whether statistics are part of this build (CMake: TUTTI_STATS), and what memory they need.
#pragma once

#include <cstddef>

#ifdef TUTTI_HAVE_STATISTICS
#include "runtime/statistics/node_part.h"
#endif

namespace tutti {

#ifdef TUTTI_HAVE_STATISTICS
inline constexpr bool kStatisticsBuiltIn = true;
#else
inline constexpr bool kStatisticsBuiltIn = false;
#endif

/// Of the annex of a window, on a node with so many ranks.
constexpr size_t statistics_bytes([[maybe_unused]] int ranks) {
#ifdef TUTTI_HAVE_STATISTICS
  return statistics::NodePart::bytes(ranks);
#else
  return 0;
#endif
}

}  // namespace tutti
