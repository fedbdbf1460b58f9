// What a device says unasked, of itself or of its ports, and what that means for a rail.
//
// New slices do not go by a rail whose port is down, as long as another rail is up; but nothing is given up because of that: a port that comes
// back soon enough has lost nothing, and writes that fail say when a peer is not reached by it any more. A rail whose device has failed is dead for all
// peers: its writes may never say anything.
#pragma once

#include <infiniband/verbs.h>

#include <cstdint>
#include <string>

#include "core/histogram.h"
#include "transports/rail_statistics.h"

namespace tutti::verbs {

enum class DeviceEvent : uint8_t { port_down, port_up, address_change, device_failure, other };

/// What it says of that port; other: nothing that matters to its rail.
DeviceEvent kind_of(const ibv_async_event& event, int port);

/// As verbs.h spells it: "IBV_EVENT_PORT_ERR".
std::string name_of(ibv_event_type type);

/// For people: what it means for a rail of that address.
std::string meaning_of(DeviceEvent event, const std::string& address, bool address_is_gone);

/// Changed by one thread at a time, read by any.
class RailCondition {
 public:
  void note(DeviceEvent event);
  bool is_up() const { return port_is_down_.get() == 0 && device_failures_.get() == 0; }
  bool has_failed() const { return device_failures_.get() != 0; }
  void tell(RailStatistics& all) const;

 private:
  OneWriterCell port_downs_;
  OneWriterCell port_ups_;
  OneWriterCell address_changes_;
  OneWriterCell device_failures_;
  OneWriterCell port_is_down_;
};

}  // namespace tutti::verbs
