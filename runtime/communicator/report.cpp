// What a communicator says about itself: who is where, how each peer is reached, what went there, and whom this rank waited for.
#include <fmt/format.h>

#include <algorithm>

#include "core/clock.h"
#include "runtime/communicator/communicator.h"

namespace tutti {

/// Whose work or whose link is slow: the peer for which this rank waited longer than for all others together, "; it waited mostly for
/// rank 3 (node b): 1.2 s of 1.3 s". (How fast puts leave their sources says little: a socket takes them long before the wire does.)
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

std::string Communicator::describe() const {
  const std::unique_lock taken = take_custody();
  std::string text =
      fmt::format("{} of {}{}", rank_text(rank()), world_->placement.summary(), slowest_text());
  if (device_) text += "\n  " + device_->describe();
  if (world_->networks && !world_->networks->remark().empty())
    text += "\n  not all ranks are reached by verbs: " + world_->networks->remark();
  if (!registration_problem_.empty())
    text += "\n  registered memory that is copied all the same: " + registration_problem_;
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    text += fmt::format("\n  {}: {}", rank_text(peer),
                        world_->is_mapped(peer) ? "shared memory" : world_->networks->describe(peer));
    const double waited = static_cast<double>(ticks_to_ns(waited_for_[static_cast<size_t>(peer)])) * 1e-9;
    text += fmt::format(", awaited {:.3g} s", waited);
  }
  if (world_->networks) {
    const std::vector<RailStatistics> rails = world_->networks->rail_statistics();
    for (const RailStatistics& rail : rails) text += "\n  " + text_of(rail, rails);
  }
  return text;
}

std::string Communicator::statistics(const std::string& format) const {
  return statistics_text(statistics_, job_statistics_, *world_,
                         finished_epoch_.load(std::memory_order_relaxed), format);
}

void Communicator::write_statistics() const noexcept {
  if (settings_.stats_file.empty()) return;
  tutti::write_statistics(statistics_, job_statistics_, *world_,
                          finished_epoch_.load(std::memory_order_relaxed), settings_.stats_file);
}

}  // namespace tutti
