// Vector clocks of the verifier.
//
// A component is a lane of a rank (lane 0 is also the rank's caller) or the stream of posted puts of a lane to one peer.
// An access is stamped with its component's tick. It happens before another when the other's clock has reached that tick.
// Every release (signal, packet, retirement, fork) keeps a snapshot of the clock and then advances the own tick.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tutti::plan {

using Tick = uint32_t;
using VectorClock = std::vector<Tick>;

inline void join(VectorClock& into, const Tick* other) {
  Tick* const mine = into.data();
  const size_t size = into.size();
  for (size_t i = 0; i < size; ++i) mine[i] = std::max(mine[i], other[i]);
}

/// Snapshots of clocks, all of one length, reused when given back.
class Snapshots {
 public:
  using Id = uint32_t;

  explicit Snapshots(size_t components) : components_(components) {}

  Id take(const VectorClock& clock) {
    Id id = 0;
    if (free_.empty()) {
      id = static_cast<Id>(ticks_.size() / components_);
      ticks_.resize(ticks_.size() + components_);
    } else {
      id = free_.back();
      free_.pop_back();
    }
    std::copy(clock.begin(), clock.end(), ticks_.begin() + static_cast<std::ptrdiff_t>(id * components_));
    return id;
  }

  const Tick* at(Id id) const { return ticks_.data() + id * components_; }
  void give_back(Id id) { free_.push_back(id); }

 private:
  size_t components_;
  std::vector<Tick> ticks_;
  std::vector<Id> free_;
};

}  // namespace tutti::plan
