// The kernels of one data type, TUTTI_KERNEL_TYPE: one for each operator that has arithmetic of its own (avg is sum with a divisor).
// Copies need none and use any. Compiled once per type into a fat binary that the library carries as bytes.
#include "collectives/executors/cuda/interpreter.h"

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
  extern "C" __global__ void __launch_bounds__(tutti::cuda::kBlockThreads,                               \
                                               tutti::cuda::kBlocksPerMultiprocessor)                    \
      TUTTI_JOIN(tutti_##op##_, TUTTI_KERNEL_TYPE)(const __grid_constant__ tutti::cuda::Launch launch) { \
    run<tutti::ReduceOp::op>(launch);                                                                    \
  }

TUTTI_KERNEL(sum)
TUTTI_KERNEL(prod)
TUTTI_KERNEL(min)
TUTTI_KERNEL(max)
