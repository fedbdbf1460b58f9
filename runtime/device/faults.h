// What a kernel that gave up has to say.
#pragma once

#include "collectives/executors/cuda/launch.h"
#include "runtime/communicator/device_path.h"

namespace tutti {

DevicePath::Failure explain(const cuda::DeviceFault& fault, uint64_t timeout_ns);

}  // namespace tutti
