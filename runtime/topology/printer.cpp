#include "runtime/topology/printer.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/units.h"
#include "runtime/topology/placement.h"

namespace tutti {

namespace {

using nlohmann::json;

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

std::string plural(size_t count, const char* what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

/// Whether all processors of `inner` belong to `outer`; both ascend.
bool inside(const std::vector<int>& inner, const std::vector<int>& outer) {
  return std::includes(outer.begin(), outer.end(), inner.begin(), inner.end());
}

size_t cores_in(const Machine& machine, const std::vector<int>& processors) {
  return static_cast<size_t>(std::count_if(machine.cores.begin(), machine.cores.end(), [&](const Core& core) {
    return !core.processors.empty() && inside(core.processors, processors);
  }));
}

std::string processors_text(const std::vector<int>& processors) {
  return processors.empty() ? "no processors" : "processors " + format_list(processors);
}

std::string cache_text(const Machine& machine, const Cache& cache) {
  return fmt::format("{}, {}, {}", format_size(cache.bytes),
                     plural(cores_in(machine, cache.processors), "core"), processors_text(cache.processors));
}

std::string accelerator_text(const Accelerator& accelerator) {
  std::vector<std::string> parts;
  if (!accelerator.model.empty()) parts.push_back(accelerator.model);
  if (accelerator.numa >= 0) parts.push_back(fmt::format("memory {}", accelerator.numa));
  if (!accelerator.pci.empty()) parts.push_back(accelerator.pci);
  return joined(parts);
}

std::string line(const std::string& name, const std::string& text) {
  return fmt::format("  {:<12} {}\n", name, text);
}

json or_null(int number) {
  return number < 0 ? json(nullptr) : json(number);
}

// ---- Graphviz

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (c == '\n') {
      result += "\\n";
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string box(const std::string& indent, const std::string& name, const std::string& label,
                const char* shape) {
  return fmt::format("{}{} [shape={}, label={}];\n", indent, quoted(name), shape, quoted(label));
}

std::string memory_name(int number) {
  return fmt::format("memory{}", number);
}

/// The memory of one NUMA node and the caches in front of it.
std::string memory_boxes(const Machine& machine, const NumaNode& numa, const std::string& indent) {
  std::string text = box(indent, memory_name(numa.number),
                         fmt::format("memory {}\n{}", numa.number, memory_text(numa.bytes)), "box3d");
  for (size_t c = 0; c < machine.caches.size(); ++c) {
    const Cache& cache = machine.caches[c];
    if (cache.processors.empty() || !inside(cache.processors, numa.processors)) continue;
    const std::string name = fmt::format("cache{}", c);
    text += box(
        indent, name,
        fmt::format("L{} {}\n{}\n{}", cache.level, format_size(cache.bytes),
                    plural(cores_in(machine, cache.processors), "core"), processors_text(cache.processors)),
        "box");
    text += fmt::format("{}{} -- {};\n", indent, quoted(memory_name(numa.number)), quoted(name));
  }
  return text;
}

std::string package_cluster(const Machine& machine, const Package& package, std::vector<bool>& drawn) {
  std::string text = fmt::format("  subgraph {} {{\n    label={};\n",
                                 quoted(fmt::format("cluster_package{}", package.number)),
                                 quoted(fmt::format("package {}\n{}", package.number, package.model)));
  for (size_t n = 0; n < machine.numa.size(); ++n) {
    if (drawn[n] || !inside(machine.numa[n].processors, package.processors) ||
        machine.numa[n].processors.empty()) {
      continue;
    }
    text += memory_boxes(machine, machine.numa[n], "    ");
    drawn[n] = true;
  }
  return text + "  }\n";
}

/// A device, tied to the memory it is near, or to the machine where that is not known.
std::string device_box(const Machine& machine, const std::string& name, const std::string& label, int numa,
                       const char* shape) {
  const bool known = std::any_of(machine.numa.begin(), machine.numa.end(),
                                 [&](const NumaNode& node) { return node.number == numa; });
  return box("  ", name, label, shape) +
         fmt::format("  {} -- {};\n", quoted(known ? memory_name(numa) : "machine"), quoted(name));
}

}  // namespace

std::string memory_text(uint64_t bytes) {
  constexpr double kUnit = 1024;
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  double amount = static_cast<double>(bytes) / kUnit;
  size_t unit = 0;
  while (amount >= kUnit && unit + 1 < std::size(kUnits)) {
    amount /= kUnit;
    ++unit;
  }
  return fmt::format("{:.1f} {}", amount, kUnits[unit]);
}

std::string device_text(const NetworkDevice& device) {
  std::vector<std::string> parts = {device.up ? "up" : "down"};
  if (device.rdma) parts.emplace_back("RDMA");
  parts.insert(parts.end(), device.addresses.begin(), device.addresses.end());
  if (device.megabits > 0) parts.push_back(fmt::format("{} Mb/s", device.megabits));
  if (device.numa >= 0) parts.push_back(fmt::format("memory {}", device.numa));
  if (!device.pci.empty()) parts.push_back(device.pci);
  return joined(parts);
}

std::string topology_text(const Machine& machine) {
  std::string text;
  for (const Package& package : machine.packages) {
    text += line(
        fmt::format("package {}", package.number),
        fmt::format("{}, {}{}{}", plural(static_cast<size_t>(std::max(package.cores, 0)), "core"),
                    processors_text(package.processors), package.model.empty() ? "" : ", ", package.model));
  }
  for (const NumaNode& numa : machine.numa) {
    text += line(fmt::format("memory {}", numa.number),
                 fmt::format("{}, {}", memory_text(numa.bytes), processors_text(numa.processors)));
  }
  for (const Cache& cache : machine.caches) {
    text += line(fmt::format("cache L{}", cache.level), cache_text(machine, cache));
  }
  for (const NetworkDevice& device : machine.networks) text += line(device.name, device_text(device));
  for (const Accelerator& accelerator : machine.accelerators)
    text += line(accelerator.name, accelerator_text(accelerator));
  if (!machine.problem.empty()) text += line("incomplete", machine.problem);
  return text;
}

json topology_json(const Machine& machine) {
  json out = {{"source", machine.source},         {"problem", machine.problem},   {"host", machine.host},
              {"processors", machine.processors}, {"usable", machine.usable},     {"packages", json::array()},
              {"memory", json::array()},          {"caches", json::array()},      {"cores", json::array()},
              {"networks", json::array()},        {"accelerators", json::array()}};
  for (const Package& p : machine.packages) {
    out["packages"].push_back(
        {{"number", p.number}, {"model", p.model}, {"cores", p.cores}, {"processors", p.processors}});
  }
  for (const NumaNode& n : machine.numa) {
    out["memory"].push_back({{"number", n.number}, {"bytes", n.bytes}, {"processors", n.processors}});
  }
  for (const Cache& c : machine.caches) {
    out["caches"].push_back({{"level", c.level}, {"bytes", c.bytes}, {"processors", c.processors}});
  }
  for (const Core& c : machine.cores)
    out["cores"].push_back({{"number", c.number}, {"processors", c.processors}});
  for (const NetworkDevice& d : machine.networks) {
    out["networks"].push_back({{"name", d.name},
                               {"kind", d.rdma ? "rdma" : "interface"},
                               {"up", d.up},
                               {"loopback", d.loopback},
                               {"memory", or_null(d.numa)},
                               {"megabits_per_second", or_null(d.megabits)},
                               {"pci", d.pci},
                               {"addresses", d.addresses}});
  }
  for (const Accelerator& a : machine.accelerators) {
    out["accelerators"].push_back(
        {{"name", a.name}, {"model", a.model}, {"pci", a.pci}, {"memory", or_null(a.numa)}});
  }
  return out;
}

std::string topology_graphviz(const Machine& machine) {
  std::string text =
      "graph \"topology\" {\n  node [fontname=\"sans-serif\"];\n  graph [fontname=\"sans-serif\"];\n";
  text += box("  ", "machine",
              fmt::format("{}\n{}, {}", machine.host.empty() ? "machine" : machine.host,
                          plural(machine.processors.size(), "processor"), memory_text(machine.memory)),
              "house");
  std::vector<bool> drawn(machine.numa.size(), false);
  for (const Package& package : machine.packages) text += package_cluster(machine, package, drawn);
  for (size_t n = 0; n < machine.numa.size(); ++n) {
    if (!drawn[n]) text += memory_boxes(machine, machine.numa[n], "  ");
    text += fmt::format("  \"machine\" -- {};\n", quoted(memory_name(machine.numa[n].number)));
  }
  for (const NetworkDevice& device : machine.networks) {
    if (device.loopback) continue;
    text += device_box(machine, "net " + device.name, device.name + "\n" + device_text(device), device.numa,
                       "ellipse");
  }
  for (const Accelerator& accelerator : machine.accelerators) {
    text +=
        device_box(machine, "accelerator " + accelerator.name,
                   accelerator.name + "\n" + accelerator_text(accelerator), accelerator.numa, "component");
  }
  return text + "}\n";
}

}  // namespace tutti
