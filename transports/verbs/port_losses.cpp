// One port whose rails fail: what transport.h says of failover.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"
#include "core/units.h"
#include "transports/verbs/transport.h"

namespace tutti::verbs {

void VerbsPort::lose_rail(size_t rail, const std::string& why) {
  if (broken_ || rail >= connections_.size() || is_dead(rail)) return;
  if (transport_.has_left(peer_)) {
    break_off();
    return;
  }
  why_dead_ += (why_dead_.empty() ? "" : ", ") + why;
  if (unsettled_ == 0) lost_at_ns_ = now_ns();
  dead_ |= 1U << rail;
  connections_[rail].rail().count_dead_peer();
  unsettled_ |= 1U << rail;
  connections_[rail].give_up();
  transport_.suspect(*this);
}

bool VerbsPort::is_fenced() const {
  for (size_t rail = 0; rail < rails_; ++rail) {
    if ((unsettled_ >> rail & 1) != 0 && !connections_[rail].is_fenced()) return false;
  }
  return true;
}

bool VerbsPort::settle_losses() {
  constexpr uint64_t kMostNs = 200'000'000;  // a card that takes longer will not do it
  if (broken_ || unsettled_ == 0) return true;
  if (dead_ == (1U << rails_) - 1) {
    lose(why_dead_);
    return true;
  }
  for (size_t rail = 0; rail < rails_; ++rail) {
    if ((unsettled_ >> rail & 1) != 0) transport_.drain(rail);
  }
  if (broken_) return true;
  if (!is_fenced() && now_ns() - lost_at_ns_ < kMostNs) return false;
  unsettled_ = 0;
  log(Level::warn, "rank {}: {} is reached by {} from now on: {}", transport_.settings().rank,
      transport_.name_of(peer_), rails_text(), why_dead_);
  greeted_since_ns_ = 0;
  transport_.list_greeting(*this);
  hear_losses();
  return true;
}

/// What the peer said last of rails, and of what came by them. What it has given up, this rank gives up too.
void VerbsPort::hear_losses() {
  for (size_t rail = 0; rail < rails_; ++rail) {
    if ((heard_.dead >> rail & 1) != 0)
      lose_rail(rail, fmt::format("{} was given up by the peer", connections_[rail].rail().info().name));
  }
  if (unsettled_ != 0) return;
  acknowledge(heard_.applied);
  for (size_t rail = 0; rail < rails_ && !broken_; ++rail) {
    const uint32_t bit = 1U << rail;
    if ((heard_.dead & bit) == 0 || (peers_dead_ & bit) != 0) continue;
    peers_dead_ |= bit;
    do_again(rail, heard_.applied, heard_.early);
  }
}

void VerbsPort::do_again(size_t rail, uint64_t applied, uint64_t early) {
  const auto has_come = [&](const Write& write) {
    if (write.record == Write::kNoRecord || write.record < std::max(applied, peer_applied_)) return true;
    const uint64_t after = write.record - applied;
    return after < PortReceiver::kEarlyBits && (early >> after & 1) != 0;
  };
  // Before those that wait already: what follows them there may be the record that they belong to.
  auto place = again_.begin();
  connections_[rail].abandon([&](const Write& write) {
    if (has_come(write)) {
      end_write(write);
    } else {
      place = std::next(again_.insert(place, write));
    }
  });
  const int dead = static_cast<int>(rail);
  if (again_rail_ < 0 || again_rail_ == dead) again_rail_ = first_alive();
  // What is posted in part goes on behind the writes that it has already.
  if (queue_ != nullptr && queue_->rail == dead) queue_->rail = again_rail_;
  transport_.list(*this);
}

void VerbsPort::lose_the_rest(uint64_t patience_ns) {
  lose(fmt::format("{}{}what was sent last has not arrived after {}", why_dead_,
                   why_dead_.empty() ? "" : "; ", format_duration(patience_ns)));
}

/// How long a rail may take to be found dead, twice, and something.
uint64_t VerbsPort::patience_ns() const {
  constexpr uint64_t kLeast = 1'000'000'000;
  const VerbsTuning& tuning = transport_.settings().tuning;
  return kLeast + 2 * static_cast<uint64_t>(tuning.retries + 1) * (uint64_t{4096} << tuning.timeout);
}

}  // namespace tutti::verbs
