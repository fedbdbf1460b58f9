#include "collectives/plan/binding.h"

#include <algorithm>

#include "transports/packet.h"

namespace tutti::plan {

static_assert(PacketFormat{}.bytes == sizeof(Packet) && PacketFormat{}.data == kPacketData);

namespace {

constexpr uint64_t round_up(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}
constexpr uint64_t divide_up(uint64_t value, uint64_t by) {
  return (value + by - 1) / by;
}

uint64_t packet_bytes(const Plan& plan, uint64_t bytes, const PacketFormat& format) {
  return plan.packet_areas * format.packets_for(bytes) * format.bytes;
}

/// Slots of a plan whose message is one slice.
uint64_t whole_slots_bytes(const Plan& plan, uint64_t bytes) {
  return plan.areas * round_up(bytes, kCacheLine);
}

}  // namespace

bool fits(const Plan& plan, uint64_t count, uint32_t element, const Limits& limits) {
  if (plan.packet_areas != 0) {
    return packet_bytes(plan, count * element, limits.packet) <= limits.packets_bytes &&
           whole_slots_bytes(plan, count * element) <= limits.slots_bytes;
  }
  return plan.areas == 0 || limits.slots_bytes / plan.areas / plan.credits >= kCacheLine;
}

Binding bind(const Plan& plan, uint64_t count, uint32_t element, const Limits& limits) {
  Binding binding;
  binding.count = count;
  binding.element = element;
  if (plan.whole || (plan.areas == 0 && !plan.direct)) {
    binding.chunk = count;
    binding.slice = count;
    binding.slices = 1;
    binding.area_bytes = limits.packet.packets_for(count * element) * limits.packet.bytes;
    binding.packets_need = plan.packet_areas * binding.area_bytes;
    // Beside packets inside a node, slots and signals between nodes; an area has one slot, and a channel one raise per use.
    if (plan.areas != 0) {
      binding.ticks = plan.uses_per_slice;
      binding.slot_bytes = round_up(count * element, kCacheLine);
      binding.slots_need = whole_slots_bytes(plan, count * element);
    }
    return binding;
  }
  if (count == 0) return binding;

  const uint64_t line = kCacheLine / element;
  binding.chunk = round_up(divide_up(count, plan.chunks), line);
  if (plan.direct) {
    binding.slice = binding.chunk;
    binding.slices = 1;
    binding.ticks = plan.uses_per_slice;
    return binding;
  }
  // Slices are as large as the scratch allows, cache-line sized, and of equal length where the chunk needs
  // several.
  const uint64_t slot_limit = limits.slots_bytes / plan.areas / plan.credits;
  const uint64_t slice_limit =
      std::max(std::min(slot_limit, limits.max_slice_bytes) / kCacheLine, uint64_t{1}) * line;
  const uint64_t slices = divide_up(binding.chunk, slice_limit);
  binding.slice = round_up(divide_up(binding.chunk, slices), line);
  binding.slices = static_cast<uint32_t>(divide_up(binding.chunk, binding.slice));
  binding.ticks = uint64_t{binding.slices} * plan.uses_per_slice;
  binding.depth = static_cast<uint32_t>(std::min<uint64_t>(plan.credits, binding.ticks));
  binding.slot_bytes = binding.slice * element;
  binding.slots_need = uint64_t{plan.areas} * binding.depth * binding.slot_bytes;
  return binding;
}

}  // namespace tutti::plan
