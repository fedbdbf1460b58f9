// One thing that a device does: a kernel, a copy, or nothing (the end of what came before).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "tests/gpu/emulation/emulated_kernel.h"

namespace tutti::emulation {

using Clock = std::chrono::steady_clock;

struct Launch {
  const EmulatedKernel* kernel = nullptr;
  unsigned blocks = 0;
  unsigned block_size = 0;
  size_t shared_bytes = 0;
  int resident = 1;  ///< such blocks on one multiprocessor
  bool cooperative = false;
  std::vector<std::byte> parameter;
};

/// What is to be done; copied wherever a graph does it again.
struct Work {
  int device = 0;
  std::function<void()> run;             ///< on a thread of the pool
  std::shared_ptr<const Launch> launch;  ///< or a kernel; or neither
};

/// Work that has been handed to a device. Guarded by the scheduler's mutex.
struct Operation {
  Work work;
  uint64_t number = 0;   ///< in the order of submission
  unsigned awaited = 0;  ///< operations that must end before this one begins
  std::vector<std::shared_ptr<Operation>> successors;
  unsigned blocks_started = 0;
  unsigned blocks_ended = 0;
  bool ended = false;
  Clock::time_point end;
};
using OperationPtr = std::shared_ptr<Operation>;

}  // namespace tutti::emulation
