// How device code tells other ranks something through memory, and what time it is.
//
// As on the host (core/sync.h): a counter has one writer and only grows; the writer publishes it (release), a reader that has observed the
// value (acquire) sees everything stored before it, also what other threads of the writer's block stored before a block barrier. There are no
// stand-alone fences. Scope::device suffices where all ranks are on one GPU and costs less.
#pragma once

#include <cstdint>

#include "collectives/executors/cuda/block.h"

#if !defined(__CUDACC__)
#include <atomic>

#include "core/clock.h"
#endif

namespace tutti::cuda {

enum class Scope : uint32_t { device, system };

#if defined(__CUDACC__)

TUTTI_DEVICE_INLINE void publish(uint64_t* counter, uint64_t value, Scope scope) {
  if (scope == Scope::device)
    asm volatile("st.release.gpu.global.u64 [%0], %1;" ::"l"(counter), "l"(value) : "memory");
  else
    asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(counter), "l"(value) : "memory");
}
TUTTI_DEVICE_INLINE uint64_t observe(const uint64_t* counter, Scope scope) {
  uint64_t value;
  if (scope == Scope::device)
    asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(value) : "l"(counter) : "memory");
  else
    asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(counter) : "memory");
  return value;
}
/// Without any order.
TUTTI_DEVICE_INLINE void store(uint64_t* word, uint64_t value) {
  asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(word), "l"(value) : "memory");
}
TUTTI_DEVICE_INLINE uint64_t load(const uint64_t* word) {
  uint64_t value;
  asm volatile("ld.relaxed.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(word) : "memory");
  return value;
}
/// True for the one caller that turns `word`, in memory of this GPU, from 0 to 1.
TUTTI_DEVICE_INLINE bool claim_first(unsigned* word) {
  return atomicCAS(word, 0u, 1u) == 0u;
}
/// Shared memory of the block, written and read by several threads at a time.
TUTTI_DEVICE_INLINE void raise_flag(volatile unsigned* flag) {
  *flag = 1;
}
TUTTI_DEVICE_INLINE bool is_raised(const volatile unsigned* flag) {
  return *flag != 0;
}
/// The GPU's clock in nanoseconds; the same for all its blocks.
TUTTI_DEVICE_INLINE uint64_t device_now_ns() {
  uint64_t ns;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
  return ns;
}
TUTTI_DEVICE_INLINE void relax() {}

#else

inline void publish(uint64_t* counter, uint64_t value, Scope) {
  std::atomic_ref(*counter).store(value, std::memory_order_release);
}
inline uint64_t observe(const uint64_t* counter, Scope) {
  return std::atomic_ref(*const_cast<uint64_t*>(counter)).load(std::memory_order_acquire);  // NOLINT
}
inline void store(uint64_t* word, uint64_t value) {
  std::atomic_ref(*word).store(value, std::memory_order_relaxed);
}
inline uint64_t load(const uint64_t* word) {
  return std::atomic_ref(*const_cast<uint64_t*>(word)).load(std::memory_order_relaxed);  // NOLINT
}
inline bool claim_first(unsigned* word) {
  return std::atomic_ref(*word).exchange(1u, std::memory_order_relaxed) == 0u;
}
inline void raise_flag(volatile unsigned* flag) {
  std::atomic_ref(*const_cast<unsigned*>(flag)).store(1, std::memory_order_relaxed);  // NOLINT
}
inline bool is_raised(const volatile unsigned* flag) {
  return std::atomic_ref(*const_cast<unsigned*>(flag)).load(std::memory_order_relaxed) != 0;  // NOLINT
}
inline uint64_t device_now_ns() {
  return now_ns();
}
/// Blocks outnumber processors by far here.
inline void relax() {
  sched_yield();
}

#endif

}  // namespace tutti::cuda
