// How one function runs on N threads at once: rank threads of tests and of in-process use.
//
//     ThreadGroup group(4);
//     group.run([&](int index) { ...; group.barrier(); ...; });
//
// run() returns when all threads have ended and throws what the first failing thread threw. A thread that
// fails also releases the others from the barrier (they get Result::aborted), so a failure never becomes a
// hang; a barrier that not all threads reach (one returned early) ends with Result::timeout.
//
// The barrier is one counter that only grows: each thread adds one, and round r is complete once the counter
// has reached (r + 1) · N. The thread's own addition tells it the round, so there is no sense to flip.
#pragma once

#include <sched.h>

#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/error.h"
#include "core/sync.h"

namespace tutti {

class ThreadGroup {
 public:
  static constexpr uint64_t kPatienceNs = 60'000'000'000;

  /// `patience_ns`: how long a thread waits in barrier() for the others before it gives up.
  explicit ThreadGroup(int size, uint64_t patience_ns = kPatienceNs)
      : size_(size), patience_ns_(patience_ns) {
    if (size < 1) raise(Result::invalid_argument, "a thread group needs at least 1 thread, got {}", size);
  }
  ThreadGroup(const ThreadGroup&) = delete;
  ThreadGroup& operator=(const ThreadGroup&) = delete;

  int size() const { return size_; }

  /// Runs body(0) … body(size - 1), each on a thread of its own. May be called again afterwards, but only by
  /// one thread at a time.
  template <typename Body>
  void run(Body&& body) {
    arrivals_.store(0, std::memory_order_relaxed);
    failed_.store(false, std::memory_order_relaxed);
    first_failure_ = nullptr;
    {
      std::vector<std::jthread> threads;
      threads.reserve(static_cast<size_t>(size_));
      try {
        for (int i = 0; i < size_; ++i) threads.emplace_back([this, &body, i] { run_one(body, i); });
      } catch (const std::system_error& error) {
        fail(std::make_exception_ptr(
            Error(Result::system_error,
                  fmt::format("cannot start thread {} of {}: {}", threads.size() + 1, size_, error.what()))));
      }
    }
    if (first_failure_) std::rethrow_exception(std::exchange(first_failure_, nullptr));
  }

  /// Called by the group's threads only; returns once all of them have called it equally often. Everything
  /// written before it is visible to all threads after it.
  void barrier() {
    const auto threads = static_cast<uint64_t>(size_);
    const uint64_t round = arrivals_.fetch_add(1, std::memory_order_acq_rel) / threads;
    const uint64_t complete = (round + 1) * threads;
    for (int turn = 0; turn < kSpins; ++turn) {
      if (reached(arrivals_, complete)) return;
      cpu_relax();
    }
    const uint64_t start = now_ns();
    while (!reached(arrivals_, complete)) {
      if (failed_.load(std::memory_order_relaxed)) {
        raise(Result::aborted, "barrier {} left because another thread of the group failed", round);
      }
      if (now_ns() - start > patience_ns_) {
        raise(Result::timeout, "barrier {}: only {} of {} threads came within {} ms", round,
              arrivals_.load(std::memory_order_relaxed) - round * threads, size_, patience_ns_ / 1'000'000);
      }
      sched_yield();
    }
  }

 private:
  /// Some microseconds: longer than a trip between cores, shorter than a time slice of a thread that the
  /// waiting one keeps off its core.
  static constexpr int kSpins = 200;

  template <typename Body>
  void run_one(Body& body, int index) noexcept {
    try {
      body(index);
    } catch (...) {
      fail(std::current_exception());
    }
  }

  void fail(std::exception_ptr failure) {
    const std::lock_guard lock(mutex_);
    if (!first_failure_) first_failure_ = std::move(failure);
    failed_.store(true, std::memory_order_relaxed);
  }

  int size_;
  uint64_t patience_ns_;
  std::mutex mutex_;
  std::exception_ptr first_failure_;
  std::atomic<bool> failed_{false};
  alignas(kCacheLine) Counter arrivals_{0};
};

}  // namespace tutti
