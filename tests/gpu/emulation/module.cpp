#include "tests/gpu/emulation/module.h"

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "tests/gpu/emulation/capture.h"
#include "tests/gpu/emulation/context.h"
#include "tests/gpu/emulation/device_limits.h"
#include "tests/gpu/emulation/lasting.h"

namespace tutti::emulation {
namespace {

struct Module {
  int device = 0;
  std::map<std::string, std::unique_ptr<Function>> functions;
};

struct Modules {
  std::mutex mutex;
  std::map<std::string, const EmulatedKernel*> kernels;
  std::map<CUmodule, std::unique_ptr<Module>> loaded;
};

Modules& modules() {
  return lasting<Modules>();
}

}  // namespace

Function* function_of(CUfunction handle) {
  auto& all = modules();
  const std::lock_guard lock(all.mutex);
  for (const auto& [name, module] : all.loaded) {
    for (const auto& [kernel, function] : module->functions) {
      if (reinterpret_cast<CUfunction>(function.get()) == handle) return function.get();
    }
  }
  return nullptr;
}

}  // namespace tutti::emulation

using namespace tutti::emulation;

extern "C" {

CUresult CUDAAPI cuModuleLoadData(CUmodule* module, const void* image) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (module == nullptr || image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = may_synchronise("cuModuleLoadData", current->device); result != CUDA_SUCCESS)
    return result;
  auto loaded = std::make_unique<Module>();
  loaded->device = current->device;
  *module = reinterpret_cast<CUmodule>(loaded.get());
  auto& all = modules();
  const std::lock_guard lock(all.mutex);
  all.loaded.emplace(*module, std::move(loaded));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuModuleUnload(CUmodule module) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (const CUresult result = may_synchronise("cuModuleUnload", current->device); result != CUDA_SUCCESS)
    return result;
  auto& all = modules();
  const std::lock_guard lock(all.mutex);
  return all.loaded.erase(module) == 0 ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

CUresult CUDAAPI cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (function == nullptr || name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  auto& all = modules();
  const std::lock_guard lock(all.mutex);
  const auto loaded = all.loaded.find(module);
  if (loaded == all.loaded.end()) return CUDA_ERROR_INVALID_HANDLE;
  const auto kernel = all.kernels.find(name);
  if (kernel == all.kernels.end()) return CUDA_ERROR_NOT_FOUND;
  auto& known = loaded->second->functions[name];
  if (known == nullptr) {
    known = std::make_unique<Function>();
    known->kernel = kernel->second;
    known->device = loaded->second->device;
    known->max_dynamic_shared.store(kSharedPerBlock);
  }
  *function = reinterpret_cast<CUfunction>(known.get());
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuFuncLoad(CUfunction function) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  return function_of(function) == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

CUresult CUDAAPI cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction handle) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  const Function* const function = function_of(handle);
  if (value == nullptr || attribute < 0 || attribute >= CU_FUNC_ATTRIBUTE_MAX)
    return CUDA_ERROR_INVALID_VALUE;
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      *value = kMaxThreadsPerBlock;
      break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
      *value = kRegistersPerThread;
      break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
      *value = 90;
      break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      *value = function->max_dynamic_shared.load();
      break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      *value = -1;
      break;
    default:
      *value = 0;
  }
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  Function* const function = function_of(handle);
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) return CUDA_SUCCESS;
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 ||
      value > kSharedPerBlockOptIn) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  function->max_dynamic_shared.store(value);
  return CUDA_SUCCESS;
}

}  // extern "C"

extern "C" void tutti_emulated_register(const tutti::emulation::EmulatedKernel* kernels, size_t count) {
  auto& all = tutti::emulation::modules();
  const std::lock_guard lock(all.mutex);
  for (size_t i = 0; i < count; ++i) all.kernels.insert_or_assign(kernels[i].name, kernels + i);
}
