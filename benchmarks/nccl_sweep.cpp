// Runs of this program with other settings of NCCL, and the best of their rows.
#include "benchmarks/nccl_sweep.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string_view>
#include <system_error>

#include "benchmarks/local_ranks.h"
#include "benchmarks/report.h"
#include "benchmarks/results.h"

namespace tutti::bench {
namespace {

namespace fs = std::filesystem;

struct Setting {
  const char* algorithm;  // null: NCCL's own choice
  const char* protocol;

  std::string text() const {
    return algorithm == nullptr ? "NCCL's own choice"
                                : fmt::format("NCCL_ALGO={} NCCL_PROTO={}", algorithm, protocol);
  }
};

std::vector<Setting> settings_for(Kind kind) {
  std::vector<Setting> settings{{nullptr, nullptr}, {"Ring", "LL"}, {"Ring", "LL128"}, {"Ring", "Simple"}};
  if (kind == Kind::all_reduce)
    settings.insert(settings.end(), {{"Tree", "LL"}, {"Tree", "LL128"}, {"Tree", "Simple"}});
  return settings;
}

/// A directory that is gone afterwards.
class Scratch {
 public:
  Scratch() {
    std::string pattern = (fs::temp_directory_path() / "tutti-bench-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr)
      throw std::system_error(errno, std::generic_category(), "a temporary directory");
    path_ = pattern;
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::string file(const char* name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

std::string content(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string last_line(const std::string& text) {
  const size_t last = text.find_last_not_of('\n');
  if (last == std::string::npos) return "no reason is given";
  const size_t newline = text.rfind('\n', last);
  const size_t first = newline == std::string::npos ? 0 : newline + 1;
  return text.substr(first, last + 1 - first);
}

/// What the child does: never returns.
[[noreturn]] void become(std::vector<std::string> arguments, const Setting& setting, const std::string& log) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ::dup2(fd, STDOUT_FILENO);
  ::dup2(fd, STDERR_FILENO);
  if (setting.algorithm != nullptr) {
    setenv("NCCL_ALGO", setting.algorithm, 1);
    setenv("NCCL_PROTO", setting.protocol, 1);
  }
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  ::execv("/proc/self/exe", argv.data());
  std::_Exit(127);
}

/// Runs this program once more; its exit status, 1 where a signal ended it.
int run_with(const std::vector<std::string>& arguments, const Setting& setting, const std::string& log) {
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) become(arguments, setting, log);
  if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "waitpid");
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

std::vector<Pair> pairs_of(const std::vector<Row>& rows) {
  std::vector<Pair> pairs;
  for (const Row& row : rows) {
    if (row.library == "tutti" || pairs.empty()) pairs.emplace_back();
    pairs.back().push_back(row);
  }
  return pairs;
}

}  // namespace

std::vector<std::string> sweep_arguments(const std::vector<std::string>& arguments, const std::string& json) {
  std::vector<std::string> kept;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--json") ++i;
    if (argument == "--json" || argument.starts_with("--json=") || argument.starts_with("--nccl-sweep"))
      continue;
    kept.push_back(argument);
  }
  kept.insert(kept.end(), {"--json", json});
  return kept;
}

void keep_best(std::vector<Pair>& best, const std::vector<Pair>& run) {
  if (best.empty()) {
    best = run;
    return;
  }
  best.resize(std::min(best.size(), run.size()));
  for (size_t i = 0; i < best.size(); ++i) {
    if (run[i].size() < 2) continue;
    const double now = run[i][1].us.p50.value_or(0);
    if (best[i].size() < 2 || now < best[i][1].us.p50.value_or(0)) best[i] = run[i];
  }
}

int sweep_nccl(const CollectiveInfo& collective, const Options& options, int argc, char** argv) {
  ::signal(SIGCHLD, SIG_DFL);  // ignored, as some starters leave it, waitpid would find nobody
  const Scratch scratch;
  Report report(collective, options, true);
  Machine machine = describe_machine(options.device->ranks(), argc, argv);
  const std::string json = scratch.file("result.json");
  const std::vector<std::string> arguments = sweep_arguments({argv, argv + argc}, json);
  std::vector<Pair> best;
  size_t planned = 0;
  for (const Setting& setting : settings_for(collective.kind)) {
    if (interrupted()) break;
    const std::string log = scratch.file("log");
    fs::remove(json);
    const int code = run_with(arguments, setting, log);
    if (!fs::exists(json)) {
      report.remark(
          fmt::format("{}: left out, status {}: {}", setting.text(), code, last_line(content(log))));
      continue;
    }
    const Results results = read_results(collective, content(json));
    report.remark(fmt::format("{}: measured{}", setting.text(), code == 0 ? "" : ", with wrong results"));
    const std::vector<Pair> pairs = pairs_of(results.rows);
    planned = std::max(planned, pairs.size());
    keep_best(best, pairs);
    if (results.gpu) machine.gpu = results.gpu;
  }
  if (best.empty() && !interrupted())
    throw std::runtime_error("--nccl-sweep: no setting of NCCL could be measured");
  report.header(machine);
  for (const Pair& pair : best) report.keep(pair);
  return report.finish(machine, planned, interrupted());
}

}  // namespace tutti::bench
