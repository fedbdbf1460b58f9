// The compiled kernels that this library carries.
#pragma once

#include "core/types.h"

namespace tutti::cuda {

/// The fat binary with the kernels of one data type (kernels.cu), for cuModuleLoadData.
const void* kernel_image(DataType type);

}  // namespace tutti::cuda
