#include "tests/plan/matrix_support.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "core/sync.h"

namespace tutti::plan::testing {

namespace {

constexpr uint32_t kElement = 8;
constexpr uint64_t kLine = kCacheLine / kElement;
constexpr Limits kLimits{
    .slots_bytes = uint64_t{1} << 40, .packets_bytes = uint64_t{1} << 30, .max_slice_bytes = kCacheLine};

bool in_packets(const Team& team) {
  return team.plans[0].packet_areas != 0;
}

bool is_monotone(const std::vector<uint16_t>& nodes) {
  return std::is_sorted(nodes.begin(), nodes.end());
}

/// A ring between nodes begins each chunk at another node, not rank; the second of two trees is mirrored or shifted; and ranks that
/// stand in no order on their nodes are folded node by node.
OperandOrder order_of(const Team& team) {
  switch (team.algorithm) {
    case Algorithm::ring:
      return OperandOrder::from_chunk;
    case Algorithm::hierarchical_ring:
    case Algorithm::double_binary_tree:
    case Algorithm::hierarchical_tree:
      return OperandOrder::any;
    case Algorithm::hierarchical_small:
    case Algorithm::hierarchical_direct:
    case Algorithm::hierarchical_doubling:
    case Algorithm::hierarchical_halving:
      return is_monotone(team.nodes) ? OperandOrder::by_rank : OperandOrder::any;
    default:
      return OperandOrder::by_rank;
  }
}

/// All of them; but the many steps of scatter_all_gather, whose places count from the root, need not be seen from every one.
std::vector<int> roots_of(Collective collective, Algorithm algorithm, int ranks) {
  if (collective != Collective::broadcast) return {0};
  if (algorithm == Algorithm::scatter_all_gather && ranks > 16) return {0, 1, ranks / 2, ranks - 1};
  std::vector<int> roots(static_cast<size_t>(ranks));
  std::iota(roots.begin(), roots.end(), 0);
  return roots;
}

std::string text(const Scratch& scratch) {
  return fmt::format("slots {} packets {}", scratch.slots_bytes, scratch.packets_bytes);
}

}  // namespace

std::string Team::name() const {
  return fmt::format("{} {} ranks {} root {} credits {}{}", name_of(collective), name_of(algorithm),
                     shape.ranks, shape.root, shape.credits,
                     nodes.empty() ? "" : fmt::format(" nodes {}", fmt::join(nodes, ",")));
}

Team make_team(Collective collective, Algorithm algorithm, int ranks, int root, int credits,
               const std::vector<uint16_t>& nodes) {
  Team team{collective,
            algorithm,
            {.ranks = static_cast<uint16_t>(ranks),
             .rank = 0,
             .root = static_cast<uint16_t>(root),
             .credits = static_cast<uint16_t>(credits)},
            {},
            nodes};
  Shape shape = team.shape;
  shape.nodes = nodes;
  shape.one_process = nodes.empty();
  for (int r = 0; r < ranks; ++r) {
    shape.rank = static_cast<uint16_t>(r);
    team.plans.push_back(algorithms::build(collective, algorithm, shape));
  }
  return team;
}

std::vector<Team> all_teams(int ranks, int more_credits, const std::vector<uint16_t>& nodes) {
  std::vector<Team> teams;
  Shape shape{.ranks = static_cast<uint16_t>(ranks)};
  shape.nodes = nodes;
  shape.one_process = nodes.empty();
  for (const Collective collective : {Collective::all_reduce, Collective::broadcast, Collective::barrier}) {
    for (const Algorithm algorithm : algorithms::algorithms_of(collective)) {
      if (!algorithms::suits(algorithm, shape)) continue;
      for (const int root : roots_of(collective, algorithm, ranks)) {
        teams.push_back(make_team(collective, algorithm, ranks, root,
                                  algorithms::least_credits(algorithm) + more_credits, nodes));
      }
    }
  }
  return teams;
}

Operation operation(const Team& team, uint64_t count, bool in_place, const Plan* stand_in, uint32_t element) {
  Operation operation;
  for (const Plan& plan : team.plans) operation.plans.push_back(&plan);
  if (stand_in != nullptr) operation.plans[stand_in->rank] = stand_in;
  operation.binding = bind(team.plans[0], count, element, kLimits);
  operation.in_place = in_place;
  operation.order = order_of(team);
  return operation;
}

uint64_t full_count(const Team& team, uint64_t slices) {
  return slices * kLine * team.plans[0].chunks;
}

uint64_t ragged_count(const Team& team, uint64_t slices) {
  return slices == 0 ? 0 : (slices - 1) * kLine * team.plans[0].chunks + 5;
}

std::vector<uint64_t> sizes(const Team& team) {
  if (team.collective == Collective::barrier) return {0};
  if (in_packets(team)) return {17, 0, 1, 7, 8};
  const uint64_t credits = team.shape.credits;
  std::vector<uint64_t> counts;
  const auto add = [&](uint64_t count) {
    if (std::find(counts.begin(), counts.end(), count) == counts.end()) counts.push_back(count);
  };
  for (const uint64_t slices : {2 * credits + 1, credits + 1, credits, uint64_t{1}, uint64_t{0}}) {
    add(full_count(team, slices));
    add(ragged_count(team, slices));
  }
  add(team.shape.ranks - 1u);
  return counts;
}

Scratch largest_need(const std::vector<Operation>& operations) {
  Scratch need;
  for (const Operation& each : operations) {
    need.slots_bytes = std::max(need.slots_bytes, each.binding.slots_need);
    need.packets_bytes = std::max(need.packets_bytes, each.binding.packets_need);
  }
  return need;
}

Scratch total_need(const std::vector<Operation>& operations) {
  Scratch need;
  for (const Operation& each : operations) {
    need.slots_bytes += each.binding.slots_need;
    need.packets_bytes += each.binding.packets_need;
  }
  return need;
}

void Proofs::prove(const std::vector<Operation>& operations, const Scratch& scratch,
                   const std::string& what) {
  if (!ok()) return;
  ++made;
  const Verdict verdict = verify(operations, scratch, 4);
  if (!verdict.proven()) failure = fmt::format("{}, {}\n{}", what, text(scratch), verdict.text());
}

void prove_matrix(const Team& team, Coverage coverage, Proofs& proofs) {
  for (const uint64_t count : sizes(team)) {
    for (const bool in_place : {false, true}) {
      const Operation once = operation(team, count, in_place);
      const std::vector<Operation> thrice(3, once);
      const Scratch need = largest_need(thrice);
      const std::string what =
          fmt::format("{}, {} elements{}", team.name(), count, in_place ? ", in place" : "");
      proofs.prove(thrice, need, what);
      if (coverage == Coverage::light) continue;
      proofs.prove(thrice, {2 * need.slots_bytes, 2 * need.packets_bytes}, what);
      proofs.prove(thrice, {2 * need.slots_bytes + kCacheLine, 2 * need.packets_bytes + kCacheLine}, what);
    }
    if (coverage == Coverage::light) return;
  }
}

void prove_pair(const Team& a, const Team& b, Proofs& proofs) {
  for (const bool in_place : {false, true}) {
    for (const size_t size_a : {size_t{0}, size_t{4}}) {
      for (const size_t size_b : {size_t{0}, size_t{3}}) {
        const auto pick = [](const Team& team, size_t i) {
          return sizes(team)[std::min(i, sizes(team).size() - 1)];
        };
        const Operation first = operation(a, pick(a, size_a), in_place);
        const Operation second = operation(b, pick(b, size_b), in_place);
        const std::vector<Operation> sequence{first, second, first};
        const Scratch need = largest_need(sequence);
        const Scratch total = total_need({first, second});
        const std::string what = fmt::format("{} ({}), then {} ({}), then the first", a.name(),
                                             first.binding.count, b.name(), second.binding.count);
        proofs.prove(sequence, need, what);
        proofs.prove(sequence, {need.slots_bytes + kCacheLine, need.packets_bytes + kCacheLine}, what);
        proofs.prove(sequence, total, what);
      }
    }
  }
}

}  // namespace tutti::plan::testing
