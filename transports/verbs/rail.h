// One rail of this rank: a card's port, opened; where completions come in; what of this rank's memory it may touch; what went over it, how
// fast, and what the card says of itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/histogram.h"
#include "transports/rail_statistics.h"
#include "transports/verbs/address.h"
#include "transports/verbs/devices.h"
#include "transports/verbs/greeter.h"
#include "transports/verbs/handles.h"
#include "transports/verbs/rail_events.h"
#include "transports/verbs/rail_rate.h"

namespace tutti::verbs {

/// Memory that a rail may touch.
struct RailMemory {
  std::span<std::byte> slots;           // that it may read, and peers may write
  std::span<std::byte> mailboxes;       // that peers may write
  std::span<const std::byte> outgoing;  // that it may read
};

class Rail {
 public:
  /// With room for so many completions to begin with: not every card can make its queue longer. Throws Error(system_error) saying what
  /// the card refused.
  Rail(const RailInfo& info, const RailMemory& memory, int completions);

  const RailInfo& info() const { return info_; }
  ibv_pd* domain() const { return domain_.get(); }
  ibv_cq* completions() const { return completions_.get(); }
  ibv_comp_channel* channel() const { return channel_.get(); }
  Greeter& greeter() { return *greeter_; }

  uint32_t slots_key() const { return slots_ ? slots_->lkey : 0; }
  uint32_t outgoing_key() const { return outgoing_->lkey; }
  RailAddress address() const;

  /// Memory that it may read, beside the others. Throws Error.
  Region register_source(std::span<const std::byte> memory) const;

  /// Makes room for so many more completions that may wait at a time. Throws Error.
  void reserve_completions(int more);

  /// Asks for an event when something completes. False where it cannot.
  bool arm();
  /// Takes the events that came.
  void take_events();

  /// Readable when the device has something to say unasked.
  int device_events() const { return context_->async_fd; }
  /// Takes that, and logs it as heard by rank `rank`.
  void take_device_events(int rank);
  /// False: slices should take another one.
  bool is_up() const { return condition_.is_up(); }
  bool has_failed() const { return condition_.has_failed(); }  // the device, for good

  // How busy it is, over all peers.
  uint64_t outstanding() const { return outstanding_.get(); }  // bytes that are not complete
  /// As measured lately; 0: not known.
  double ns_per_byte(uint64_t now) const { return rate_.ns_per_byte(now, outstanding() == 0); }
  void count_write(uint64_t bytes);
  void count_completion(uint64_t bytes, uint64_t posted_ns);
  /// A write that will never be complete.
  void forget_write(uint64_t bytes);
  void count_dead_peer() { dead_peers_.add(1); }
  /// Any thread.
  RailStatistics statistics() const;

 private:
  bool has_its_address() const;
  Region register_memory(std::span<const std::byte> memory, int access, const char* what) const;

  RailInfo info_;
  Context context_;
  Domain domain_;
  EventChannel channel_;
  CompletionQueue completions_;
  int most_room_ = 0;  // that the card allows
  int room_ = 0;       // in the completion queue
  int reserved_ = 0;   // of that
  Region slots_;       // none where there are none
  Region mailboxes_;
  Region outgoing_;
  std::unique_ptr<Greeter> greeter_;
  uint64_t last_completion_ns_ = 0;
  RailRate rate_;
  // Changed by whoever advances the transport, one thread at a time; read by any.
  OneWriterCell outstanding_;
  OneWriterCell bytes_;
  OneWriterCell writes_;
  OneWriterCell dead_peers_;
  OneWriterHistogram completion_;
  RailCondition condition_;
};

}  // namespace tutti::verbs
