// Tutti's kernels for the emulated driver: the device code that nvcc compiles for the GPU (collectives/executors/cuda/kernels/kernels.cu),
// compiled for the host.
#include <iterator>

#include "collectives/executors/cuda/interpreter.h"
#include "tests/gpu/emulation/emulated_kernel.h"

namespace {

using tutti::DataType;
using tutti::ReduceOp;
using tutti::cuda::Launch;
using tutti::emulation::EmulatedBlock;
using tutti::emulation::EmulatedKernel;

template <DataType type, ReduceOp op>
void run(const EmulatedBlock& block, void** parameters) {
  const auto& launch = *static_cast<const Launch*>(parameters[0]);
  auto& shared = *static_cast<tutti::cuda::Shared*>(block.shared);
  tutti::cuda::run_block<tutti::cuda::Arithmetic<type, op>>(
      tutti::cuda::Block(block.thread, block.threads, *block.barrier), launch, block.block, shared);
}

#define TUTTI_KERNEL(op, type) \
  { "tutti_" #op "_" #type, run<DataType::type, ReduceOp::op>, sizeof(Launch) }
#define TUTTI_KERNELS(type) \
  TUTTI_KERNEL(sum, type), TUTTI_KERNEL(prod, type), TUTTI_KERNEL(min, type), TUTTI_KERNEL(max, type)

const EmulatedKernel kKernels[] = {
    TUTTI_KERNELS(int8),        TUTTI_KERNELS(uint8),       TUTTI_KERNELS(int16),   TUTTI_KERNELS(uint16),
    TUTTI_KERNELS(int32),       TUTTI_KERNELS(uint32),      TUTTI_KERNELS(int64),   TUTTI_KERNELS(uint64),
    TUTTI_KERNELS(float16),     TUTTI_KERNELS(bfloat16),    TUTTI_KERNELS(float32), TUTTI_KERNELS(float64),
    TUTTI_KERNELS(float8_e4m3), TUTTI_KERNELS(float8_e5m2),
};

struct Registration {
  Registration() { tutti_emulated_register(kKernels, std::size(kKernels)); }
};
const Registration registration;

}  // namespace
