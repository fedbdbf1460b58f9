// Runs operations, each when those that it depends on have ended: streams, events and graphs are nothing but such dependencies.
//
// Residency. A block of a kernel runs only where it has room: a device holds multiprocessors x (such blocks per multiprocessor). Kernels
// take their room in the order in which they became ready. A kernel's blocks may begin one by one, those of a cooperative launch all
// together. Blocks leave when they end, never before; so kernels that spin for one that has no room are stuck, as they are on a device.
//
// Implicit synchronisation. A driver may let a call wait until the kernels that run have ended (allocating, freeing, pinning, mapping, loading).
// Here such a call always does: wait_for_kernels. A wait that outlasts TUTTI_EMULATED_PATIENCE_MS ends the process with a line
// that says which call waited for which kernel.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <vector>

#include "tests/gpu/emulation/operation.h"
#include "tests/gpu/emulation/pool.h"
#include "tests/gpu/emulation/settings.h"

namespace tutti::emulation {

inline constexpr int kAllDevices = -1;

class Scheduler {
 public:
  using Lock = std::unique_lock<std::mutex>;

  /// Guards operations, streams, events and captures.
  Lock lock() { return Lock(mutex_); }

  /// Begins when all of `after` have ended; null pointers and operations that have ended do not count.
  OperationPtr submit(Lock& lock, Work work, const std::vector<OperationPtr>& after);

  /// Until all have ended; the lock is released meanwhile. Ten times as patient as an implicit wait.
  void wait(Lock& lock, const std::vector<OperationPtr>& operations, const char* call);
  /// Until every kernel submitted to the device before this call has ended.
  void wait_for_kernels(int device, const char* call);
  /// A launch of so many blocks is larger than the device.
  static bool can_be_resident(const Launch& launch);

 private:
  struct Block;
  struct Device {
    std::deque<OperationPtr> queue;  ///< kernels with blocks that have not begun
    uint64_t used = 0;
  };

  void begin(Lock& lock, const OperationPtr& operation);
  void end(Lock& lock, const OperationPtr& operation);
  void admit(Lock& lock, int device);
  void start_block(Lock& lock, const OperationPtr& operation);
  void run_thread(const std::shared_ptr<Block>& block, unsigned thread);
  [[noreturn]] void give_up(Lock& lock, const char* call, std::chrono::milliseconds waited);

  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t next_number_ = 1;
  std::map<uint64_t, Operation*> kernels_;  ///< submitted, not ended
  std::array<Device, kMaxDevices> devices_;
  Pool pool_;
};

Scheduler& scheduler();

}  // namespace tutti::emulation
