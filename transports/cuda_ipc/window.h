// Device windows: what one rank's device memory looks like to itself and to the ranks of its node that map it.
//
//   DeviceControl | faults[peer] | boards[part] | retired[part] | pairs[part][peer] | packets[part] | slots[part]
//
// A collective is cut into parts, each run by one thread block of every rank with counters and scratch of its own, so that no block ever waits
// for another block of its own rank. Every line has one writer (but for `abort`, which any rank may set, once and for all). Plain data: host
// and device code share it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/host_device.h"

namespace tutti::cuda {

/// A pair or a board line (transports/channel.h), in memory that is read and written through collectives/executors/cuda/sync.h.
struct alignas(64) DeviceLine {
  uint64_t counters[2];
  uint64_t tag;  // of the operation it was last raised in
  uint64_t
      input;  // boards, in direct plans: loans of the raiser's buffers (collectives/executors/cuda/launch.h)
  uint64_t output;
  uint64_t unused[3];
};
static_assert(sizeof(DeviceLine) == 64);

/// Up to where a rank is finished with scratch of a part, and with renewing its packets; and what it was last asked to do, for messages.
struct alignas(64) DeviceRetired {
  uint64_t slots;
  uint64_t packets;
  uint64_t renewal;
  uint64_t
      tag;  // of the latest operation; stored when it begins, like the next three, which are for messages
  uint64_t epoch;
  uint64_t call;
  uint64_t count;
  uint64_t unused;
};
static_assert(sizeof(DeviceRetired) == 64);

/// Not 0: the rank must give up what it is doing; 1 + the rank that says so.
struct alignas(64) DeviceControl {
  uint64_t abort;
  uint32_t claim;  // 1 once a block of the window's rank has a fault to write; for that rank alone
  uint32_t unused[13];
};
static_assert(sizeof(DeviceControl) == 64);
/// Behind it, for each rank, room for what it has to say to that.
inline constexpr uint64_t kFaultRoom = 128;

/// Offsets and sizes in bytes; equal on all ranks.
struct DeviceLayout {
  uint32_t ranks = 0;
  uint32_t parts = 0;
  uint64_t faults = 0;
  uint64_t boards = 0;
  uint64_t retired = 0;
  uint64_t pairs = 0;
  uint64_t packets = 0;
  uint64_t slots = 0;
  uint64_t total = 0;
  uint64_t packets_bytes = 0;  // of one part
  uint64_t slots_bytes = 0;    // of one part

  TUTTI_HOST_DEVICE DeviceControl* control(std::byte* base) const {
    return reinterpret_cast<DeviceControl*>(base);
  }
  /// Where rank `writer` leaves its fault in the window at `base`.
  TUTTI_HOST_DEVICE std::byte* fault(std::byte* base, uint32_t writer) const {
    return base + faults + writer * kFaultRoom;
  }
  TUTTI_HOST_DEVICE DeviceLine* board(std::byte* base, uint32_t part) const {
    return reinterpret_cast<DeviceLine*>(base + boards) + part;
  }
  TUTTI_HOST_DEVICE DeviceRetired* retired_line(std::byte* base, uint32_t part) const {
    return reinterpret_cast<DeviceRetired*>(base + retired) + part;
  }
  /// The line in the window at `base` that rank `writer` raises.
  TUTTI_HOST_DEVICE DeviceLine* pair(std::byte* base, uint32_t part, uint32_t writer) const {
    return reinterpret_cast<DeviceLine*>(base + pairs) + uint64_t{part} * ranks + writer;
  }
  TUTTI_HOST_DEVICE std::byte* packets_of(std::byte* base, uint32_t part) const {
    return base + packets + part * packets_bytes;
  }
  TUTTI_HOST_DEVICE std::byte* slots_of(std::byte* base, uint32_t part) const {
    return base + slots + part * slots_bytes;
  }
};

/// `scratch_bytes` is for packets and slots of all parts together.
DeviceLayout device_layout(int ranks, int parts, size_t scratch_bytes);

}  // namespace tutti::cuda
