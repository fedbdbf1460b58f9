// What a kernel of the emulated driver is: a host function that a few threads per block run.
//
// An object file of kernels calls tutti_emulated_register from a static initialiser; cuModuleGetFunction finds them by name, whatever
// image was loaded. A program that loads the emulation by dlopen finds the function by dlsym, before or after cuInit.
#pragma once

#include <cstddef>

#include "collectives/executors/cuda/block.h"

namespace tutti::emulation {

/// Where a kernel's thread is. Grid and block are one-dimensional.
struct EmulatedBlock {
  unsigned block = 0;   ///< blockIdx.x
  unsigned blocks = 0;  ///< gridDim.x
  unsigned thread = 0;  ///< of this block, below `threads`
  unsigned threads =
      0;  ///< host threads of this block: TUTTI_EMULATED_THREADS, or blockDim.x where that is less
  unsigned block_size = 0;                ///< blockDim.x, as the launch asked for it
  cuda::BlockBarrier* barrier = nullptr;  ///< of this block, fresh for every launch
  void* shared = nullptr;   ///< this block's shared memory, aligned to 128 bytes, filled with poison
  size_t shared_bytes = 0;  ///< 64 KiB more than the launch asked for, for static shared memory
};

struct EmulatedKernel {
  const char* name;
  /// parameters[0] points to this launch's own copy of the kernel's one parameter.
  void (*run)(const EmulatedBlock&, void** parameters);
  size_t parameter_bytes;
};

}  // namespace tutti::emulation

/// The table must live as long as the process. A name that comes again replaces the kernel that had it.
extern "C" __attribute__((visibility("default"))) void tutti_emulated_register(
    const tutti::emulation::EmulatedKernel* kernels, size_t count);
