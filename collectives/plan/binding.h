// A plan bound to a message: the closed expressions of the plan with (count, element size) filled in.
//
// Cutting, the same on every rank:
//   chunk k        elements [min(count, k * chunk), min(count, (k + 1) * chunk)), chunk a multiple of a cache
//   line slice s of it  elements [s * slice, (s + 1) * slice) of the chunk, clipped; late chunks may have
//   empty slices, whose
//                  signals are raised all the same, so that both ends of a channel advance equally at every
//                  size
//   slices         the number that the first (longest) chunk needs; 0 for an empty message
//                  In a direct plan, which needs no slots, a chunk is one slice
//   depth          slots in an area's ring: credits, or fewer when the whole message needs fewer
#pragma once

#include <cstddef>
#include <cstdint>

#include "collectives/plan/plan.h"

namespace tutti::plan {

/// How packets look to an executor.
struct PacketFormat {
  uint32_t bytes = 64;  // of one packet
  uint32_t data = 56;   // of them, user data

  constexpr uint64_t packets_for(uint64_t size) const { return size == 0 ? 1 : (size + data - 1) / data; }
};

/// What the tuner may vary; equal on all ranks.
struct Limits {
  uint64_t slots_bytes = 0;      // bytes of bulk scratch one operation may take
  uint64_t packets_bytes = 0;    // bytes of packet scratch one operation may take
  uint64_t max_slice_bytes = 0;  // upper bound of a slice
  PacketFormat packet = {};
};

struct Binding {
  uint64_t count = 0;         // elements of the message
  uint32_t element = 1;       // bytes of one
  uint32_t slices = 0;        // trips of the slice loop, without lag
  uint32_t depth = 1;         // slots per area
  uint64_t chunk = 0;         // elements per chunk
  uint64_t slice = 0;         // elements per slice
  uint64_t slot_bytes = 0;    // distance between slots
  uint64_t area_bytes = 0;    // distance between packet areas
  uint64_t slots_need = 0;    // bytes of bulk scratch in each rank's window
  uint64_t packets_need = 0;  // bytes of packet scratch in each rank's window
  uint64_t ticks = 0;         // by how much the operation advances the base of all counters

  constexpr uint64_t bytes() const { return count * element; }

  /// Elements in slice `slice_index` of chunk `chunk_index`.
  constexpr uint64_t length(int64_t chunk_index, int64_t slice_index) const {
    const uint64_t end = clip((static_cast<uint64_t>(chunk_index) + 1) * chunk);
    const uint64_t begin =
        clip(static_cast<uint64_t>(chunk_index) * chunk) + static_cast<uint64_t>(slice_index) * slice;
    if (begin >= end) return 0;
    return end - begin < slice ? end - begin : slice;
  }

  /// Byte offset of slice `slice_index` of chunk `chunk_index` in input or output. Meaningful where length()
  /// > 0.
  constexpr uint64_t user_offset(int64_t chunk_index, int64_t slice_index) const {
    return (clip(static_cast<uint64_t>(chunk_index) * chunk) + static_cast<uint64_t>(slice_index) * slice) *
           element;
  }

  /// Byte offset of a slot from the start of the operation's bulk scratch.
  constexpr uint64_t slot_offset(uint32_t area, int64_t index) const {
    const auto turn = static_cast<uint64_t>(index);
    return (uint64_t{area} * depth + (turn < depth ? turn : turn % depth)) * slot_bytes;
  }

  /// Byte offset of `location` from the start of its space, for the given loop position.
  constexpr uint64_t offset(const Location& location, int64_t round, int64_t slice_index) const {
    switch (location.space) {
      case Space::input:
      case Space::output:
        return user_offset(location.index.at(round, slice_index), slice_index);
      case Space::slots:
        return slot_offset(location.area, location.index.at(round, slice_index));
      case Space::packets:
        return location.area * area_bytes;
    }
    return 0;
  }

 private:
  constexpr uint64_t clip(uint64_t element_index) const {
    return element_index < count ? element_index : count;
  }
};

/// True if `plan` can carry a message of that size within `limits` (packet plans have an upper size).
bool fits(const Plan& plan, uint64_t count, uint32_t element, const Limits& limits);

/// Fills in the closed expressions. Requires fits().
Binding bind(const Plan& plan, uint64_t count, uint32_t element, const Limits& limits);

}  // namespace tutti::plan
