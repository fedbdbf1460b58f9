// Loaded modules and their functions: host functions that have been registered under the names of kernels.
#pragma once

#include <atomic>

#include "tests/gpu/emulation/driver_api.h"
#include "tests/gpu/emulation/emulated_kernel.h"

namespace tutti::emulation {

struct Function {
  const EmulatedKernel* kernel = nullptr;
  int device = 0;
  std::atomic<int> max_dynamic_shared;
};

/// Null for what is no function of a loaded module.
Function* function_of(CUfunction handle);

}  // namespace tutti::emulation
