// The kernels of one data type, TUTTI_KERNEL_TYPE: one for each operator that has arithmetic of its own (avg is sum with a divisor).
// Copies need none and use any. Compiled once per type into a fat binary that the library carries as bytes.
#include "collectives/executors/cuda/interpreter.h"

// Two blocks on each multiprocessor of compute capability 9.0. On others some kernels need more than the 128 registers that this leaves, and
// one block without spills is better than two with.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ != 900
#define TUTTI_LEAST_BLOCKS 1
#else
#define TUTTI_LEAST_BLOCKS tutti::cuda::kBlocksPerMultiprocessor
#endif

namespace {

template <tutti::ReduceOp op>
__device__ __forceinline__ void run(const tutti::cuda::Launch& launch) {
  using tutti::cuda::Shared;
  __shared__ alignas(16) unsigned char memory[sizeof(Shared)];
  tutti::cuda::run_block<tutti::cuda::Arithmetic<tutti::DataType::TUTTI_KERNEL_TYPE, op>>(
      tutti::cuda::Block(), launch, blockIdx.x, *reinterpret_cast<Shared*>(memory));
}

}  // namespace

#define TUTTI_JOIN2(a, b) a##b
#define TUTTI_JOIN(a, b) TUTTI_JOIN2(a, b)
#define TUTTI_KERNEL(op)                                                                                 \
  extern "C" __global__ void __launch_bounds__(tutti::cuda::kBlockThreads, TUTTI_LEAST_BLOCKS)           \
      TUTTI_JOIN(tutti_##op##_, TUTTI_KERNEL_TYPE)(const __grid_constant__ tutti::cuda::Launch launch) { \
    run<tutti::ReduceOp::op>(launch);                                                                    \
  }

TUTTI_KERNEL(sum)
TUTTI_KERNEL(prod)
TUTTI_KERNEL(min)
TUTTI_KERNEL(max)
