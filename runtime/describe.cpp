#include "runtime/describe.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "collectives/reduce/kernels.h"
#include "core/env.h"
#include "core/error.h"
#include "core/units.h"
#include "runtime/bootstrap/interfaces.h"
#include "runtime/bootstrap/launch.h"
#include "runtime/communicator/settings.h"
#include "runtime/device.h"
#include "runtime/statistics/built_in.h"
#include "runtime/topology/machine.h"
#include "runtime/topology/networks.h"
#include "runtime/topology/placement.h"
#include "runtime/topology/printer.h"
#include "runtime/tuner/selection.h"
#include "runtime/version.h"
#include "transports/shm/window.h"
#include "transports/verbs/mail.h"

namespace tutti {

namespace {

using nlohmann::json;

struct Transport {
  const char* name;
  bool usable;
  std::string detail;  // what it is used for, or why it is not usable
  std::string version = {};
  std::vector<std::string> resources = {};  // what it chooses from
};

/// Where the ranks would meet.
struct MeetingPlace {
  std::string interface;
  std::string address;
  std::string problem;  // why there is no address
  std::string ports;
  std::string started_by;
};

/// The job whose selection is shown.
struct Job {
  JobShape shape;
  int most = 0;  // ranks on one node
  shm::Layout layout;
};

Transport look_at_shm() {
  try {
    const Descriptor memory = shm::create_memory(4096, 0);
    const shm::Mapping mapping(memory.get(), 4096);
    return {"shm", true, "ranks of one node, through sealed memory files"};
  } catch (const Error& e) {
    return {"shm", false, e.what()};
  }
}

Transport ucx_transport() {
  const UcxReport report = look_at_ucx();
  Transport ucx = {"ucx", report.usable, report.problem, report.version, report.resources};
  if (report.usable) ucx.detail = "ranks of different nodes";
  return ucx;
}

Transport verbs_transport(const Settings& settings) {
  const VerbsReport report = look_at_verbs(settings.ib_rails, settings.ib_tuning.gid_index);
  Transport verbs = {"verbs", report.usable, report.problem, {}, report.rails};
  if (report.usable) verbs.detail = "ranks of different nodes, past the kernel";
  return verbs;
}

/// "No driver", "no device" and "not in this build" call for different action.
Transport look_at_cuda() {
  const DeviceReport report = look_at_devices();
  Transport cuda = {"cuda_ipc", !report.devices.empty(), report.why_none, {}, {}};
  if (!report.driver.empty()) cuda.version = fmt::format("{} (driver)", report.driver);
  if (cuda.usable) cuda.detail = "device memory, of ranks of one node";
  return cuda;
}

/// What is there but not used is said as such: "no device" and "no support in this version" call for different action.
std::vector<Transport> look_at_transports(const Settings& settings) {
  return {look_at_shm(), look_at_cuda(), verbs_transport(settings), ucx_transport()};
}

std::string name_of_interface(const std::vector<NetworkInterface>& interfaces, const IpAddress& address) {
  for (const NetworkInterface& interface : interfaces) {
    const auto& all = interface.addresses;
    if (std::find(all.begin(), all.end(), address) != all.end()) return interface.name;
  }
  return {};
}

MeetingPlace look_at_meeting(const Environment& environment) {
  MeetingPlace meeting;
  try {
    const std::vector<NetworkInterface> interfaces = network_interfaces();
    const IpAddress address = choose_address(interfaces, environment.text(Variable::ifname));
    meeting.address = address.text();
    meeting.interface = name_of_interface(interfaces, address);
  } catch (const Error& e) {
    meeting.problem = e.what();
  }
  meeting.ports = environment.text(Variable::port_range);
  meeting.started_by = launch_source(environment);
  return meeting;
}

Job job_of(const std::vector<int>& ranks_of_nodes, const Settings& settings) {
  if (ranks_of_nodes.empty()) raise(Result::invalid_argument, "no node to describe a selection for");
  Job job;
  for (const int ranks : ranks_of_nodes) {
    if (ranks < 1) raise(Result::invalid_argument, "a node with {} ranks; expected at least 1", ranks);
  }
  job.shape.ranks = std::accumulate(ranks_of_nodes.begin(), ranks_of_nodes.end(), 0);
  job.shape.nodes = static_cast<int>(ranks_of_nodes.size());
  job.most = *std::max_element(ranks_of_nodes.begin(), ranks_of_nodes.end());
  job.layout =
      shm::layout(job.most, scratch_bytes(settings, job.shape.nodes, job.most), statistics_bytes(job.most));
  return job;
}

std::string job_text(const Job& job) {
  const std::string nodes = job.shape.nodes > 1 ? fmt::format(" on {} nodes", job.shape.nodes) : "";
  return fmt::format("{} ranks{}", job.shape.ranks, nodes);
}

/// What every rail of a rank registers, by verbs. A kernel counts it for each.
size_t locked_bytes(const Job& job) {
  return job.layout.slots_size + verbs::MailMemory::bytes_for(job.shape.ranks);
}

std::string locked_memory() {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return "unknown";
  return limit.rlim_cur == RLIM_INFINITY ? "unlimited" : format_size(limit.rlim_cur);
}

std::string node_id() {
  return my_whereabouts(Environment::process().text(Variable::node_id)).node_id;
}

// ---- text

std::string line(std::string_view name, std::string_view text) {
  return fmt::format("  {:<12} {}\n", name, text);
}

std::string machine_text(const Machine& m) {
  return "\nMachine\n" + line("host", m.host) + line("processor", m.processor) +
         line("cores", fmt::format("{} cores, {} processors, {} usable by this process", m.cores.size(),
                                   m.processors.size(), m.usable.size())) +
         line("memory", memory_text(m.memory)) + line("kernel", m.kernel) +
         line("instructions", reduce::kernels().name) + line("locked mem.", locked_memory()) +
         line("node", node_id()) + fmt::format("\nTopology ({})\n", m.source) + topology_text(m);
}

std::string transports_text(const Settings& settings) {
  std::string text = "\nTransports\n";
  for (const Transport& t : look_at_transports(settings)) {
    text += fmt::format("  {:<12} {:<10} {}\n", t.name, t.usable ? "usable" : "not usable", t.detail);
    if (!t.version.empty()) text += line("", fmt::format("version {}", t.version));
    std::string resources;
    for (const std::string& resource : t.resources) {
      const bool is_sentence = resource.find(' ') != std::string::npos;
      if (is_sentence) text += line("", resource);
      if (!is_sentence) resources += " " + resource;
    }
    if (!resources.empty()) text += line("", fmt::format("chooses from{}", resources));
  }
  return text;
}

std::string devices_text() {
  std::string text;
  for (const std::string& device : look_at_devices().devices) text += "  " + device + "\n";
  return text.empty() ? text : "\nCUDA devices\n" + text;
}

std::string meeting_text() {
  const MeetingPlace m = look_at_meeting(Environment::process());
  return "\nBootstrap\n" +
         line("address", m.problem.empty() ? fmt::format("{} ({})", m.address, m.interface) : m.problem) +
         line("ports", m.ports.empty() ? "any free one" : m.ports) +
         line("started by", m.started_by.empty() ? "nothing that names a rank" : m.started_by);
}

std::string selection_text(const Job& job, const Settings& settings) {
  const shm::Layout& layout = job.layout;
  std::string text = fmt::format(
      "\nScratch for {}\n  each window {} (packets {}, slots {}, statistics {}), {} on the largest node\n",
      job_text(job), format_size(layout.total), format_size(layout.packets_size),
      format_size(layout.slots_size), format_size(layout.annex_size),
      format_size(layout.total * static_cast<size_t>(job.most)));
  if (job.shape.nodes > 1)
    text += fmt::format(
        "  with verbs, each rank locks {} for each of its rails, beside registered buffers; allowed: {}\n",
        format_size(locked_bytes(job)), locked_memory());
  text += fmt::format("\nSelection for {}\n", job_text(job));
  const std::string selection =
      describe_selection(job.shape, settings.tuning, scratch_limits(layout.slots_size, layout.packets_size));
  for (size_t at = 0; at < selection.size();) {
    const size_t end = std::min(selection.find('\n', at), selection.size());
    text += "  " + selection.substr(at, end - at) + "\n";
    at = end + 1;
  }
  return text;
}

std::string environment_text() {
  std::string text = "\nEnvironment\n";
  const Environment& environment = Environment::process();
  for (const VariableDescription& v : environment.describe()) {
    text += fmt::format("  {:<22} {:<14} {:<12} {}\n", v.name, v.value.empty() ? "-" : v.value, v.source,
                        v.range);
  }
  for (const std::string& warning : environment.warnings()) text += fmt::format("  warning: {}\n", warning);
  return text;
}

// ---- JSON

json machine_json(const Machine& m) {
  return {
      {"processor", m.processor}, {"cores", m.processors.size()}, {"usable_cores", m.usable.size()},
      {"memory_bytes", m.memory}, {"kernel", m.kernel},           {"instructions", reduce::kernels().name},
      {"node_id", node_id()}};
}

json transports_json(const Settings& settings) {
  json list = json::array();
  for (const Transport& t : look_at_transports(settings)) {
    list.push_back({{"name", t.name},
                    {"usable", t.usable},
                    {"detail", t.detail},
                    {"version", t.version},
                    {"resources", t.resources}});
  }
  return list;
}

json meeting_json() {
  const MeetingPlace m = look_at_meeting(Environment::process());
  return {{"interface", m.interface},
          {"address", m.address},
          {"problem", m.problem},
          {"ports", m.ports},
          {"started_by", m.started_by}};
}

json selection_json(const Job& job, const Settings& settings) {
  json out;
  for (int c = 0; c < kCollectives; ++c) {
    json rows = json::array();
    for (const Row& row : selection_table(static_cast<Collective>(c), job.shape, settings.tuning,
                                          scratch_limits(job.layout.slots_size, job.layout.packets_size))) {
      const json bytes = row.bytes == UINT64_MAX ? json(nullptr) : json(row.bytes);
      rows.push_back({{"up_to_bytes", bytes}, {"algorithm", name_of(row.algorithm)}});
    }
    out[std::string(name_of(static_cast<Collective>(c)))] = rows;
  }
  return out;
}

json environment_json() {
  json list = json::array();
  for (const VariableDescription& v : Environment::process().describe()) {
    list.push_back({{"name", v.name},
                    {"value", v.value},
                    {"source", v.source},
                    {"default", v.default_value},
                    {"range", v.range},
                    {"affects_plan", v.plan},
                    {"help", v.help}});
  }
  return list;
}

std::string as_text(const Job& job, const Settings& settings) {
  return fmt::format("Tutti {}\n", kVersionText) + machine_text(look_at_machine()) +
         transports_text(settings) + devices_text() + meeting_text() + selection_text(job, settings) +
         environment_text();
}

std::string as_json(const Job& job, const Settings& settings) {
  const Machine machine = look_at_machine();
  json out;
  out["schema"] = "tutti-info/1";
  out["version"] = kVersionText;
  out["machine"] = machine_json(machine);
  out["topology"] = topology_json(machine);
  out["transports"] = transports_json(settings);
  out["devices"] = look_at_devices().devices;
  out["bootstrap"] = meeting_json();
  out["scratch"] = {{"ranks", job.shape.ranks},
                    {"nodes", job.shape.nodes},
                    {"window_bytes", job.layout.total},
                    {"packets_bytes", job.layout.packets_size},
                    {"slots_bytes", job.layout.slots_size},
                    {"statistics_bytes", job.layout.annex_size}};
  if (job.shape.nodes > 1) out["scratch"]["verbs_locked_bytes_per_rail"] = locked_bytes(job);
  out["selection"] = selection_json(job, settings);
  out["environment"] = environment_json();
  out["warnings"] = Environment::process().warnings();
  return out.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string describe(const std::string& format, const std::vector<int>& ranks_of_nodes) {
  if (format == "environment-markdown") return environment_markdown();
  if (format == "graphviz") return topology_graphviz(look_at_machine());
  const Settings settings = make_settings(Environment::process(), {});
  if (format == "text") return as_text(job_of(ranks_of_nodes, settings), settings);
  if (format == "json") return as_json(job_of(ranks_of_nodes, settings), settings);
  raise(Result::invalid_argument,
        "format '{}' does not exist; expected text, json, graphviz or environment-markdown", format);
}

std::string describe(const std::string& format, int ranks) {
  return describe(format, std::vector<int>{ranks});
}

}  // namespace tutti
