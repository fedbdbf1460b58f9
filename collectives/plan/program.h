// The flat form of a plan: one block of bytes without pointers, which can be copied to another memory and walked there.
//
//   ProgramHeader | ProgramLane[lanes] | Block[] | Step[] | Location[] | uint16_t[port targets, port sources]    each aligned to 16 bytes
//
// Network slots. A rank that works on a device has its slots twice, at the same offsets: in device memory, and in memory that its network
// writes. Which of the two an area is in is the same in every program: those areas are network slots that some rank of another node puts
// to. Locations there have kInNetwork set in their rank.
//
// A program holds all that an executor needs of a plan between nodes and within one; what only tools ask for (names, geometry that the
// binding has used) stays behind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "collectives/plan/cursor.h"
#include "collectives/plan/plan.h"
#include "core/host_device.h"

namespace tutti::plan {

struct ProgramLane {
  uint32_t prologue_first = 0;
  uint32_t prologue_end = 0;
  uint32_t first_block = 0;
  uint32_t block_count = 0;
  uint32_t max_lag = 0;
  uint32_t unused[3] = {};
};
static_assert(sizeof(ProgramLane) == 32);

/// Offsets are in bytes from the start of the program.
struct ProgramHeader {
  uint32_t bytes = 0;  // of the whole program, a multiple of 16
  uint16_t lanes = 0;
  uint16_t credits = 0;
  uint32_t lanes_at = 0;
  uint32_t blocks_at = 0;
  uint32_t steps_at = 0;
  uint32_t locations_at = 0;
  /// Ranks of other nodes: first those to which this one puts, then those that may put to this one.
  uint32_t ports_at = 0;
  uint16_t port_targets = 0;  // how many of each
  uint16_t port_sources = 0;
};
static_assert(sizeof(ProgramHeader) == 32);

/// In Location::rank of a program: the rank's network slots.
inline constexpr uint16_t kInNetwork = 0x8000;

/// Areas that are network slots: rank and area.
using NetworkAreas = std::set<std::pair<uint16_t, uint16_t>>;
/// Adds those that `plan` puts to over ports. Complete after the plans of all ranks.
void add_network_areas(const Plan& plan, NetworkAreas& areas);

std::vector<std::byte> flatten(const Plan& plan, const NetworkAreas& network = {});

/// A program in memory of whoever runs it.
class Program {
 public:
  Program() = default;
  TUTTI_HOST_DEVICE explicit Program(const std::byte* bytes) : bytes_(bytes) {}

  TUTTI_HOST_DEVICE const ProgramHeader& header() const { return *at<ProgramHeader>(0); }
  TUTTI_HOST_DEVICE LaneView lane(uint32_t index) const {
    const ProgramLane& lane = at<ProgramLane>(header().lanes_at)[index];
    LaneView view;
    view.steps = at<Step>(header().steps_at);
    view.blocks = at<Block>(header().blocks_at) + lane.first_block;
    view.block_count = lane.block_count;
    view.prologue_first = lane.prologue_first;
    view.prologue_end = lane.prologue_end;
    view.max_lag = lane.max_lag;
    return view;
  }
  TUTTI_HOST_DEVICE const Location* dsts(const Step& step) const {
    return at<Location>(header().locations_at) + step.first_location;
  }
  TUTTI_HOST_DEVICE const Location* srcs(const Step& step) const { return dsts(step) + step.dsts; }
  TUTTI_HOST_DEVICE bool has_ports() const { return header().port_targets + header().port_sources != 0; }
  TUTTI_HOST_DEVICE const uint16_t* port_targets() const { return at<uint16_t>(header().ports_at); }
  TUTTI_HOST_DEVICE const uint16_t* port_sources() const { return port_targets() + header().port_targets; }

 private:
  template <typename T>
  TUTTI_HOST_DEVICE const T* at(uint32_t offset) const {
    return reinterpret_cast<const T*>(bytes_ + offset);
  }

  const std::byte* bytes_ = nullptr;
};

}  // namespace tutti::plan
