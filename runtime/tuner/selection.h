// Which algorithm an operation uses. A function only of values that are equal on all ranks: collective, ranks, bytes and
// the settings that are compared at set-up. (A choice made from anything else is the commonest real hang.)
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "collectives/plan/binding.h"
#include "collectives/plan/plan.h"

namespace tutti {

/// What TUTTI_ALGO or the configuration demands, by collective.
using Forced = std::array<std::optional<plan::Algorithm>, kCollectives>;

/// Parses "ring" (every collective that has it) or "all_reduce=ring,broadcast=chain"; "" forces nothing. Throws
/// Error(invalid_argument) that lists what exists.
Forced parse_forced(std::string_view text);

/// The shape of a communicator, as far as a choice may depend on it; equal on all ranks.
struct JobShape {
  int ranks = 1;
  int nodes = 1;
  bool one_process = false;  // all ranks are threads of one process
  bool on_device = false;    // the buffers are in device memory

  static JobShape one_node(int ranks) { return {ranks, 1, false, false}; }
};

struct Tuning {
  Forced forced;
  uint64_t slice_bytes = 0;     // 0 = automatic
  int credits = 0;              // 0 = automatic
  uint64_t one_shot_bytes = 0;  // 0 = automatic
};

/// One line of the table: the algorithm for messages of up to `bytes`.
struct Row {
  uint64_t bytes;
  plan::Algorithm algorithm;
};

/// What one operation may take of the scratch rings.
struct ScratchLimits {
  uint64_t slots_bytes = 0;
  uint64_t packets_bytes = 0;
  plan::PacketFormat packet = {};
};

/// The table of one collective, ascending; the last row has no upper limit.
std::vector<Row> selection_table(Collective collective, const JobShape& shape, const Tuning& tuning,
                                 const ScratchLimits& scratch);

/// Where a forced algorithm is not used because it does not exist for this shape: "two_shot needs ranks that share memory".
/// Empty where all is as demanded.
std::string forced_in_vain(const JobShape& shape, const Tuning& tuning);

/// The row for a message; `table` as above.
plan::Algorithm select(const std::vector<Row>& table, uint64_t bytes);

/// Credits with which `algorithm` is built.
int credits_for(plan::Algorithm algorithm, const Tuning& tuning);

/// Half of each ring: an operation can start while its peers still finish the one before.
constexpr ScratchLimits scratch_limits(uint64_t slots_size, uint64_t packets_size) {
  return {slots_size / 2, packets_size / 2, {}};
}

/// The limits for binding: how much of the rings one operation may take, and how large a slice may be.
plan::Limits limits_for(Collective collective, const JobShape& shape, const Tuning& tuning,
                        const ScratchLimits& scratch);

/// The table as text: "up to 8 KiB  one_shot".
std::string describe_selection(const JobShape& shape, const Tuning& tuning, const ScratchLimits& scratch);

}  // namespace tutti
