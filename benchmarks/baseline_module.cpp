// dlopen, and what its messages leave out.
#include "benchmarks/baseline_module.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <system_error>
#include <vector>

#include "benchmarks/options.h"
#include "core/units.h"

namespace tutti::bench {
namespace {

using std::filesystem::path;

std::vector<path> directories(const std::string& directory) {
  if (!directory.empty()) return {directory};
  std::error_code error;
  const path program = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  return {program, (program / TUTTI_PEERS_INSTALLED).lexically_normal()};
}

path find_file(const std::string& name, const std::string& directory) {
  const std::string file = fmt::format("tutti_bench_{}.so", name);
  std::vector<std::string> looked;
  for (const path& place : directories(directory)) {
    std::error_code error;
    if (std::filesystem::is_regular_file(place / file, error)) return std::filesystem::absolute(place / file);
    looked.push_back(printable(place.string()));
  }
  throw UsageError(
      fmt::format("--baseline {}: no {} in {}: it is built where {} is installed (docs/benchmarking.md)",
                  name, file, fmt::join(looked, " or "), name == "ucc" ? "UCC" : "Gloo"));
}

template <typename Function>
Function* function_of(void* module, const char* symbol, const std::string& name, const path& file) {
  void* found = dlsym(module, symbol);
  if (found == nullptr)
    throw UsageError(
        fmt::format("--baseline {}: {} is no module of this program", name, printable(file.string())));
  return reinterpret_cast<Function*>(found);
}

}  // namespace

BaselineModule::BaselineModule(const std::string& name, const std::string& directory) {
  const path file = find_file(name, directory);
  void* module = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: its threads may still run
  if (module == nullptr) {
    const char* why = dlerror();
    throw UsageError(fmt::format("--baseline {}: {}", name, why == nullptr ? file.string() : why));
  }
  const auto interface = function_of<tutti_bench_interface_fn>(module, "tutti_bench_interface", name, file)();
  if (interface != kBaselineInterface)
    throw UsageError(
        fmt::format("--baseline {}: {} is of another build of this program", name, printable(file.string())));
  make_ = function_of<tutti_bench_make_fn>(module, "tutti_bench_make", name, file);
}

std::unique_ptr<Baseline> BaselineModule::make(const BaselineSetup& setup) const {
  std::unique_ptr<Baseline> baseline;
  make_(setup, baseline);
  return baseline;
}

}  // namespace tutti::bench
