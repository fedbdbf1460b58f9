#include "transports/cuda_ipc/window.h"

#include <algorithm>

namespace tutti::cuda {

namespace {
constexpr uint64_t kAlignment = 256;

constexpr uint64_t aligned(uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}
}  // namespace

DeviceLayout device_layout(int ranks, int parts, size_t scratch_bytes) {
  DeviceLayout layout;
  layout.ranks = static_cast<uint32_t>(ranks);
  layout.parts = static_cast<uint32_t>(parts);
  // Packets take 16 bytes for 8; a quarter of the scratch is theirs, as long as small messages use it.
  constexpr uint64_t kPacketsMost = 256 * 1024;
  const uint64_t share = scratch_bytes / layout.parts;
  layout.packets_bytes = aligned(std::min(share / 4, kPacketsMost));
  layout.slots_bytes = std::max(aligned(share - share / 4), kAlignment);
  layout.faults = aligned(sizeof(DeviceControl));
  layout.boards = aligned(layout.faults + layout.ranks * kFaultRoom);
  layout.retired = aligned(layout.boards + layout.parts * sizeof(DeviceLine));
  layout.pairs = aligned(layout.retired + layout.parts * sizeof(DeviceRetired));
  layout.packets = aligned(layout.pairs + uint64_t{layout.parts} * layout.ranks * sizeof(DeviceLine));
  layout.slots = layout.packets + layout.parts * layout.packets_bytes;
  layout.total = layout.slots + layout.parts * layout.slots_bytes;
  return layout;
}

}  // namespace tutti::cuda
