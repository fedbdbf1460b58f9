// All ranks copy at once.
#include "benchmarks/limits.h"

#include <algorithm>
#include <cstring>

#include "benchmarks/message.h"
#include "benchmarks/stamp.h"
#include "core/clock.h"

namespace tutti::bench {
namespace {

/// The compiler may not leave the copy out.
void copy(const Buffer& to, const Buffer& from, uint64_t bytes) {
  std::memcpy(to.data(), from.data(), bytes);
  asm volatile("" : : "r"(to.data()) : "memory");
}

}  // namespace

MachineLimits LimitProbe::of_machine() {
  constexpr uint64_t kMost = uint64_t{64} << 20;
  // Every rank needs two buffers; some memory stays for the messages.
  uint64_t bytes = available_memory() / (8 * static_cast<uint64_t>(world_.size()));
  if (bytes == 0) bytes = kMost;
  bytes = static_cast<uint64_t>(-world_.max(-static_cast<double>(std::min(bytes, kMost))));
  MachineLimits limits;
  limits.cache_line_ns = line_.one_way_ns();
  if (world_.one_clock())
    limits.copy_gbs = 2 * static_cast<double>(bytes) * world_.size() / (copy_us(bytes, true) * 1000);
  return limits;
}

std::optional<double> LimitProbe::bound_us(const CollectiveInfo& collective, const RowPlan& plan,
                                           std::optional<double> one_way_ns) {
  if (!world_.one_clock() || plan.bytes == 0) return std::nullopt;
  const bool nothing_to_write =
      plan.in_place &&
      (world_.size() == 1 || (collective.kind == Kind::broadcast && world_.rank() == plan.call.root));
  const double us = copy_us(plan.bytes, !nothing_to_write);
  if (us == 0 || (world_.size() > 1 && !one_way_ns)) return std::nullopt;
  return std::max(one_way_ns.value_or(0) / 1000, us);
}

double LimitProbe::copy_us(uint64_t bytes, bool takes_part) {
  constexpr int kRepeats = 10;
  constexpr int kMostRepeats = 200;
  constexpr double kEnoughUs = 50'000;                 // after that the best is known well enough
  constexpr uint64_t kTogether = uint64_t{256} << 10;  // so many bytes at least between two stamps
  const int copies = static_cast<int>(std::max<uint64_t>(1, std::min<uint64_t>(kTogether / bytes, 1000)));
  const Buffer from(bytes);
  const Buffer to(bytes);
  double best = 0;
  double spent = 0;  // the same on all ranks
  for (int i = 0; i < kRepeats || (i < kMostRepeats && spent < kEnoughUs); ++i) {
    world_.barrier();
    const uint64_t start = stamp();
    for (int j = 0; j < copies && takes_part; ++j) copy(to, from, bytes);
    const double ns = takes_part ? static_cast<double>(ticks_to_ns(stamp() - start)) : 0;
    const double us = world_.max(ns) / 1000 / copies;
    best = i == 0 ? us : std::min(best, us);
    spent += us * copies;
  }
  return best;
}

}  // namespace tutti::bench
