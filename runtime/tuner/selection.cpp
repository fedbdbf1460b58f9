#include "runtime/tuner/selection.h"

#include <fmt/format.h>

#include <algorithm>

#include "collectives/algorithms/algorithms.h"
#include "core/error.h"
#include "core/units.h"

namespace tutti {

using plan::Algorithm;

namespace {

constexpr uint64_t kNoLimit = UINT64_MAX;

/// two_shot needs a slot per rank and credit in each window; with more ranks than this they would become tiny.
constexpr int kMostTwoShotRanks = 64;

constexpr Collective kAll[kCollectives] = {Collective::all_reduce, Collective::broadcast,
                                           Collective::barrier};

std::string names_of(Collective collective) {
  std::string names;
  for (const Algorithm a : algorithms::algorithms_of(collective)) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", name_of(a));
  }
  return names;
}

std::optional<Algorithm> algorithm_named(Collective collective, std::string_view name) {
  for (const Algorithm a : algorithms::algorithms_of(collective)) {
    if (name_of(a) == name) return a;
  }
  return std::nullopt;
}

std::optional<Collective> collective_named(std::string_view name) {
  for (const Collective c : kAll) {
    if (name_of(c) == name) return c;
  }
  return std::nullopt;
}

void force_everywhere(std::string_view name, Forced& forced) {
  bool known = false;
  for (const Collective c : {Collective::all_reduce, Collective::broadcast}) {
    if (const auto a = algorithm_named(c, name)) {
      forced[static_cast<size_t>(c)] = a;
      known = true;
    }
  }
  if (!known) {
    raise(Result::invalid_argument, "algorithm '{}' does not exist; all_reduce has {}; broadcast has {}",
          name, names_of(Collective::all_reduce), names_of(Collective::broadcast));
  }
}

void force_one(std::string_view collective_name, std::string_view name, Forced& forced) {
  const auto collective = collective_named(collective_name);
  if (!collective || *collective == Collective::barrier) {
    raise(Result::invalid_argument,
          "'{}' is not a collective whose algorithm can be chosen; expected all_reduce or broadcast",
          collective_name);
  }
  const auto algorithm = algorithm_named(*collective, name);
  if (!algorithm) {
    raise(Result::invalid_argument, "{} has no algorithm '{}'; it has {}", collective_name, name,
          names_of(*collective));
  }
  forced[static_cast<size_t>(*collective)] = algorithm;
}

/// Carries a whole message as one slice of packets, and therefore not every size.
bool is_packet_algorithm(Algorithm a) {
  return a == Algorithm::one_shot || a == Algorithm::one_writer_packets || a == Algorithm::hierarchical_small;
}

/// Reads its peers' windows: all ranks must be on one node.
bool needs_one_node(Algorithm a) {
  switch (a) {
    case Algorithm::one_shot:
    case Algorithm::all_pairs:
    case Algorithm::two_shot:
    case Algorithm::one_writer_packets:
    case Algorithm::one_writer:
      return true;
    default:
      return false;
  }
}

bool is_hierarchical(Algorithm a) {
  return a >= Algorithm::hierarchical_small;
}

bool exists_for(Algorithm a, const JobShape& shape) {
  if (a == Algorithm::direct) return shape.one_process;
  if (shape.nodes > 1) return !needs_one_node(a);
  return !is_hierarchical(a) && (a != Algorithm::two_shot || shape.ranks <= kMostTwoShotRanks);
}

/// The largest message whose packets fit.
uint64_t largest_in_packets(const ScratchLimits& scratch) {
  return scratch.packets_bytes / scratch.packet.bytes * scratch.packet.data;
}

/// Between nodes the whole message also takes a few slots.
constexpr uint64_t kSlotsOfSmall = 32;

uint64_t largest_whole(const JobShape& shape, const ScratchLimits& scratch) {
  const uint64_t in_packets = largest_in_packets(scratch);
  return shape.nodes == 1 ? in_packets : std::min(in_packets, scratch.slots_bytes / kSlotsOfSmall);
}

/// On devices a trip costs more than reading a few messages of this size.
constexpr uint64_t kDevicePacketLimit = 65536;

/// Up to where packets win, measured (docs/performance.md): reading n - 1 whole messages is cheap while they are small. Between
/// nodes a message travels once per node whatever the number of ranks.
uint64_t packet_limit(Collective collective, const JobShape& shape, const Tuning& tuning,
                      const ScratchLimits& scratch) {
  uint64_t limit = tuning.one_shot_bytes;
  if (limit == 0 && shape.nodes > 1) limit = 32768;
  if (limit == 0 && shape.on_device) limit = kDevicePacketLimit;
  if (limit == 0) {
    limit = collective == Collective::broadcast
                ? 8192
                : std::max<uint64_t>(1024, 16384 / static_cast<uint64_t>(shape.ranks));
  }
  return std::min(limit, largest_whole(shape, scratch));
}

/// What follows after packets on one node where nothing is forced: ascending, the last row without limit.
std::vector<Row> rows_on_one_node(Collective collective, int ranks) {
  if (collective == Collective::broadcast) return {{kNoLimit, Algorithm::one_writer}};
  if (ranks > kMostTwoShotRanks) return {{kNoLimit, Algorithm::ring}};
  // Two ranks read the same either way, and all_pairs meets once per slice.
  if (ranks == 2) return {{uint64_t{48} << 10, Algorithm::all_pairs}, {kNoLimit, Algorithm::two_shot}};
  return {{kNoLimit, Algorithm::two_shot}};
}

/// The same in device memory, which is as near to one rank as to another: straight from buffer to buffer where that is possible.
std::vector<Row> rows_on_device(Collective collective, const JobShape& shape) {
  if (shape.one_process) return {{kNoLimit, Algorithm::direct}};
  return {{kNoLimit, collective == Collective::broadcast ? Algorithm::one_writer : Algorithm::two_shot}};
}

/// The same where the ranks can use each other's buffers. Up to 256 KiB the root of a broadcast need not wait for readers that are late,
/// and with many of them that counts for longer.
std::vector<Row> rows_in_one_process(Collective collective, int ranks) {
  constexpr int kFew = 4;
  if (collective == Collective::broadcast) {
    const uint64_t staged = ranks <= kFew ? uint64_t{256} << 10 : uint64_t{8} << 20;
    return {{staged - 1, Algorithm::one_writer}, {kNoLimit, Algorithm::direct}};
  }
  return {{kNoLimit, Algorithm::direct}};
}

/// The same for several nodes.
std::vector<Row> rows_between_nodes(Collective collective, int nodes) {
  constexpr int kMostDirect = 8;  // nodes that send to all others at once: more would meet at one receiver
  if (collective == Collective::broadcast) {
    if (nodes == 2) return {{kNoLimit, Algorithm::hierarchical_chain}};
    // A tree has fewer trips, a chain sends everything once only.
    return {{uint64_t{1} << 20, Algorithm::hierarchical_binomial}, {kNoLimit, Algorithm::hierarchical_chain}};
  }
  // Two nodes exchange everything in one trip, and no other way moves fewer bytes.
  if (nodes == 2) return {{kNoLimit, Algorithm::hierarchical_doubling}};
  if (nodes <= kMostDirect) return {{kNoLimit, Algorithm::hierarchical_direct}};
  return {{uint64_t{1} << 20, Algorithm::hierarchical_halving}, {kNoLimit, Algorithm::hierarchical_ring}};
}

std::vector<Row> rows_after_packets(Collective collective, const JobShape& shape) {
  if (shape.nodes > 1) return rows_between_nodes(collective, shape.nodes);
  if (shape.on_device) return rows_on_device(collective, shape);
  // Measured with up to 16 ranks; with very many nothing is known of it.
  if (shape.one_process && shape.ranks <= kMostTwoShotRanks)
    return rows_in_one_process(collective, shape.ranks);
  return rows_on_one_node(collective, shape.ranks);
}

Algorithm small_algorithm(Collective collective, const JobShape& shape) {
  if (shape.nodes > 1) return Algorithm::hierarchical_small;
  return collective == Collective::broadcast ? Algorithm::one_writer_packets : Algorithm::one_shot;
}

}  // namespace

