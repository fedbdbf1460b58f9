// Network interfaces and RDMA devices, as the system lists them: virtual interfaces too, which have no place in a topology.
#pragma once

#include <vector>

#include "runtime/topology/machine.h"

namespace tutti {

/// In the order of their names, at most 256. Where something cannot be read it is left out.
std::vector<NetworkDevice> network_devices();

}  // namespace tutti
