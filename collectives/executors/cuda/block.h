// One thread block: what device code knows of the threads it runs with.
//
// The device code of this folder is compiled twice: by nvcc for the GPU, and by the host's compiler, where a block is a handful of host
// threads (or one). So the protocol and the arithmetic that run on a GPU are tested, also under ThreadSanitizer, on machines without one.
// Nothing here depends on warps: a block of any number of threads gives the same result.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define TUTTI_DEVICE __device__
#define TUTTI_DEVICE_INLINE __device__ __forceinline__
/// A real call: what few threads run keeps out of the registers of those that move data.
#define TUTTI_DEVICE_CALL __device__ __noinline__
#else
#define TUTTI_DEVICE
#define TUTTI_DEVICE_INLINE inline __attribute__((always_inline))
#define TUTTI_DEVICE_CALL
#include <sched.h>

#include "core/sync.h"
#endif

namespace tutti::cuda {

#if defined(__CUDACC__)

class Block {
 public:
  TUTTI_DEVICE_INLINE unsigned thread() const { return threadIdx.x; }
  TUTTI_DEVICE_INLINE unsigned threads() const { return blockDim.x; }
  TUTTI_DEVICE_INLINE bool is_leader() const { return threadIdx.x == 0; }
  /// Until all threads of the block are here; what each has written before is visible to all of them after it.
  TUTTI_DEVICE_INLINE void sync() const { __syncthreads(); }
};

#else

/// The barrier of a block of host threads: a counter that only grows.
struct BlockBarrier {
  Counter arrivals{0};
};

class Block {
 public:
  Block(unsigned thread, unsigned threads, BlockBarrier& barrier)
      : thread_(thread), threads_(threads), barrier_(&barrier) {}

  unsigned thread() const { return thread_; }
  unsigned threads() const { return threads_; }
  bool is_leader() const { return thread_ == 0; }
  void sync() const {
    if (threads_ == 1) return;
    const uint64_t round = barrier_->arrivals.fetch_add(1, std::memory_order_acq_rel) / threads_;
    // Blocks outnumber processors by far here.
    while (!reached(barrier_->arrivals, (round + 1) * threads_)) sched_yield();
  }

 private:
  unsigned thread_;
  unsigned threads_;
  BlockBarrier* barrier_;
};

#endif

}  // namespace tutti::cuda
