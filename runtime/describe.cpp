#include "runtime/describe.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "collectives/reduce/kernels.h"
#include "core/env.h"
#include "core/error.h"
#include "core/units.h"
#include "runtime/communicator/settings.h"
#include "runtime/tuner/selection.h"
#include "runtime/version.h"
#include "transports/shm/window.h"

namespace tutti {

namespace {

struct Machine {
  std::string processor;
  std::string kernel;
  int cores = 0;
  int usable_cores = 0;
  uint64_t memory = 0;
};

struct Transport {
  const char* name;
  bool usable;
  std::string detail;  // what it is used for, or why it is not usable
};

Machine look_at_machine() {
  Machine m;
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) {
      m.processor = line.substr(line.find(':') + 2);
      break;
    }
  }
  utsname name{};
  if (uname(&name) == 0) m.kernel = fmt::format("{} {} {}", name.sysname, name.release, name.machine);
  m.cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  cpu_set_t set;
  m.usable_cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : m.cores;
  m.memory = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return m;
}

bool has_entries(const char* folder) {
  std::error_code ignored;
  const std::filesystem::directory_iterator entries(folder, ignored);
  return !ignored && entries != std::filesystem::directory_iterator{};
}

Transport look_at_shm() {
  try {
    const Descriptor memory = shm::create_memory(4096, 0);
    const shm::Mapping mapping(memory.get(), 4096);
    return {"shm", true, "ranks of one host, through sealed memory files"};
  } catch (const Error& e) {
    return {"shm", false, e.what()};
  }
}

/// What is there but not used yet is said as such: "no device" and "no support in this version" call for different action.
std::vector<Transport> look_at_transports() {
  const bool gpu = std::filesystem::exists("/dev/nvidiactl");
  const bool nic = has_entries("/sys/class/infiniband");
  const std::string version = fmt::format("version {} has no such transport", kVersionText);
  return {look_at_shm(),
          {"cuda_ipc", false,
           fmt::format("{}; {}", gpu ? "an NVIDIA driver is present" : "no NVIDIA driver (/dev/nvidiactl)",
                       version)},
          {"verbs", false,
           fmt::format("{}; {}", nic ? "an RDMA device is present" : "no RDMA device (/sys/class/infiniband)",
                       version)},
          {"ucx", false, version}};
}

std::string locked_memory() {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return "unknown";
  return limit.rlim_cur == RLIM_INFINITY ? "unlimited" : format_size(limit.rlim_cur);
}

std::string as_text(int ranks, const Settings& settings) {
  const Machine m = look_at_machine();
  const shm::Layout layout = shm::layout(ranks, settings.scratch_bytes);
  std::string text = fmt::format("Tutti {}\n\nMachine\n", kVersionText);
  text += fmt::format(
      "  processor    {}\n  cores        {} ({} usable by this process)\n  memory       {}\n  kernel       "
      "{}\n",
      m.processor, m.cores, m.usable_cores, format_size(m.memory), m.kernel);
  text += fmt::format("  instructions {}\n  locked mem.  {}\n\nTransports\n", reduce::kernels().name,
                      locked_memory());
  for (const Transport& t : look_at_transports()) {
    text += fmt::format("  {:<12} {:<10} {}\n", t.name, t.usable ? "usable" : "not usable", t.detail);
  }
  text += fmt::format("\nScratch for {} ranks\n  each window {} (packets {}, slots {}), {} in all\n", ranks,
                      format_size(layout.total), format_size(layout.packets_size),
                      format_size(layout.slots_size), format_size(layout.total * static_cast<size_t>(ranks)));
  text += fmt::format("\nSelection for {} ranks\n", ranks);
  std::string selection = describe_selection(JobShape::one_node(ranks), settings.tuning,
                                             scratch_limits(layout.slots_size, layout.packets_size));
  for (size_t at = 0; at < selection.size();) {
    const size_t end = selection.find('\n', at);
    text += "  " + selection.substr(at, end - at) + "\n";
    at = end + 1;
  }
  text += "\nEnvironment\n";
  const Environment& environment = Environment::process();
  for (const VariableDescription& v : environment.describe()) {
    text += fmt::format("  {:<22} {:<14} {:<12} {}\n", v.name, v.value.empty() ? "-" : v.value, v.source,
                        v.range);
  }
  for (const std::string& warning : environment.warnings()) text += fmt::format("  warning: {}\n", warning);
  return text;
}

std::string as_json(int ranks, const Settings& settings) {
  using nlohmann::json;
  const Machine m = look_at_machine();
  const shm::Layout layout = shm::layout(ranks, settings.scratch_bytes);
  json out;
  out["schema"] = "tutti-info/1";
  out["version"] = kVersionText;
  out["machine"] = {
      {"processor", m.processor}, {"cores", m.cores},   {"usable_cores", m.usable_cores},
      {"memory_bytes", m.memory}, {"kernel", m.kernel}, {"instructions", reduce::kernels().name}};
  for (const Transport& t : look_at_transports()) {
    out["transports"].push_back({{"name", t.name}, {"usable", t.usable}, {"detail", t.detail}});
  }
  out["scratch"] = {{"ranks", ranks},
                    {"window_bytes", layout.total},
                    {"packets_bytes", layout.packets_size},
                    {"slots_bytes", layout.slots_size}};
  for (int c = 0; c < kCollectives; ++c) {
    json rows = json::array();
    for (const Row& row :
         selection_table(static_cast<Collective>(c), JobShape::one_node(ranks), settings.tuning,
                         scratch_limits(layout.slots_size, layout.packets_size))) {
      const json bytes = row.bytes == UINT64_MAX ? json(nullptr) : json(row.bytes);
      rows.push_back({{"up_to_bytes", bytes}, {"algorithm", name_of(row.algorithm)}});
    }
    out["selection"][std::string(name_of(static_cast<Collective>(c)))] = rows;
  }
  for (const VariableDescription& v : Environment::process().describe()) {
    out["environment"].push_back({{"name", v.name},
                                  {"value", v.value},
                                  {"source", v.source},
                                  {"default", v.default_value},
                                  {"range", v.range},
                                  {"affects_plan", v.plan},
                                  {"help", v.help}});
  }
  out["warnings"] = Environment::process().warnings();
  return out.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string describe(const std::string& format, int ranks) {
  if (format == "environment-markdown") return environment_markdown();
  const Settings settings = make_settings(Environment::process(), {});
  if (format == "text") return as_text(ranks, settings);
  if (format == "json") return as_json(ranks, settings);
  raise(Result::invalid_argument, "format '{}' does not exist; expected text, json or environment-markdown",
        format);
}

}  // namespace tutti
