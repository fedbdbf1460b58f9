#include "tests/gpu/emulation/pool.h"

#include <csignal>
#include <thread>
#include <utility>

namespace tutti::emulation {

void Pool::run(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      Worker& worker = *idle_.back();
      idle_.pop_back();
      worker.job = std::move(job);
      worker.wake.notify_one();
      return;
    }
  }
  // Signals are for the program's own threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread([this, first = std::move(job)]() mutable { work(std::move(first)); }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Pool::work(std::function<void()> first) {
  Worker self;
  self.job = std::move(first);
  for (;;) {
    const std::function<void()> job = std::exchange(self.job, nullptr);
    job();
    std::unique_lock lock(mutex_);
    idle_.push_back(&self);
    self.wake.wait(lock, [&] { return self.job != nullptr; });
  }
}

}  // namespace tutti::emulation
