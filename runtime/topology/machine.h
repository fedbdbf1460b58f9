// This machine as hwloc sees it: packages, memory, caches, processors, network devices, accelerators, and which is near which.
//
// Plain values, bounded in number. Where hwloc cannot look (a container that hides /sys) the few things that the system
// tells any process are filled in, and `problem` says why there is no more. What nobody tells is -1 or empty.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tutti {

/// One package: a chip in a socket.
struct Package {
  int number = 0;
  std::string model = {};
  int cores = 0;
  std::vector<int> processors = {};  // as the system numbers them
};

struct NumaNode {
  int number = 0;
  uint64_t bytes = 0;
  std::vector<int> processors = {};
};

/// One cache that several cores share, or the outermost of a core.
struct Cache {
  int level = 0;
  uint64_t bytes = 0;
  std::vector<int> processors = {};
};

struct Core {
  int number = 0;
  std::vector<int> processors = {};  // more than one: hardware threads
};

/// A network interface (eth0) or an RDMA device (mlx5_0).
struct NetworkDevice {
  std::string name = {};
  bool rdma = false;
  bool up = false;
  bool loopback = false;
  int numa = -1;                            // the memory it is near
  int megabits = -1;                        // per second, of an interface
  std::string pci = {};                     // "0000:81:00.0"; empty: no PCI device
  std::vector<std::string> addresses = {};  // of an interface
};

struct Accelerator {
  std::string name = {};  // "nvml0"
  std::string model = {};
  std::string pci = {};
  int numa = -1;
};

struct Machine {
  std::string host = {};
  std::string processor = {};  // model
  std::string kernel = {};
  std::string source = {};   // "hwloc, API 2.8"
  std::string problem = {};  // why the rest is less than there is; empty: nothing is known to be missing
  uint64_t memory = 0;
  std::vector<int> processors = {};  // there are
  std::vector<int> usable = {};      // by this process
  std::vector<Package> packages = {};
  std::vector<NumaNode> numa = {};
  std::vector<Cache> caches = {};
  std::vector<Core> cores = {};
  std::vector<NetworkDevice> networks = {};
  std::vector<Accelerator> accelerators = {};
};

/// Looks at the machine; takes some milliseconds. Never throws for what it cannot see.
Machine look_at_machine();

/// The same without hwloc, `why` being the problem.
Machine look_without_hwloc(const std::string& why);

}  // namespace tutti
