// Kernel launches and occupancy.
#include <cstring>
#include <utility>

#include "tests/gpu/emulation/device_limits.h"
#include "tests/gpu/emulation/module.h"
#include "tests/gpu/emulation/stream.h"

namespace tutti::emulation {
namespace {

bool is_cooperative(const CUlaunchConfig& config) {
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    const CUlaunchAttribute& attribute = config.attrs[i];
    if (attribute.id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE && attribute.value.cooperative != 0) return true;
  }
  return false;
}

/// One-dimensional, and within what a block may have.
bool is_valid(const CUlaunchConfig& config, const Function& function) {
  return config.gridDimX > 0 && config.gridDimX <= 2147483647U && config.gridDimY == 1 &&
         config.gridDimZ == 1 && config.blockDimX > 0 && config.blockDimX <= kMaxThreadsPerBlock &&
         config.blockDimY == 1 && config.blockDimZ == 1 &&
         config.sharedMemBytes <= static_cast<unsigned>(function.max_dynamic_shared.load()) &&
         (config.numAttrs == 0 || config.attrs != nullptr);
}

std::vector<std::byte> copied_parameter(const EmulatedKernel& kernel, void** parameters) {
  std::vector<std::byte> copy(kernel.parameter_bytes);
  if (!copy.empty()) std::memcpy(copy.data(), parameters[0], copy.size());
  return copy;
}

}  // namespace

}  // namespace tutti::emulation

using namespace tutti::emulation;

extern "C" {

CUresult CUDAAPI cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction handle, void** parameters,
                                  void** extra) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  const Function* const function = function_of(handle);
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (config == nullptr || extra != nullptr || !is_valid(*config, *function)) return CUDA_ERROR_INVALID_VALUE;
  if (function->kernel->parameter_bytes != 0 && (parameters == nullptr || parameters[0] == nullptr)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  auto launch = std::make_shared<Launch>();
  launch->kernel = function->kernel;
  launch->blocks = config->gridDimX;
  launch->block_size = config->blockDimX;
  launch->shared_bytes = config->sharedMemBytes;
  launch->resident = resident_blocks(static_cast<int>(config->blockDimX), config->sharedMemBytes);
  launch->cooperative = is_cooperative(*config);
  if (launch->resident == 0) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  if (launch->cooperative && !Scheduler::can_be_resident(*launch))
    return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
  launch->parameter = copied_parameter(*function->kernel, parameters);

  auto lock = scheduler().lock();
  Stream* const stream = stream_of(lock, config->hStream, *current);
  if (stream == nullptr || stream->device != function->device) return CUDA_ERROR_INVALID_HANDLE;
  Work work;
  work.launch = std::move(launch);
  return enqueue(lock, *stream, std::move(work));
}

CUresult CUDAAPI cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y,
                                unsigned int grid_z, unsigned int block_x, unsigned int block_y,
                                unsigned int block_z, unsigned int shared_bytes, CUstream stream,
                                void** parameters, void** extra) {
  const CUlaunchConfig config{grid_x,  grid_y,       grid_z, block_x, block_y,
                              block_z, shared_bytes, stream, nullptr, 0};
  return cuLaunchKernelEx(&config, function, parameters, extra);
}

CUresult CUDAAPI cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction handle, int block_size,
                                                             size_t shared_bytes) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  const Function* const function = function_of(handle);
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (blocks == nullptr || block_size < 1) return CUDA_ERROR_INVALID_VALUE;
  const bool allowed = shared_bytes <= static_cast<size_t>(function->max_dynamic_shared.load());
  *blocks = allowed ? resident_blocks(block_size, shared_bytes) : 0;
  return CUDA_SUCCESS;
}

}  // extern "C"
