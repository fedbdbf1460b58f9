// What the texts on port_bench's command line mean.
#include "benchmarks/port_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "core/units.h"

namespace tutti::bench {

namespace {

constexpr int kUsage = 2;

/// As they were written.
struct PortTexts {
  std::string transport = "verbs";
  std::string test = "both";
  std::string min_bytes = "8";
  std::string max_bytes = "64K";
  std::string factor = "2";
  std::string rounds = "1000";
  std::string warmup = "20";
  std::string checked = "20";
  std::string window = "16";
};

uint64_t number(const char* option, const std::string& text, uint64_t low, uint64_t high) {
  const auto value = parse_integer(text);
  if (!value || *value < low || *value > high) {
    throw CLI::ValidationError(fmt::format("{}: '{}' is not allowed; allowed: a whole number from {} to {}",
                                           option, printable(text), low, high));
  }
  return *value;
}

uint64_t size(const char* option, const std::string& text) {
  constexpr uint64_t kMost = uint64_t{256} << 20;
  const auto value = parse_size(text);
  if (!value || *value < 1 || *value > kMost) {
    throw CLI::ValidationError(
        fmt::format("{}: '{}' is not allowed; allowed: a size from 1 to {}, such as 8, 64K or 1M", option,
                    printable(text), format_size(kMost)));
  }
  return *value;
}

void declare(CLI::App& app, PortTexts& texts, PortBenchOptions& options) {
  const auto option = [&app](const char* names, std::string& text, const char* type, const char* help) {
    app.add_option(names, text, help)->type_name(type);
  };
  option("--transport", texts.transport, "NAME", "verbs or ucx (default verbs)");
  option("--test", texts.test, "NAME", "latency, bandwidth or both (default both)");
  option("-b,--minbytes", texts.min_bytes, "SIZE", "Smallest message, such as 8, 64K or 1M (default 8)");
  option("-e,--maxbytes", texts.max_bytes, "SIZE", "Largest message (default 64K)");
  option("-f,--stepfactor", texts.factor, "N", "Each message is so many times the last (default 2)");
  option("-n,--iters", texts.rounds, "N", "Round trips of latency, messages of bandwidth (default 1000)");
  option("-w,--warmup", texts.warmup, "N", "So many before them that do not count (default 20)");
  option("-c,--check", texts.checked, "N",
         "So many before those of which every byte is verified (default 20)");
  option("--window", texts.window, "N", "Bandwidth: messages that may be on their way (default 16)");
  app.add_option("--json", options.json, "Also write the results to this file")->type_name("FILE");
  app.add_flag("--plant-wrong", options.plant_wrong, "For tests: rank 1 sends one byte wrong")->group("");
  app.footer(
      "Both ranks are started by TUTTI_RANK, TUTTI_SIZE=2 and TUTTI_UNIQUE_ID, by torchrun's variables or by "
      "a launcher with PMIx.\n"
      "Exit status: 0 all is well, 1 something failed or a byte was wrong, 2 bad option.");
}

PortBenchOptions values_of(const PortTexts& texts, PortBenchOptions options) {
  if (texts.transport != "verbs" && texts.transport != "ucx") {
    throw CLI::ValidationError(
        fmt::format("--transport: '{}' is not allowed; allowed: verbs, ucx", printable(texts.transport)));
  }
  if (texts.test != "latency" && texts.test != "bandwidth" && texts.test != "both") {
    throw CLI::ValidationError(
        fmt::format("--test: '{}' is not allowed; allowed: latency, bandwidth, both", printable(texts.test)));
  }
  options.transport = texts.transport;
  options.latency = texts.test != "bandwidth";
  options.bandwidth = texts.test != "latency";
  options.min_bytes = size("--minbytes", texts.min_bytes);
  options.max_bytes = size("--maxbytes", texts.max_bytes);
  options.factor = number("--stepfactor", texts.factor, 2, 1024);
  options.rounds = number("--iters", texts.rounds, 1, 10'000'000);
  options.warmup = number("--warmup", texts.warmup, 0, 1'000'000);
  options.checked = number("--check", texts.checked, 0, 1'000'000);
  options.window = number("--window", texts.window, 2, 1024);
  if (options.min_bytes > options.max_bytes) {
    throw CLI::ValidationError(fmt::format("--minbytes {} is more than --maxbytes {}",
                                           format_size(options.min_bytes), format_size(options.max_bytes)));
  }
  if (options.max_bytes * options.window * 2 > kMostPortMemory) {
    throw CLI::ValidationError(
        fmt::format("--maxbytes {} times --window {}, for both directions: more than {}",
                    format_size(options.max_bytes), options.window, format_size(kMostPortMemory)));
  }
  return options;
}

}  // namespace

std::vector<uint64_t> PortBenchOptions::sizes() const {
  std::vector<uint64_t> all;
  for (uint64_t bytes = min_bytes; bytes <= max_bytes; bytes *= factor) all.push_back(bytes);
  return all;
}

std::string PortBenchOptions::digest() const {
  return fmt::format(
      "--transport={}\n--test latency={}\n--test "
      "bandwidth={}\n--minbytes={}\n--maxbytes={}\n--stepfactor={}\n"
      "--iters={}\n--warmup={}\n--check={}\n--window={}\n",
      transport, latency, bandwidth, min_bytes, max_bytes, factor, rounds, warmup, checked, window);
}

ParsedPortOptions parse_port_options(int argc, char** argv) {
  CLI::App app{
      "Measures one port of a transport between two ranks, without any collective: how long a put and its "
      "signal take, and how "
      "many bytes per second pass.",
      "port_bench"};
  PortTexts texts;
  PortBenchOptions options;
  declare(app, texts, options);
  try {
    app.parse(argc, argv);
    return {.options = values_of(texts, options), .text = {}};
  } catch (const CLI::CallForHelp&) {
    return {.options = {}, .text = app.help()};
  } catch (const CLI::ParseError& error) {
    return {{}, kUsage, fmt::format("port_bench: {}\nTry 'port_bench --help'.\n", error.what())};
  }
}

}  // namespace tutti::bench
