// What a kernel asks of the progress code of its rank: a queue of triggers in pinned host memory.
//
//   byte  0 ..... 7 | 8 ................................... 15
//         value     | lap: 1 bit | kind: 3 | peer: 16 | detail: 44        (from the highest bit on)
//
//   kind       value                     detail
//   put        offset in peer's slots    bytes; they are the next ones in the staging ring
//   signal     the counter's value       which counter of the pair
//   grant      position in the ring      0
//   announce   one field of SignalInfo   which one (Announced); peer 0. For the signals that follow.
//
// One producer (a thread block of the rank; kernels of a rank follow one another) and one consumer. A trigger's place is its number modulo
// the capacity, a power of two. Invariants:
//  - The value is stored first, and the second word published with the lap's bit: 1 in the first, third, ... lap, so zeroed memory holds no
//    trigger. A consumer that finds the bit of the lap it expects sees the whole trigger, and everything that was stored before it.
//  - A place is stored to again only when the consumer has published in `consumed` that it has taken what was there. The producer looks at
//    `consumed` only when, as far as it knows, all places are taken.
//
// Staging. The bytes of puts lie in a ring of pinned memory in the order of their triggers, each put in one piece that does not straddle the
// end (next_piece), so both sides know where without saying so. The consumer publishes in `freed` the position up to which nothing needs
// them any more.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/host_device.h"

#if !defined(__CUDACC__)
#include <atomic>
#endif

namespace tutti::cuda {

enum class TriggerKind : uint32_t { put, signal, grant, announce };
enum class Announced : uint32_t { tag, epoch, call, count };

struct alignas(16) Trigger {
  uint64_t value;
  uint64_t what;
};
static_assert(sizeof(Trigger) == 16);

/// What the consumer tells the producer.
struct FifoFeedback {
  alignas(64) uint64_t consumed;  // triggers
  alignas(64) uint64_t freed;     // position in the staging ring
};

/// The highest bit of triggers in the lap of number `position`.
TUTTI_HOST_DEVICE constexpr uint64_t lap_bit(uint64_t position, uint64_t capacity) {
  return (position / capacity + 1) & 1;
}

TUTTI_HOST_DEVICE constexpr uint64_t pack_trigger(uint64_t lap, TriggerKind kind, uint32_t peer,
                                                  uint64_t detail) {
  return lap << 63 | uint64_t{static_cast<uint32_t>(kind)} << 60 | uint64_t{peer} << 44 | detail;
}

/// The bytes of one put in the staging ring.
struct StagingPiece {
  uint64_t offset;
  uint64_t end;  // position: where the next piece begins at the earliest
};

/// The piece after `position`, which counts bytes since the start. `bytes` is at most half of the ring, whose size is a multiple of 16.
TUTTI_HOST_DEVICE constexpr StagingPiece next_piece(uint64_t position, uint64_t bytes, uint64_t size) {
  const uint64_t need = (bytes + 15) / 16 * 16;
  const uint64_t offset = position % size;
  if (offset + need > size) return {0, position + (size - offset) + need};
  return {offset, position + need};
}

#if !defined(__CUDACC__)

struct TakenTrigger {
  TriggerKind kind = TriggerKind::put;
  int peer = 0;
  uint64_t detail = 0;
  uint64_t value = 0;
};

class FifoConsumer {
 public:
  FifoConsumer(Trigger* places, uint64_t capacity, FifoFeedback& feedback)
      : places_(places), capacity_(capacity), feedback_(&feedback) {}

  /// False where there is none.
  bool take(TakenTrigger& taken) {
    Trigger& place = places_[position_ & (capacity_ - 1)];
    const uint64_t what = std::atomic_ref(place.what).load(std::memory_order_acquire);
    if (what >> 63 != lap_bit(position_, capacity_)) return false;
    taken.kind = static_cast<TriggerKind>(what >> 60 & 7);
    taken.peer = static_cast<int>(what >> 44 & 0xffff);
    taken.detail = what & ((uint64_t{1} << 44) - 1);
    taken.value = std::atomic_ref(place.value).load(std::memory_order_relaxed);
    ++position_;
    if (position_ - published_ >= (capacity_ + 3) / 4) {
      published_ = position_;
      std::atomic_ref(feedback_->consumed).store(published_, std::memory_order_release);
    }
    return true;
  }

  uint64_t taken() const { return position_; }

 private:
  Trigger* places_;
  uint64_t capacity_;
  FifoFeedback* feedback_;
  uint64_t position_ = 0;
  uint64_t published_ = 0;
};

#endif

}  // namespace tutti::cuda
