#include "transports/rail_statistics.h"

#include <fmt/format.h>

#include "core/units.h"

namespace tutti {

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
