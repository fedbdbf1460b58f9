#include "runtime/topology/machine.h"

#include <fmt/format.h>
#include <hwloc.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <string_view>

#include "runtime/topology/network_devices.h"

namespace tutti {

namespace {

constexpr size_t kMostObjects = 4096;  // of one kind
constexpr size_t kMostText = 128;

std::string bounded(const char* text) {
  std::string result(text == nullptr ? "" : text);
  result.resize(std::min(result.size(), kMostText));
  std::replace_if(
      result.begin(), result.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return result;
}

std::string processor_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos)
      return bounded(line.c_str() + colon + 2);
  }
  return {};
}

std::vector<int> usable_processors() {
  std::vector<int> usable;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return usable;
  for (int p = 0; p < CPU_SETSIZE; ++p) {
    if (CPU_ISSET(p, &set)) usable.push_back(p);
  }
  return usable;
}

/// What every process is told.
Machine basics() {
  Machine machine;
  utsname name{};
  if (::uname(&name) == 0) {
    machine.host = bounded(name.nodename);
    machine.kernel = fmt::format("{} {} {}", name.sysname, name.release, name.machine);
  }
  machine.processor = processor_model();
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page = ::sysconf(_SC_PAGESIZE);
  if (pages > 0 && page > 0) machine.memory = static_cast<uint64_t>(pages) * static_cast<uint64_t>(page);
  machine.usable = usable_processors();
  const long online = std::min(::sysconf(_SC_NPROCESSORS_ONLN), static_cast<long>(kMostObjects));
  for (int p = 0; p < online; ++p) machine.processors.push_back(p);
  machine.networks = network_devices();
  return machine;
}

struct DestroyTopology {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};
using Topology = std::unique_ptr<hwloc_topology, DestroyTopology>;

/// Keeps hwloc's plug-ins loaded: libraries that they bring (of OpenCL, of X) do not all survive being unloaded.
void keep_plugins() {
  [[maybe_unused]] static hwloc_topology* const kept = [] {
    hwloc_topology_t topology = nullptr;
    return hwloc_topology_init(&topology) == 0 ? topology : nullptr;
  }();
}

/// Null where hwloc cannot look; `why` then says so.
Topology load_topology(std::string& why) {
  keep_plugins();
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) {
    why = "hwloc cannot be initialised";
    return nullptr;
  }
  Topology topology(raw);
  hwloc_topology_set_io_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
  // They would open a display or start the driver of an accelerator, which takes seconds; PCI and NVML tell enough.
  for (const char* component : {"gl", "opencl", "cuda"}) {
    hwloc_topology_set_components(raw, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, component);
  }
  // Also what a container's limits exclude: which processors may be used is told apart.
  hwloc_topology_set_flags(raw, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
  if (hwloc_topology_load(raw) != 0) {
    why = "hwloc cannot read the topology of this machine";
    return nullptr;
  }
  return topology;
}

std::vector<int> numbers_in(hwloc_const_bitmap_t set) {
  std::vector<int> numbers;
  if (set == nullptr || hwloc_bitmap_weight(set) < 0) return numbers;
  for (int p = hwloc_bitmap_first(set); p >= 0 && numbers.size() < kMostObjects;
       p = hwloc_bitmap_next(set, p)) {
    numbers.push_back(p);
  }
  return numbers;
}

/// All objects of one kind, in hwloc's order.
std::vector<hwloc_obj_t> objects(hwloc_topology_t topology, hwloc_obj_type_t type) {
  std::vector<hwloc_obj_t> found;
  hwloc_obj_t object = nullptr;
  while (found.size() < kMostObjects &&
         (object = hwloc_get_next_obj_by_type(topology, type, object)) != nullptr) {
    found.push_back(object);
  }
  return found;
}

int number_of(hwloc_obj_t object) {
  return object->os_index == HWLOC_UNKNOWN_INDEX ? static_cast<int>(object->logical_index)
                                                 : static_cast<int>(object->os_index);
}

void read_processors(hwloc_topology_t topology, Machine& machine) {
  machine.processors = numbers_in(hwloc_topology_get_complete_cpuset(topology));
  for (hwloc_obj_t package : objects(topology, HWLOC_OBJ_PACKAGE)) {
    const int cores = hwloc_get_nbobjs_inside_cpuset_by_type(topology, package->cpuset, HWLOC_OBJ_CORE);
    machine.packages.push_back({.number = number_of(package),
                                .model = bounded(hwloc_obj_get_info_by_name(package, "CPUModel")),
                                .cores = cores,
                                .processors = numbers_in(package->cpuset)});
  }
  for (hwloc_obj_t core : objects(topology, HWLOC_OBJ_CORE)) {
    machine.cores.push_back({.number = number_of(core), .processors = numbers_in(core->cpuset)});
  }
}

