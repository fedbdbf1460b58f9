#include "collectives/executors/cuda/executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <climits>
#include <map>
#include <mutex>
#include <string>

#include "collectives/executors/cuda/kernels/images.h"
#include "core/error.h"

namespace tutti::cuda {

namespace {

constexpr std::array<ReduceOp, 4> kOperatorsByIndex = {ReduceOp::sum, ReduceOp::prod, ReduceOp::min,
                                                       ReduceOp::max};

size_t index_of(ReduceOp op) {
  return op == ReduceOp::avg ? 0 : static_cast<size_t>(op);
}

}  // namespace

std::shared_ptr<const Kernels> Kernels::load(const DevicePtr& device) {
  static std::mutex mutex;
  static std::map<int, std::weak_ptr<const Kernels>> loaded;  // by ordinal
  const std::lock_guard lock(mutex);
  std::weak_ptr<const Kernels>& entry = loaded[device->ordinal()];
  if (auto kernels = entry.lock()) return kernels;
  auto kernels = std::make_shared<const Kernels>(Private(), device);
  entry = kernels;
  return kernels;
}

Kernels::Kernels(Private, DevicePtr device) : device_(std::move(device)) {
  const Driver& driver = device_->driver();
  const ContextGuard guard(*device_);
  resident_blocks_ = INT_MAX;
  for (size_t t = 0; t < kDataTypes; ++t) {
    const auto type = static_cast<DataType>(t);
    const CUresult result = driver.cuModuleLoadData(&modules_[t], kernel_image(type));
    if (result == CUDA_ERROR_NO_BINARY_FOR_GPU || result == CUDA_ERROR_UNSUPPORTED_PTX_VERSION) {
      raise(Result::unsupported,
            "device {} ({}, compute capability {}): this build has no kernels for it ({}); set "
            "TUTTI_CUDA_ARCHITECTURES when "
            "building",
            device_->ordinal(), device_->facts().name, device_->facts().capability(), driver.text(result));
    }
    driver.check(result, fmt::format("loading the kernels of {}", name_of(type)));
    for (const ReduceOp op : kOperatorsByIndex) {
      const std::string name = fmt::format("tutti_{}_{}", name_of(op), name_of(type));
      CUfunction& function = functions_[t][index_of(op)];
      driver.check(driver.cuModuleGetFunction(&function, modules_[t], name.c_str()), name);
      // Otherwise the driver may put this off until the first launch, when peers' kernels are spinning already.
      if (driver.cuFuncLoad != nullptr) driver.check(driver.cuFuncLoad(function), name);
      int blocks = 0;
      driver.check(driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, kBlockThreads, 0),
                   name);
      resident_blocks_ = std::min(resident_blocks_, blocks * device_->facts().multiprocessors);
    }
  }
}

Kernels::~Kernels() {
  const Driver& driver = device_->driver();
  try {
    const ContextGuard guard(*device_);
    for (CUmodule module : modules_) {
      if (module != nullptr) static_cast<void>(driver.cuModuleUnload(module));
    }
  } catch (const Error&) {  // NOLINT(bugprone-empty-catch): the context is gone, and its modules with it
  }
}

CUfunction Kernels::kernel(ReduceOp op, DataType type) const {
  return functions_[static_cast<size_t>(type)][index_of(op)];
}

CUresult enqueue(const Kernels& kernels, CUfunction kernel, const Launch& launch, unsigned blocks,
                 CUstream stream, Residency residency) {
  CUlaunchAttribute attribute{};
  attribute.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
  attribute.value.cooperative = 1;
  CUlaunchConfig config{};
  config.gridDimX = blocks;
  config.gridDimY = 1;
  config.gridDimZ = 1;
  config.blockDimX = kBlockThreads;
  config.blockDimY = 1;
  config.blockDimZ = 1;
  config.hStream = stream;
  config.attrs = &attribute;
  config.numAttrs = residency == Residency::cooperative ? 1 : 0;
  // The driver copies the parameters before it returns and does not change them.
  void* parameters[] = {const_cast<Launch*>(&launch)};  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  return kernels.device().driver().cuLaunchKernelEx(&config, kernel, parameters, nullptr);
}

}  // namespace tutti::cuda