Forced parse_forced(std::string_view text) {
  Forced forced;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(item.size() + 1, text.size()));
    const size_t equals = item.find('=');
    if (equals == std::string_view::npos) {
      force_everywhere(item, forced);
    } else {
      force_one(item.substr(0, equals), item.substr(equals + 1), forced);
    }
  }
  return forced;
}

std::vector<Row> selection_table(Collective collective, const JobShape& shape, const Tuning& tuning,
                                 const ScratchLimits& scratch) {
  if (shape.ranks == 1) return {{kNoLimit, Algorithm::local}};
  const Algorithm small = small_algorithm(collective, shape);
  if (collective == Collective::barrier) return {{kNoLimit, small}};
  auto forced = tuning.forced[static_cast<size_t>(collective)];
  if (forced && !exists_for(*forced, shape)) forced.reset();
  // An empty message has no slices, and so would not bring the ranks together: packets carry it whatever is forced.
  const uint64_t small_up_to = !forced ? packet_limit(collective, shape, tuning, scratch)
                               : is_packet_algorithm(*forced) ? largest_whole(shape, scratch)
                                                              : 0;
  std::vector<Row> table = {{small_up_to, small}};
  if (forced && !is_packet_algorithm(*forced)) {
    table.push_back({kNoLimit, *forced});
  } else {
    for (const Row& row : rows_after_packets(collective, shape)) {
      if (row.bytes > small_up_to) table.push_back(row);
    }
  }
  return table;
}

