// A packet in device memory: 16 bytes in which data and flag travel together, stored and loaded as one.
//
//   byte  0 ..... 7 | 8 ........ 15
//         user data | flag: epoch (high 32 bits) | signature (low 32 bits)
//
// One 128-bit store and load each, which the memory model of PTX makes single-copy atomic (b128, compute capability 7.0 on). Every packet of
// a message carries the same flag; a message of no bytes is one packet whose data are not looked at. An element never straddles two
// packets: element sizes divide 8.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tutti::cuda {

inline constexpr size_t kDevicePacketData = 8;

struct alignas(16) DevicePacket {
  uint64_t data;
  uint64_t flag;
};
static_assert(sizeof(DevicePacket) == 16);

constexpr size_t device_packets_for(size_t bytes) {
  return bytes == 0 ? 1 : (bytes + kDevicePacketData - 1) / kDevicePacketData;
}

}  // namespace tutti::cuda
