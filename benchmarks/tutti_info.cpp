// tutti-info: what Tutti sees of this machine, which transports work and why others do not, where ranks would meet, every variable,
// and which algorithm is used when.
#include <fmt/format.h>
#include <tutti/tutti.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <numeric>
#include <stdexcept>
#include <string>
#include <tutti/tutti.hpp>
#include <vector>

#include "core/units.h"

namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;
constexpr int kMostRanks = 1024;

class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

std::string version() {
  const int number = tutti_version();
  return fmt::format("tutti-info (tutti {}.{}.{})", number / 10'000, number / 100 % 100, number % 100);
}

std::string describe(const std::string& format, const std::vector<int>& ranks_of_nodes) {
  const auto nodes = static_cast<int>(ranks_of_nodes.size());
  const auto ask = [&](char* text, size_t size, size_t& needed) {
    tutti::check(tutti_describe_nodes(format.c_str(), ranks_of_nodes.data(), nodes, text, size, &needed));
  };
  size_t needed = 0;
  ask(nullptr, 0, needed);
  std::string text(needed, '\0');
  ask(text.data(), text.size(), needed);
  text.resize(text.find('\0') == std::string::npos ? text.size() : text.find('\0'));
  if (!text.empty() && text.back() != '\n') text += '\n';
  return text;
}

int print(const std::string& text) {
  const bool written =
      std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  if (!written) std::perror("tutti-info: standard output");
  return written ? 0 : kFailed;
}

int usage_error(const std::string& message) {
  fmt::print(stderr, "tutti-info: {}\nTry 'tutti-info --help'.\n", message);
  return kUsage;
}

struct Options {
  std::string format = "text";
  bool unique_id = false;
  std::vector<int> ranks_of_nodes = {4};
};

int ranks_in(const char* option, const std::string& text) {
  const auto number = tutti::parse_integer(text);
  if (!number || *number < 1 || *number > kMostRanks) {
    throw UsageError(fmt::format("{}: '{}' is not allowed; allowed: a whole number from 1 to {}", option,
                                 tutti::printable(text), kMostRanks));
  }
  return static_cast<int>(*number);
}

/// "2,2": ranks on each node.
std::vector<int> nodes_in(const std::string& text) {
  std::vector<int> nodes;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    nodes.push_back(ranks_in("--nodes", text.substr(at, comma - at)));
    at = comma + 1;
  }
  return nodes;
}

/// --ranks and --nodes together must agree.
std::vector<int> job_of(const std::string& ranks, const std::string& nodes) {
  if (nodes.empty()) return {ranks.empty() ? 4 : ranks_in("--ranks", ranks)};
  std::vector<int> all = nodes_in(nodes);
  const int sum = std::accumulate(all.begin(), all.end(), 0);
  if (!ranks.empty() && ranks_in("--ranks", ranks) != sum) {
    throw UsageError(fmt::format("--ranks {} and --nodes {}: the nodes have {} ranks", ranks, nodes, sum));
  }
  return all;
}

void add_options(CLI::App& app, Options& options, std::string& ranks, std::string& nodes) {
  const auto set_format = [&options](const char* format) {
    return [&options, format](int64_t) { options.format = format; };
  };
  app.set_version_flag("--version", version);
  auto* format = app.add_option("--format", options.format, "text, json or graphviz (the topology, for dot)");
  format->check(CLI::IsMember({"text", "json", "graphviz"}));
  auto* json = app.add_flag_function("--json", set_format("json"), "All of it as JSON");
  auto* markdown = app.add_flag_function("--environment-markdown", set_format("environment-markdown"),
                                         "Only the variables, as docs/environment.md");
  auto* id = app.add_flag("--unique-id", options.unique_id, "Only a new unique id, for TUTTI_UNIQUE_ID");
  json->excludes(format);
  markdown->excludes(format)->excludes(json);
  id->excludes(format)->excludes(json)->excludes(markdown);
  app.add_option("--ranks", ranks, "Choose algorithms as for so many ranks (default 4)");
  app.add_option("--nodes", nodes, "Choose them as for ranks on several nodes: 2,2 for two on each of two");
  app.footer("Exit status: 0 all was printed, 1 it failed, 2 bad option.");
}

int run(int argc, char** argv) {
  CLI::App app{"Shows the machine, its transports, every TUTTI_ variable and the choice of algorithms.",
               "tutti-info"};
  Options options;
  std::string ranks;
  std::string nodes;
  add_options(app, options, ranks, nodes);
  try {
    app.parse(argc, argv);
    options.ranks_of_nodes = job_of(ranks, nodes);
  } catch (const CLI::CallForHelp&) {
    return print(app.help());
  } catch (const CLI::CallForVersion&) {
    return print(version() + "\n");
  } catch (const CLI::ParseError& error) {
    return usage_error(error.what());
  } catch (const UsageError& error) {
    return usage_error(error.what());
  }
  if (options.unique_id) return print(tutti::UniqueId::create().hex() + "\n");
  return print(describe(options.format, options.ranks_of_nodes));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "tutti-info: {}\n", error.what());
    return kFailed;
  }
}
