#include "collectives/plan/program.h"

#include <cstring>

namespace tutti::plan {

namespace {

/// Appends values at the next multiple of 16 and returns where.
template <typename T>
uint32_t append(std::vector<std::byte>& bytes, const std::vector<T>& values) {
  static_assert(std::is_trivially_copyable_v<T>);
  const size_t at = (bytes.size() + 15) / 16 * 16;
  bytes.resize(at + values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(bytes.data() + at, values.data(), values.size() * sizeof(T));
  return static_cast<uint32_t>(at);
}

}  // namespace

void add_network_areas(const Plan& plan, NetworkAreas& areas) {
  for (const Step& step : plan.steps) {
    if (step.kind != StepKind::put) continue;
    for (const Location& to : plan.dsts(step)) {
      if (to.space == Space::slots && !plan.mapped(plan.rank, to.rank)) areas.emplace(to.rank, to.area);
    }
  }
}

std::vector<std::byte> flatten(const Plan& plan, const NetworkAreas& network) {
  std::vector<ProgramLane> lanes;
  std::vector<Block> blocks;
  for (const Lane& lane : plan.lanes) {
    lanes.push_back({.prologue_first = lane.prologue_first,
                     .prologue_end = lane.prologue_end,
                     .first_block = static_cast<uint32_t>(blocks.size()),
                     .block_count = static_cast<uint32_t>(lane.blocks.size()),
                     .max_lag = lane.max_lag,
                     .unused = {}});
    blocks.insert(blocks.end(), lane.blocks.begin(), lane.blocks.end());
  }
  ProgramHeader header;
  header.lanes = static_cast<uint16_t>(lanes.size());
  header.credits = plan.credits;
  std::vector<Location> locations = plan.locations;
  for (Location& at : locations) {
    const bool mapped_slots = at.space == Space::slots && plan.mapped(plan.rank, at.rank);
    if (mapped_slots && network.contains({at.rank, at.area})) at.rank |= kInNetwork;
  }
  std::vector<uint16_t> ports = plan.port_targets;
  ports.insert(ports.end(), plan.port_sources.begin(), plan.port_sources.end());
  header.port_targets = static_cast<uint16_t>(plan.port_targets.size());
  header.port_sources = static_cast<uint16_t>(plan.port_sources.size());
  std::vector<std::byte> bytes(sizeof(ProgramHeader));
  header.lanes_at = append(bytes, lanes);
  header.blocks_at = append(bytes, blocks);
  header.steps_at = append(bytes, plan.steps);
  header.locations_at = append(bytes, locations);
  header.ports_at = append(bytes, ports);
  bytes.resize((bytes.size() + 15) / 16 * 16);
  header.bytes = static_cast<uint32_t>(bytes.size());
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

}  // namespace tutti::plan
