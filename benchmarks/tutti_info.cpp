// tutti-info: what Tutti sees of this machine, which transports work and why others do not, every variable, and which
// algorithm is used when.
#include <fmt/format.h>
#include <tutti/tutti.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>
#include <tutti/tutti.hpp>

#include "core/units.h"

namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;
constexpr int kMostRanks = 1024;

std::string version() {
  const int number = tutti_version();
  return fmt::format("tutti-info (tutti {}.{}.{})", number / 10'000, number / 100 % 100, number % 100);
}

std::string describe(const char* format, int ranks) {
  size_t needed = 0;
  tutti::check(tutti_describe(format, ranks, nullptr, 0, &needed));
  std::string text(needed, '\0');
  tutti::check(tutti_describe(format, ranks, text.data(), text.size(), &needed));
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

int run(int argc, char** argv) {
  CLI::App app{"Shows the machine, its transports, every TUTTI_ variable and the choice of algorithms.",
               "tutti-info"};
  bool json = false;
  bool markdown = false;
  bool unique_id = false;
  std::string ranks = "4";
  app.set_version_flag("--version", version);
  auto* as_json = app.add_flag("--json", json, "All of it as JSON");
  auto* as_markdown =
      app.add_flag("--environment-markdown", markdown, "Only the variables, as docs/environment.md");
  auto* as_id = app.add_flag("--unique-id", unique_id, "Only a new unique id, for TUTTI_UNIQUE_ID");
  as_markdown->excludes(as_json);
  as_id->excludes(as_json)->excludes(as_markdown);
  app.add_option("--ranks", ranks, "Choose algorithms as for so many ranks (default 4)");
  app.footer("Exit status: 0 all was printed, 1 it failed, 2 bad option.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return print(app.help());
  } catch (const CLI::CallForVersion&) {
    return print(version() + "\n");
  } catch (const CLI::ParseError& error) {
    return usage_error(error.what());
  }
  const auto number = tutti::parse_integer(ranks);
  if (!number || *number < 1 || *number > kMostRanks) {
    return usage_error(fmt::format("--ranks: '{}' is not allowed; allowed: a whole number from 1 to {}",
                                   tutti::printable(ranks), kMostRanks));
  }
  if (unique_id) return print(tutti::UniqueId::create().hex() + "\n");
  return print(
      describe(json ? "json" : (markdown ? "environment-markdown" : "text"), static_cast<int>(*number)));
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
