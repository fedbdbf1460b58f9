#include "transports/verbs/rail_events.h"

#include <fmt/format.h>

namespace tutti::verbs {

DeviceEvent kind_of(const ibv_async_event& event, int port) {
  const bool is_ours = event.element.port_num == port;
  switch (event.event_type) {
    case IBV_EVENT_PORT_ERR:
      return is_ours ? DeviceEvent::port_down : DeviceEvent::other;
    case IBV_EVENT_PORT_ACTIVE:
      return is_ours ? DeviceEvent::port_up : DeviceEvent::other;
    case IBV_EVENT_GID_CHANGE:
    case IBV_EVENT_LID_CHANGE:
      return is_ours ? DeviceEvent::address_change : DeviceEvent::other;
    // Of the whole device; and without its completion queue it is of no more use to a rail.
    case IBV_EVENT_DEVICE_FATAL:
    case IBV_EVENT_CQ_ERR:
      return DeviceEvent::device_failure;
    default:
      return DeviceEvent::other;
  }
}

std::string name_of(ibv_event_type type) {
  switch (type) {
    case IBV_EVENT_PORT_ERR:
      return "IBV_EVENT_PORT_ERR";
    case IBV_EVENT_PORT_ACTIVE:
      return "IBV_EVENT_PORT_ACTIVE";
    case IBV_EVENT_GID_CHANGE:
      return "IBV_EVENT_GID_CHANGE";
    case IBV_EVENT_LID_CHANGE:
      return "IBV_EVENT_LID_CHANGE";
    case IBV_EVENT_DEVICE_FATAL:
      return "IBV_EVENT_DEVICE_FATAL";
    case IBV_EVENT_CQ_ERR:
      return "IBV_EVENT_CQ_ERR";
    default:
      return fmt::format("event {} ({})", static_cast<int>(type), ibv_event_type_str(type));
  }
}

std::string meaning_of(DeviceEvent event, const std::string& address, bool address_is_gone) {
  switch (event) {
    case DeviceEvent::port_down:
      return "the port is down; new slices go by other rails, if one is up";
    case DeviceEvent::port_up:
      return "the port is up";
    case DeviceEvent::address_change:
      return address_is_gone ? fmt::format("{}, by which peers reach it, is gone", address)
                             : fmt::format("{}, by which peers reach it, is as before", address);
    case DeviceEvent::device_failure:
      return "the device has failed; what it has not done goes by other rails, if there is one";
    default:
      return "it does not matter to the rail";
  }
}

void RailCondition::note(DeviceEvent event) {
  switch (event) {
    case DeviceEvent::port_down:
      port_downs_.add(1);
      port_is_down_.set(1);
      break;
    case DeviceEvent::port_up:
      port_ups_.add(1);
      port_is_down_.set(0);
      break;
    case DeviceEvent::address_change:
      address_changes_.add(1);
      break;
    case DeviceEvent::device_failure:
      device_failures_.add(1);
      break;
    case DeviceEvent::other:
      break;
  }
}

void RailCondition::tell(RailStatistics& all) const {
  all.is_up = is_up();
  all.port_downs = port_downs_.get();
  all.port_ups = port_ups_.get();
  all.address_changes = address_changes_.get();
  all.device_failures = device_failures_.get();
}

}  // namespace tutti::verbs
