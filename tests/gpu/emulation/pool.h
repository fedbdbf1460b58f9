// Threads for whatever runs on the emulated devices. As many as are needed at once: jobs may wait for one another, so a job never waits
// for a thread. A thread without a job sleeps.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

namespace tutti::emulation {

class Pool {
 public:
  void run(std::function<void()> job);

 private:
  struct Worker {
    std::condition_variable wake;
    std::function<void()> job;
  };

  void work(std::function<void()> first);

  std::mutex mutex_;
  std::vector<Worker*> idle_;
};

}  // namespace tutti::emulation
