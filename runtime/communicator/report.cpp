// What a communicator says about itself: who is where, how each peer is reached, what went there, and whom this rank waited for.
#include <fmt/format.h>

#include <algorithm>

#include "core/clock.h"
#include "core/units.h"
#include "runtime/communicator/communicator.h"

namespace tutti {

namespace {

/// Bytes per second while something was on its way; 0 where too little went to tell.
double bandwidth(const PortStatistics& statistics) {
  constexpr uint64_t kTooLittle = 1 << 20;
  if (statistics.bytes_sent < kTooLittle || statistics.busy_ns == 0) return 0;
  return static_cast<double>(statistics.bytes_sent) * 1e9 / static_cast<double>(statistics.busy_ns);
}

std::string traffic_text(const PortStatistics& s) {
  std::string text = fmt::format("{} sent in {} puts, {} received, {} signals, at most {} in flight",
                                 format_size(s.bytes_sent), s.puts, format_size(s.bytes_received), s.signals,
                                 format_size(s.in_flight_most));
  if (const double speed = bandwidth(s); speed != 0) text += fmt::format(", {:.0f} MB/s", speed * 1e-6);
  return text;
}

}  // namespace

/// The peer for which this rank waited much longer than for the others: "; mostly for rank 3 (node b): 1.2 s of 1.3 s".
std::string Communicator::slowest_text() const {
  constexpr double kWorthSaying = 0.01;  // seconds
  const auto most = std::max_element(waited_for_.begin(), waited_for_.end());
  double all = 0;
  for (const uint64_t waited : waited_for_) all += static_cast<double>(ticks_to_ns(waited)) * 1e-9;
  const double longest = static_cast<double>(ticks_to_ns(*most)) * 1e-9;
  if (longest < kWorthSaying || longest < all / 2) return "";
  return fmt::format("; it waited mostly for {}: {:.3g} s of {:.3g} s",
                     rank_text(static_cast<int>(most - waited_for_.begin())), longest, all);
}

/// Ports that are much slower than the fastest: "; slow link to rank 3 (node b): 31 MB/s, the fastest 400 MB/s".
std::string Communicator::slow_links_text() const {
  double fastest = 0;
  for (const Port* port : world_->ports) {
    if (port != nullptr) fastest = std::max(fastest, bandwidth(port->statistics()));
  }
  std::string text;
  for (int peer = 0; peer < size(); ++peer) {
    const Port* port = endpoint_.peer(peer).port;
    const double speed = port != nullptr ? bandwidth(port->statistics()) : 0;
    if (speed == 0 || speed > fastest / 2) continue;
    text += fmt::format("; slow link to {}: {:.0f} MB/s, the fastest {:.0f} MB/s", rank_text(peer),
                        speed * 1e-6, fastest * 1e-6);
  }
  return text;
}

std::string Communicator::describe() const {
  std::string text = fmt::format("{} of {}{}{}", rank_text(rank()), world_->placement.summary(),
                                 slowest_text(), slow_links_text());
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    const Port* port = endpoint_.peer(peer).port;
    text += fmt::format("\n  {}: {}", rank_text(peer),
                        port == nullptr ? "shared memory" : world_->transport->name());
    if (port != nullptr) {
      const std::string route = world_->transport->route(peer);
      text += fmt::format("{}{}, {}", route.empty() ? "" : " ", route, traffic_text(port->statistics()));
    }
    const double waited = static_cast<double>(ticks_to_ns(waited_for_[static_cast<size_t>(peer)])) * 1e-9;
    text += fmt::format(", awaited {:.3g} s", waited);
  }
  return text;
}

}  // namespace tutti
