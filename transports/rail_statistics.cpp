#include "transports/rail_statistics.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/units.h"

namespace tutti {

namespace {

/// What both have been told by the device, or have found out, counts once.
void add_rail(RailStatistics& to, const RailStatistics& more) {
  to.bytes += more.bytes;
  to.writes += more.writes;
  to.outstanding += more.outstanding;
  to.completion.merge(more.completion);
  to.dead_peers = std::max(to.dead_peers, more.dead_peers);
  to.is_up = to.is_up && more.is_up;
  to.port_downs = std::max(to.port_downs, more.port_downs);
  to.port_ups = std::max(to.port_ups, more.port_ups);
  to.address_changes = std::max(to.address_changes, more.address_changes);
  to.device_failures = std::max(to.device_failures, more.device_failures);
}

}  // namespace

void add_rails(std::vector<RailStatistics>& rails, const std::vector<RailStatistics>& more) {
  for (const RailStatistics& rail : more) {
    const auto same = std::ranges::find(rails, rail.name, &RailStatistics::name);
    if (same == rails.end()) {
      rails.push_back(rail);
    } else {
      add_rail(*same, rail);
    }
  }
}

double share_of(const RailStatistics& rail, std::span<const RailStatistics> rails) {
  uint64_t all = 0;
  for (const RailStatistics& each : rails) all += each.bytes;
  return all == 0 ? 0.0 : static_cast<double>(rail.bytes) / static_cast<double>(all);
}

std::string text_of(const RailStatistics& rail, std::span<const RailStatistics> rails) {
  std::string text = fmt::format("rail {}: {} in {} writes ({:.1f} % of this rank's)", rail.name,
                                 format_size(rail.bytes), rail.writes, 100 * share_of(rail, rails));
  if (rail.completion.count() != 0)
    text += fmt::format(", complete after {} (p50), {} (p99)",
                        format_duration_short(rail.completion.percentile(0.5)),
                        format_duration_short(rail.completion.percentile(0.99)));
  if (rail.outstanding != 0) text += fmt::format(", {} under way", format_size(rail.outstanding));
  if (rail.dead_peers != 0)
    text += fmt::format(", dead for {} peer{}", rail.dead_peers, rail.dead_peers == 1 ? "" : "s");
  if (rail.port_downs != 0)
    text += fmt::format(", its port went down {} time{}", rail.port_downs, rail.port_downs == 1 ? "" : "s");
  if (rail.device_failures != 0) {
    text += ", its device has failed";
  } else if (!rail.is_up) {
    text += " and is down";
  }
  return text;
}

}  // namespace tutti