void read_memory(hwloc_topology_t topology, Machine& machine) {
  for (hwloc_obj_t node : objects(topology, HWLOC_OBJ_NUMANODE)) {
    machine.numa.push_back({.number = number_of(node),
                            .bytes = node->attr == nullptr ? 0 : node->attr->numanode.local_memory,
                            .processors = numbers_in(node->cpuset)});
  }
  // The private levels of every core would say little at great length.
  for (const hwloc_obj_type_t level : {HWLOC_OBJ_L4CACHE, HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L2CACHE}) {
    for (hwloc_obj_t cache : objects(topology, level)) {
      machine.caches.push_back({.level = static_cast<int>(cache->attr->cache.depth),
                                .bytes = cache->attr->cache.size,
                                .processors = numbers_in(cache->cpuset)});
    }
    if (!machine.caches.empty()) return;
  }
}

/// The address of the PCI device that an operating system's device belongs to.
std::string pci_of(hwloc_obj_t device) {
  hwloc_obj_t at = device->parent;
  while (at != nullptr && at->type == HWLOC_OBJ_OS_DEVICE) at = at->parent;
  if (at == nullptr || at->type != HWLOC_OBJ_PCI_DEVICE) return {};
  const auto& pci = at->attr->pcidev;
  return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", static_cast<unsigned>(pci.domain),
                     static_cast<unsigned>(pci.bus), static_cast<unsigned>(pci.dev),
                     static_cast<unsigned>(pci.func));
}

/// The memory a device is near; -1 where it is as near to several.
int numa_of(hwloc_topology_t topology, hwloc_obj_t device) {
  hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(topology, device);
  if (near == nullptr || near->nodeset == nullptr || hwloc_bitmap_weight(near->nodeset) != 1) return -1;
  return hwloc_bitmap_first(near->nodeset);
}

void read_network(hwloc_topology_t topology, hwloc_obj_t device, Machine& machine) {
  const std::string name = bounded(device->name);
  auto at = std::find_if(machine.networks.begin(), machine.networks.end(),
                         [&](const NetworkDevice& known) { return known.name == name; });
  // Interfaces come from the system, which also knows virtual ones; hwloc knows where they are.
  if (at == machine.networks.end()) return;
  if (at->pci.empty()) at->pci = pci_of(device);
  if (at->numa < 0) at->numa = numa_of(topology, device);
}

void read_devices(hwloc_topology_t topology, Machine& machine) {
  for (hwloc_obj_t device : objects(topology, HWLOC_OBJ_OS_DEVICE)) {
    const auto type = device->attr->osdev.type;
    if (type == HWLOC_OBJ_OSDEV_NETWORK || type == HWLOC_OBJ_OSDEV_OPENFABRICS) {
      read_network(topology, device, machine);
    }
    if (type == HWLOC_OBJ_OSDEV_GPU || type == HWLOC_OBJ_OSDEV_COPROC) {
      const char* model = hwloc_obj_get_info_by_name(device, "GPUModel");
      machine.accelerators.push_back({.name = bounded(device->name),
                                      .model = bounded(model),
                                      .pci = pci_of(device),
                                      .numa = numa_of(topology, device)});
    }
  }
}

}  // namespace

Machine look_without_hwloc(const std::string& why) {
  Machine machine = basics();
  machine.source = "system";
  machine.problem = why;
  return machine;
}

Machine look_at_machine() {
  std::string why;
  const Topology topology = load_topology(why);
  if (!topology) return look_without_hwloc(why);
  Machine machine = basics();
  const unsigned version = hwloc_get_api_version();
  machine.source = fmt::format("hwloc, API {}.{}", version >> 16, version >> 8 & 0xff);
  read_processors(topology.get(), machine);
  read_memory(topology.get(), machine);
  read_devices(topology.get(), machine);
  if (hwloc_topology_is_thissystem(topology.get()) == 0) {
    machine.problem = "the topology is another machine's, as HWLOC_XMLFILE or HWLOC_SYNTHETIC says";
  } else if (machine.packages.empty()) {
    machine.problem = "the system does not tell about packages (is /sys hidden?)";
  }
  return machine;
}

}  // namespace tutti
