// What a rank does for its statistics during operations: it stamps its own, and derives its share of everybody's.
//
// On the way of an operation there are two stamps, one record in the ring (stamps.h) and one in the histogram of this rank's own latency:
// plain stores into its own lines. What needs other ranks' stamps is derived later, each epoch by one rank of the node (turns.h). A rank
// does that while it waits: idle() is called when an operation cannot go on, and looks at a few records at a time, of epochs
// that all ranks left a while ago. A rank that never waits (the one that is always late) derives from within leave(),
// before its block can be overwritten. Nothing here allocates, locks or enters the kernel.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/clock.h"
#include "runtime/communicator/signature.h"
#include "runtime/statistics/node_part.h"
#include "runtime/statistics/turns.h"
#include "runtime/statistics/verdict.h"

namespace tutti {

class StatisticsRecorder {
 public:
  /// `parts` by place; this rank's is `parts[place]`. `first_epoch` is that of the first operation. `exports`: what is derived is also
  /// wanted by other nodes.
  StatisticsRecorder(std::vector<statistics::NodePart> parts, int place, uint64_t first_epoch,
                     bool exports = false);

  /// An operation begins to run.
  void arrive() { arrival_ = dependency_ = ticks(); }

  /// It is asked again after it could not go on.
  void retry() { dependency_ = ticks(); }

  /// It is complete.
  void leave(uint64_t epoch, const Call& call) {
    const uint64_t exit = ticks();
    const statistics::Kind kind = statistics::kind_of(call.collective, call.bytes());
    own_.ring.write({epoch, kind, arrival_, dependency_, exit});
    statistics::ClassSlot& slot = slot_of(kind);
    slot.latency.record(nanoseconds(exit - arrival_));
    if (dependency_ != arrival_) slot.waited_ns.add(nanoseconds(dependency_ - arrival_));
    finished_ = epoch;
    if (epoch >= urgent_) [[unlikely]]
      derive_urgently();
  }

  /// It cannot go on yet: time for what is not urgent.
  void idle() {
    if (finished_ >= due_) derive();
  }

  const std::vector<statistics::NodePart>& parts() const { return parts_; }
  int place() const { return place_; }

 private:
  static constexpr uint8_t kNoSlot = 255;
  __extension__ using Wide = unsigned __int128;

  statistics::ClassSlot& slot_of(statistics::Kind kind) {
    const uint8_t slot = slots_[kind];
    return own_.slots[slot != kNoSlot ? slot : give_slot(kind)];
  }
  uint8_t give_slot(statistics::Kind kind);
  uint64_t nanoseconds(uint64_t ticks) const {
    return static_cast<uint64_t>((Wide{ticks} * ns_per_tick_) >> kFractionBits);
  }
  void derive();
  void derive_urgently();
  void conclude(statistics::Kind kind);
  void go_on();

  static constexpr int kFractionBits = 32;

  std::vector<statistics::NodePart> parts_;
  statistics::NodePart own_;
  statistics::Turns turns_;
  int place_;
  bool exports_;
  int reads_;                       // most records to look at in one go
  uint64_t ns_per_tick_;            // fixed point
  std::array<uint8_t, 256> slots_;  // by kind

  // The current operation, and those before.
  uint64_t arrival_ = 0;
  uint64_t dependency_ = 0;
  uint64_t finished_;

  // What is being derived.
  uint64_t position_;     // epoch
  uint64_t due_;          // worth a look once this epoch is finished here
  uint64_t urgent_;       // not to be put off once this one is
  int next_ = 0;          // place whose stamps are wanted next
  bool fetched_ = false;  // the records of this block are asked for
  statistics::Verdict verdict_;
};

}  // namespace tutti
