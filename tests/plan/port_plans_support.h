// Small hand-built plans over several nodes, for tests of everything that reads plans.
#pragma once

#include <cstdint>
#include <vector>

#include "collectives/plan/builder.h"

namespace tutti::plan::testing {

using Nodes = std::vector<uint16_t>;
using Build = void (*)(Builder&);

/// The plans of one rank for each entry of `nodes`. Broadcasts are from rank 0.
std::vector<Plan> build_all(Collective collective, const Nodes& nodes, Build build, uint16_t credits = 1);

/// Channels of the plans below.
enum : int { kData, kFree };

/// A broadcast 0 -> 1 -> 2, the last rank on another node. Rank 1 hands the slot of rank 0's slice on without copying it first, so
/// it must flush before it gives the slot back.
void relay(Builder& b);
inline const Nodes kRelayNodes = {0, 0, 1};

/// An all-reduce of two ranks on two nodes, who put their slices to each other. In place they must flush before they reduce.
void exchange(Builder& b);
inline const Nodes kExchangeNodes = {0, 1};

/// A broadcast from rank 0 to all others directly; nobody answers, only claims hold it back.
void star(Builder& b);

}  // namespace tutti::plan::testing
