// The flat form of a plan: one block of bytes without pointers, which can be copied to another memory and walked there.
//
//   ProgramHeader | ProgramLane[lanes] | Block[] | Step[] | Location[]       each aligned to 16 bytes
//
// A program holds all that an executor needs of a plan between nodes and within one; what only tools ask for (names, geometry that the
// binding has used) stays behind.
#pragma once

#include <cstddef>
#include <cstdint>
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
  uint32_t sources_most = 0;  // of any step
  uint32_t destinations_most = 0;
};
static_assert(sizeof(ProgramHeader) == 32);

std::vector<std::byte> flatten(const Plan& plan);

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

 private:
  template <typename T>
  TUTTI_HOST_DEVICE const T* at(uint32_t offset) const {
    return reinterpret_cast<const T*>(bytes_ + offset);
  }

  const std::byte* bytes_ = nullptr;
};

}  // namespace tutti::plan
