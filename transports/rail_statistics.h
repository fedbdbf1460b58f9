// What went over one rail of a rank: for statistics and for people.
//
// Bytes are those of all writes given to the device: slices, the records behind them, and what was written again after another rail had failed. A
// completion time is that of a signalled write, from its posting until this rank has seen that it is complete; writes behind which
// the rank went off to do something else count until it came back.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/histogram.h"

namespace tutti {

struct RailStatistics {
  std::string name;  // "mlx5_0"
  uint64_t bytes = 0;
  uint64_t writes = 0;
  uint64_t outstanding = 0;  // of these bytes, given to the device and not complete
  uint64_t dead_peers = 0;   // ranks that are not reached by it any more
  Histogram completion;      // nanoseconds
  // What the device has said of itself and of its port.
  bool is_up = true;
  uint64_t port_downs = 0;
  uint64_t port_ups = 0;
  uint64_t address_changes = 0;
  uint64_t device_failures = 0;
};

/// Adds those of another transport of the same rank: a rail of the same name is the same device.
void add_rails(std::vector<RailStatistics>& rails, const std::vector<RailStatistics>& more);

/// Of all bytes that went over `rails`, those of `rail`: 0 to 1.
double share_of(const RailStatistics& rail, std::span<const RailStatistics> rails);

/// "rail mlx5_0: 123456 in 78 writes (49.8 % of this rank's), complete after 12.3us (p50), 45.6us (p99)", and what is amiss, if something is.
std::string text_of(const RailStatistics& rail, std::span<const RailStatistics> rails);

}  // namespace tutti