std::string forced_in_vain(const JobShape& shape, const Tuning& tuning) {
  for (const auto& forced : tuning.forced) {
    if (!forced || shape.ranks == 1 || exists_for(*forced, shape)) continue;
    if (is_hierarchical(*forced)) return fmt::format("{} needs ranks on several nodes", name_of(*forced));
    if (*forced == Algorithm::direct)
      return "direct needs all ranks to be threads of one process (tutti_comm_create_local)";
    if (shape.nodes > 1) return fmt::format("{} needs all ranks on one node", name_of(*forced));
    return fmt::format("{} exists for at most {} ranks", name_of(*forced), kMostTwoShotRanks);
  }
  return "";
}

Algorithm select(const std::vector<Row>& table, uint64_t bytes) {
  for (const Row& row : table) {
    if (bytes <= row.bytes) return row.algorithm;
  }
  return table.back().algorithm;
}

int credits_for(Algorithm algorithm, const Tuning& tuning) {
  if (tuning.credits != 0) return std::max(tuning.credits, algorithms::least_credits(algorithm));
  // Where the exchange itself paces the ranks, more than the least is never in flight.
  const bool paced = algorithm == Algorithm::all_pairs || algorithm == Algorithm::two_shot;
  return paced ? algorithms::least_credits(algorithm) : 4;
}

plan::Limits limits_for(Collective collective, const JobShape& shape, const Tuning& tuning,
                        const ScratchLimits& scratch) {
  constexpr uint64_t kSlice = 128 << 10;
  constexpr uint64_t kBroadcastSlice = 64 << 10;
  plan::Limits limits;
  limits.slots_bytes = scratch.slots_bytes;
  limits.packets_bytes = scratch.packets_bytes;
  limits.max_slice_bytes = tuning.slice_bytes != 0                                   ? tuning.slice_bytes
                           : collective == Collective::broadcast && shape.nodes == 1 ? kBroadcastSlice
                                                                                     : kSlice;
  return limits;
}

std::string describe_selection(const JobShape& shape, const Tuning& tuning, const ScratchLimits& scratch) {
  std::string text;
  for (const Collective c : kAll) {
    uint64_t from = 0;
    for (const Row& row : selection_table(c, shape, tuning, scratch)) {
      const std::string range = row.bytes == kNoLimit ? fmt::format("from {}", format_size(from))
                                                      : fmt::format("up to {}", format_size(row.bytes));
      text += fmt::format("{:<11} {:<16} {}\n", name_of(c), range, name_of(row.algorithm));
      from = row.bytes + 1;
    }
  }
  return text;
}

}  // namespace tutti
