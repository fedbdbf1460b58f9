// One channel counter in virtual time: when it reached which value, and who waits for it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "collectives/executors/sim/model.h"

namespace tutti::sim {

class Timeline {
 public:
  struct Waiter {
    uint32_t lane;
    uint64_t value;
  };

  uint64_t value() const { return value_; }

  /// When the counter reached `value`, in its writer's time; empty if it has not yet.
  std::optional<Time> reached(uint64_t value) const {
    if (value > value_) return std::nullopt;
    if (value <= forgotten_) return 0;
    const auto raise = std::lower_bound(raises_.begin(), raises_.end(), value,
                                        [](const Raise& r, uint64_t v) { return r.value < v; });
    return raise->time;
  }

  void await(uint32_t lane, uint64_t value) { waiters_.push_back({lane, value}); }

  /// `value` must be above value(). Calls wake(lane) for every waiter that has got what it waits for, in the
  /// order in which they came. Raises before `horizon` may be forgotten: everybody can see them.
  template <typename Wake>
  void raise(uint64_t value, Time now, Time horizon, Wake&& wake) {
    value_ = value;
    raises_.push_back({value, now});
    if (raises_.size() >= kRemembered && raises_[kRemembered / 2].time < horizon) {
      forgotten_ = raises_[kRemembered / 2].value;
      raises_.erase(raises_.begin(), raises_.begin() + kRemembered / 2 + 1);
    }
    std::erase_if(waiters_, [&](const Waiter& waiter) {
      if (waiter.value > value) return false;
      wake(waiter.lane);
      return true;
    });
  }

 private:
  static constexpr size_t kRemembered = 64;
  struct Raise {
    uint64_t value;
    Time time;
  };

  uint64_t value_ = 0;
  uint64_t forgotten_ = 0;  // raises up to this value happened long ago
  std::vector<Raise> raises_;
  std::vector<Waiter> waiters_;
};

}  // namespace tutti::sim
