// What this machine allows, measured by the ranks themselves: the bound that a row is compared with.
//
// On one node, for a message of B bytes,
//
//   bound = max(one way of a cache line, copy of B bytes)
//
// One way: the last rank to arrive must be heard of by the others, which takes a cache line at least one trip. Copy: every rank that has a
// result of its own to write reads as much and writes it, all of them at the same time; the time is that of memcpy from one private
// buffer to another, the best of several, the slowest rank of each. In place the root of a broadcast has nothing to write.
// No algorithm that leaves results in every rank's own buffer does with less; sharing between caches comes on top, so the bound is
// below what can be reached.
//
// Between nodes nothing is known of the links here: there is no bound.
#pragma once

#include <cstdint>
#include <optional>

#include "benchmarks/machine.h"
#include "benchmarks/row_plan.h"
#include "benchmarks/shared_line.h"

namespace tutti::bench {

class LimitProbe {
 public:
  /// Collective.
  explicit LimitProbe(World& world) : world_(world), line_(world) {}

  /// Collective. For the head of the report.
  MachineLimits of_machine();
  /// Collective.
  std::optional<double> one_way_ns() { return line_.one_way_ns(); }
  /// Collective. Empty where no bound is known.
  std::optional<double> bound_us(const CollectiveInfo& collective, const RowPlan& plan,
                                 std::optional<double> one_way_ns);

 private:
  double copy_us(uint64_t bytes, bool takes_part);

  World& world_;
  SharedLine line_;
};

}  // namespace tutti::bench
