#include "collectives/plan/program.h"

#include <algorithm>
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

std::vector<std::byte> flatten(const Plan& plan) {
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
  for (const Step& step : plan.steps) {
    header.sources_most = std::max<uint32_t>(header.sources_most, step.srcs);
    header.destinations_most = std::max<uint32_t>(header.destinations_most, step.dsts);
  }
  std::vector<std::byte> bytes(sizeof(ProgramHeader));
  header.lanes_at = append(bytes, lanes);
  header.blocks_at = append(bytes, blocks);
  header.steps_at = append(bytes, plan.steps);
  header.locations_at = append(bytes, plan.locations);
  bytes.resize((bytes.size() + 15) / 16 * 16);
  header.bytes = static_cast<uint32_t>(bytes.size());
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

}  // namespace tutti::plan
