// Reads the machine from /proc, uname and the scheduler.
#include "benchmarks/machine.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string_view>

#include "benchmarks/mpi_session.h"

namespace tutti::bench {
namespace {

std::string trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(kBlank) - first + 1));
}

/// The value of "key : value", the first there is; empty when there is none.
std::string value_in(const char* file, std::string_view key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos && trimmed(line.substr(0, colon)) == key)
      return trimmed(line.substr(colon + 1));
  }
  return {};
}

uint64_t kilobytes_in_meminfo(std::string_view key) {
  const std::string value = value_in("/proc/meminfo", key);
  return value.empty() ? 0 : std::strtoull(value.c_str(), nullptr, 10) * 1024;
}

std::string cpu_model() {
  for (const char* key : {"model name", "Model", "cpu model"}) {
    std::string value = value_in("/proc/cpuinfo", key);
    if (!value.empty()) return value;
  }
  return "unknown";
}

std::string first_line(const char* file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return trimmed(line);
}

uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

std::string node_hash(const utsname& system) {
  return fmt::format("{:016x}",
                     fnv1a("tutti-bench/" + first_line("/etc/machine-id") + "/" + system.nodename));
}

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "gcc " __VERSION__;
#endif
}

using Processors = std::array<uint8_t, CPU_SETSIZE>;

Processors own_processors() {
  Processors usable{};
  cpu_set_t mine;
  CPU_ZERO(&mine);
  sched_getaffinity(0, sizeof mine, &mine);
  for (size_t cpu = 0; cpu < usable.size(); ++cpu) usable[cpu] = CPU_ISSET(cpu, &mine) ? 1 : 0;
  return usable;
}

int count(const Processors& processors) {
  return static_cast<int>(std::count(processors.begin(), processors.end(), 1));
}

std::string command_line(int argc, char** argv) {
  std::string text(argv[0]);
  text = text.substr(text.rfind('/') + 1);
  for (int i = 1; i < argc; ++i) text += fmt::format(" {}", argv[i]);
  return text;
}

}  // namespace

Machine describe_machine(int ranks, int argc, char** argv) {
  utsname system{};
  uname(&system);
  Machine machine;
  machine.cpu = cpu_model();
  machine.cores = count(own_processors());
  machine.memory_bytes = kilobytes_in_meminfo("MemTotal");
  machine.kernel = fmt::format("{} {}", system.sysname, system.release);
  machine.architecture = system.machine;
  machine.node = node_hash(system);
  machine.compiler = compiler();
  machine.tutti_version = library_version();
  machine.launch = "local";
  machine.ranks = ranks;
  machine.time = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  machine.command = command_line(argc, argv);
  return machine;
}

Machine describe_machine(World& world, int argc, char** argv) {
  Machine machine = describe_machine(world.size(), argc, argv);
  // Cores that any rank may run on: under mpirun each rank may be bound to one.
  Processors usable = own_processors();
  world.max(std::span<uint8_t>(usable));
  machine.cores = count(usable);
  if (world.launch() == Launch::mpi) machine.mpi = MpiSession::library();
  if (const char* yields = std::getenv("OMPI_MCA_mpi_yield_when_idle")) machine.mpi_yields = yields;
  machine.launch = world.launch_name();
  machine.nodes = world.nodes();
  return machine;
}

uint64_t available_memory() {
  return kilobytes_in_meminfo("MemAvailable");
}

}  // namespace tutti::bench
