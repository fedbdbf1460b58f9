// The producer's side of the queue of triggers (transports/cuda_ipc/fifo.h): one thread of a block.
#pragma once

#include "collectives/executors/cuda/sync.h"
#include "transports/cuda_ipc/fifo.h"

namespace tutti::cuda {

/// Posts a trigger, which is seen with everything that was stored before it; false where all places are taken. `posted` and `consumed` are
/// what the producer knows, and kept by it.
TUTTI_DEVICE_INLINE bool try_post(Trigger* places, uint64_t capacity, const FifoFeedback& feedback,
                                  uint64_t& posted, uint64_t& consumed, TriggerKind kind, uint32_t peer,
                                  uint64_t detail, uint64_t value) {
  if (posted - consumed >= capacity) consumed = observe(&feedback.consumed, Scope::system);
  if (posted - consumed >= capacity) return false;
  Trigger* place = places + (posted & (capacity - 1));
  store(&place->value, value);
  publish(&place->what, pack_trigger(lap_bit(posted, capacity), kind, peer, detail), Scope::system);
  ++posted;
  return true;
}

}  // namespace tutti::cuda
