// What the texts on the command line mean. Every value is read strictly, so that each error names the option, what
// came and what is allowed.
#include "benchmarks/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <span>
#include <string_view>
#include <utility>

#include "benchmarks/names.h"
#include "benchmarks/option_texts.h"
#include "core/units.h"

namespace tutti::bench {
namespace {

[[noreturn]] void bad_value(std::string_view option, std::string_view value, std::string_view allowed) {
  throw UsageError(fmt::format("{}: '{}' is not allowed; allowed: {}", option, printable(value), allowed));
}

uint64_t whole_number(std::string_view option, const std::string& text, uint64_t low, uint64_t high) {
  const std::optional<uint64_t> value = parse_integer(text);
  if (!value || *value < low || *value > high) {
    bad_value(option, text, fmt::format("a whole number from {} to {}", low, high));
  }
  return *value;
}

uint64_t byte_count(std::string_view option, const std::string& text, uint64_t low) {
  const std::optional<uint64_t> value = parse_size(text);
  if (!value || *value < low || *value > kLargestMessage) {
    bad_value(option, text,
              fmt::format("a size from {} to {}, such as 8, 64K or 128M", low, format_size(kLargestMessage)));
  }
  return *value;
}

double positive_number(std::string_view option, const std::string& text, double most,
                       std::string_view allowed) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  if (!whole || !(value > 0) || value > most) bad_value(option, text, allowed);
  return value;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  size_t start = 0;
  for (size_t at = text.find(separator); at != std::string::npos; at = text.find(separator, start)) {
    parts.push_back(text.substr(start, at - start));
    start = at + 1;
  }
  parts.push_back(text.substr(start));
  return parts;
}

// ---- Sizes ----

constexpr size_t kMostSizes = 10'000;

std::vector<uint64_t> sweep(uint64_t low, uint64_t high, uint64_t factor, uint64_t step) {
  std::vector<uint64_t> sizes;
  for (uint64_t bytes = low; bytes <= high;) {
    if (sizes.size() == kMostSizes) {
      throw UsageError(fmt::format("more than {} sizes from {} to {}: choose a larger step", kMostSizes,
                                   format_size(low), format_size(high)));
    }
    sizes.push_back(bytes);
    // A factor gets nowhere from 0.
    bytes = step != 0 ? bytes + step : (bytes == 0 ? 8 : bytes * factor);
  }
  return sizes;
}

std::vector<uint64_t> read_sizes(const OptionTexts& texts) {
  constexpr uint64_t kLow = 8;
  constexpr uint64_t kHigh = uint64_t{32} << 20;
  if (texts.step_factor && texts.step_bytes) {
    throw UsageError("--stepfactor and --stepbytes: give one of the two");
  }
  uint64_t low = texts.min_bytes ? byte_count("--minbytes", *texts.min_bytes, 0) : kLow;
  uint64_t high = texts.max_bytes ? byte_count("--maxbytes", *texts.max_bytes, 0) : kHigh;
  if (!texts.max_bytes) high = std::max(low, high);
  if (!texts.min_bytes) low = std::min(low, high);
  if (high < low) {
    bad_value("--maxbytes", *texts.max_bytes, fmt::format("at least --minbytes, {}", format_size(low)));
  }
  uint64_t factor = 4;
  uint64_t step = 0;
  if (texts.step_factor) factor = whole_number("--stepfactor", *texts.step_factor, 2, 1'000'000);
  if (texts.step_bytes) step = byte_count("--stepbytes", *texts.step_bytes, 1);
  return sweep(low, high, factor, step);
}

// ---- Names ----

constexpr Named<Plant> kPlants[] = {
    {"none", Plant::none}, {"checked", Plant::checked}, {"timed", Plant::timed}, {"last", Plant::last}};

/// A name, several separated by commas, or "all".
template <typename Value>
std::vector<Value> read_names(std::string_view option, const std::string& text,
                              std::span<const Named<Value>> table, std::span<const Named<Value>> aliases) {
  std::vector<Value> values;
  if (text == "all") {
    for (const auto& entry : table) values.push_back(entry.value);
    return values;
  }
  for (const std::string& part : split(text, ',')) {
    const Named<Value>* entry = find_name(table, part);
    if (entry == nullptr) entry = find_name(aliases, part);
    if (entry == nullptr) bad_value(option, part, names_of(table) + ", all");
    if (std::find(values.begin(), values.end(), entry->value) == values.end()) values.push_back(entry->value);
  }
  return values;
}

std::vector<bool> read_placements(const CollectiveInfo& collective, const OptionTexts& texts) {
  if (texts.in_place && texts.placement) throw UsageError("--in-place and --placement: give one of the two");
  if (texts.in_place || texts.placement == "in") return {true};
  if (texts.placement == "out") return {false};
  if (texts.placement == "both") return {false, true};
  if (texts.placement) bad_value("--placement", *texts.placement, "in, out, both");
  return {collective.in_place_by_default};
}

// ---- Everything ----

void read_measurement(const OptionTexts& texts, Options& options) {
  constexpr uint64_t kMostIterations = 100'000'000;
  if (texts.iterations) {
    options.iterations = static_cast<int64_t>(whole_number("--iters", *texts.iterations, 1, kMostIterations));
  }
  if (texts.warmup) {
    options.warmup = static_cast<int64_t>(whole_number("--warmup_iters", *texts.warmup, 0, kMostIterations));
  }
  if (texts.checks) {
    options.checks = static_cast<int64_t>(whole_number("--check", *texts.checks, 0, kMostIterations));
  }
  if (texts.seconds)
    options.seconds =
        positive_number("--seconds", *texts.seconds, 3600, "seconds above 0, up to 3600, such as 0.5");
  if (texts.timeout) {
    const std::optional<uint64_t> ns = parse_duration(*texts.timeout);
    constexpr uint64_t kDayNs = uint64_t{86'400} * 1'000'000'000;
    if (!ns || *ns == 0 || *ns > kDayNs)
      bad_value("--timeout", *texts.timeout, "a time up to 24h, such as 30s or 5m");
    options.timeout_ns = static_cast<int64_t>(*ns);
  }
}

int rank_number(std::string_view option, const std::string& text) {
  return static_cast<int>(whole_number(option, text, 0, kMostRanks - 1));
}

constexpr uint64_t kMostRanksPerGpu = 64;
constexpr uint64_t kMostChain = 10'000;
constexpr int64_t kDefaultChain = 20;

/// --chain K with K above 1 is --mode chain.
void read_mode(const OptionTexts& texts, Options& options) {
  if (texts.chain) options.chain = static_cast<int64_t>(whole_number("--chain", *texts.chain, 1, kMostChain));
  if (!texts.mode) return;
  if (*texts.mode == "chain") {
    if (!texts.chain) options.chain = kDefaultChain;
    if (options.chain == 1) throw UsageError("--chain: a chain is of at least 2 calls with --mode chain");
  } else if (*texts.mode == "isolated") {
    if (options.chain > 1) throw UsageError("--chain: with --mode isolated each call is timed by itself");
  } else {
    bad_value("--mode", *texts.mode, "isolated, chain");
  }
}

void read_duration(const OptionTexts& texts, Options& options) {
  if (!texts.duration) return;
  constexpr uint64_t kLeastNs = 1'000'000'000;
  constexpr uint64_t kDayNs = 86'400 * kLeastNs;
  const std::optional<uint64_t> ns = parse_duration(*texts.duration);
  if (!ns || *ns < kLeastNs || *ns > kDayNs)
    bad_value("--duration", *texts.duration, "a time from 1s to 24h, such as 10s or 10m");
  if (texts.seconds || texts.iterations)
    throw UsageError("--duration, --seconds, --iters: give one of the three");
  options.seconds = static_cast<double>(*ns) * 1e-9;
  options.windows = true;
}

void read_rate(const OptionTexts& texts, Options& options) {
  if (!texts.rate) return;
  options.rate = positive_number("--rate", *texts.rate, 10e6, "calls in a second, above 0, up to 10000000");
  if (options.chain > 1) throw UsageError("--rate: one call at each time; not with a chain");
}

void read_skew(const OptionTexts& texts, Options& options) {
  if (!texts.skew) return;
  constexpr double kMostUs = 10e6;
  const std::vector<std::string> parts = split(*texts.skew, ':');
  if (parts.size() < 2 || parts.size() > 3)
    bad_value("--skew", *texts.skew, "RANK:US or RANK:US:PERIOD, such as 1:200 or 1:200:10");
  LateRank late;
  late.rank = rank_number("--skew", parts[0]);
  late.us = positive_number("--skew", parts[1], kMostUs, "microseconds above 0, up to 10000000");
  if (parts.size() == 3) late.period = static_cast<int64_t>(whole_number("--skew", parts[2], 1, 1'000'000));
  options.late_rank = late;
}

void read_noise(const OptionTexts& texts, Options& options) {
  if (!texts.noise) return;
  const std::vector<std::string> parts = split(*texts.noise, ':');
  if (parts.size() > 2) bad_value("--noise", *texts.noise, "CORE or CORE:PERCENT, such as 1 or 1:50");
  NoiseOptions noise;
  noise.core = static_cast<int>(whole_number("--noise", parts[0], 0, 1023));
  if (parts.size() == 2) noise.percent = static_cast<int>(whole_number("--noise", parts[1], 1, 100));
  options.noise = noise;
}

void read_aggressor(const CollectiveInfo& collective, const OptionTexts& texts, Options& options) {
  if (!texts.aggressor) return;
  constexpr uint64_t kMostBytes = uint64_t{1} << 30;
  const std::vector<std::string> parts = split(*texts.aggressor, ':');
  AggressorOptions aggressor;
  aggressor.collective = collective.kind == Kind::all_reduce ? "broadcast" : "all_reduce";
  if (parts.size() == 2) aggressor.collective = parts[0];
  const bool known = aggressor.collective == "broadcast" || aggressor.collective == "all_reduce";
  if (parts.size() > 2 || !known)
    bad_value("--aggressor", *texts.aggressor,
              "SIZE or COLLECTIVE:SIZE, all_reduce or broadcast, such as broadcast:1M");
  aggressor.bytes = byte_count("--aggressor", parts.back(), 4);
  if (aggressor.bytes > kMostBytes) bad_value("--aggressor", parts.back(), "a size from 4 to 1G");
  options.aggressor = aggressor;
}

void read_plants(const OptionTexts& texts, Options& options) {
  if (texts.plant_error) {
    const std::vector<std::string> parts = split(*texts.plant_error, ':');
    if (parts.size() > 2) bad_value("--plant-error", *texts.plant_error, "WHERE or WHERE:LIBRARY");
    options.plant_error = read_names<Plant>("--plant-error", parts[0], kPlants, {}).front();
    if (parts.size() == 2) options.plant_library = parts[1];
  }
  if (texts.plant_death) options.plant_death = rank_number("--plant-death", *texts.plant_death);
  if (texts.plant_slowdown) {
    if (*texts.plant_slowdown != "0")
      options.plant_slowdown =
          positive_number("--plant-slowdown", *texts.plant_slowdown, 1000, "a percentage from 0 to 1000") /
          100;
  }
}

constexpr std::string_view kHostBaselines[] = {"mpi", "ucc", "gloo"};

/// In the order in which they were named, each once.
std::vector<std::string> read_baselines(const OptionTexts& texts) {
  if (!texts.baseline) return {};
  std::vector<std::string> names;
  for (const std::string& name : split(*texts.baseline, ',')) {
    const bool known = name == "nccl" || std::find(std::begin(kHostBaselines), std::end(kHostBaselines),
                                                   name) != std::end(kHostBaselines);
    if (!known) bad_value("--baseline", name, "mpi, ucc, gloo, nccl");
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

/// NCCL is for device memory, all others for host memory.
void read_host_baselines(const OptionTexts& texts, Options& options) {
  options.baselines = read_baselines(texts);
  if (std::count(options.baselines.begin(), options.baselines.end(), "nccl") != 0)
    throw UsageError("--baseline nccl: needs --memory device");
  options.peers = texts.peers.value_or("");
  const bool has_module = std::any_of(options.baselines.begin(), options.baselines.end(),
                                      [](const std::string& name) { return name != "mpi"; });
  if (texts.peers && !has_module) throw UsageError("--peers: needs --baseline ucc or gloo");
}

/// Options that mean nothing on host memory.
void refuse_device_options(const OptionTexts& texts) {
  const std::pair<const char*, bool> given[] = {
      {"--ranks-per-gpu", texts.ranks_per_gpu.has_value()},
      {"--devices", texts.devices.has_value()},
      {"--graph", texts.graph},
      {"--one-stream", texts.one_stream},
      {"--nccl", texts.nccl.has_value()},
      {"--nccl-sweep", texts.nccl_sweep},
  };
  for (const auto& [option, is_given] : given) {
    if (is_given) throw UsageError(fmt::format("{}: needs --memory device", option));
  }
}

/// Options of measurements that exist on host memory alone.
void refuse_host_options(const OptionTexts& texts) {
  const std::pair<const char*, bool> given[] = {
      {"--rate", texts.rate.has_value()},
      {"--duration", texts.duration.has_value()},
      {"--skew", texts.skew.has_value()},
      {"--noise", texts.noise.has_value()},
      {"--aggressor", texts.aggressor.has_value()},
      {"--limits", texts.limits},
      {"--plant-slowdown", texts.plant_slowdown.has_value()},
      {"--peers", texts.peers.has_value()},
  };
  for (const auto& [option, is_given] : given) {
    if (is_given) throw UsageError(fmt::format("{}: is for host memory", option));
  }
}

DeviceOptions read_device_options(const OptionTexts& texts) {
  DeviceOptions options;
  refuse_host_options(texts);
  if (texts.local_ranks)
    throw UsageError(
        "--np: with --memory device all ranks are in this process; --ranks-per-gpu says how many");
  const std::vector<std::string> baselines = read_baselines(texts);
  for (const std::string& name : baselines) {
    if (name != "nccl")
      throw UsageError(fmt::format("--baseline {}: measures host memory; with --memory device: nccl", name));
  }
  if (texts.ranks_per_gpu) {
    options.ranks_per_gpu =
        static_cast<int>(whole_number("--ranks-per-gpu", *texts.ranks_per_gpu, 1, kMostRanksPerGpu));
  }
  if (texts.devices) {
    options.devices.clear();
    for (const std::string& part : split(*texts.devices, ',')) {
      const int device = static_cast<int>(whole_number("--devices", part, 0, 1023));
      if (std::count(options.devices.begin(), options.devices.end(), device) != 0)
        throw UsageError(fmt::format(
            "--devices: {} stands there twice; --ranks-per-gpu puts several ranks on it", device));
      options.devices.push_back(device);
    }
  }
  options.graph = texts.graph;
  options.one_stream = texts.one_stream;
  options.baseline_nccl = !baselines.empty();
  options.nccl = texts.nccl.value_or(options.nccl);
  options.nccl_sweep = texts.nccl_sweep;
  if ((texts.nccl || texts.nccl_sweep) && !options.baseline_nccl)
    throw UsageError("--nccl, --nccl-sweep: need --baseline nccl");
  if (options.one_stream && (options.baseline_nccl || options.devices.size() > 1))
    throw UsageError("--one-stream: NCCL needs a stream for each rank, and each device one of its own");
  return options;
}

void read_output(const OptionTexts& texts, Options& options) {
  options.json = texts.json.value_or("");
  options.raw = texts.raw.value_or("");
  options.wide = texts.wide;
  if (!options.raw.empty() && options.raw == options.json)
    throw UsageError("--raw, --json: each needs a file of its own");
  if (!options.raw.empty() && texts.nccl_sweep)
    throw UsageError("--raw: --nccl-sweep keeps the best of several runs, which have no samples in common");
}

Options read_options(const CollectiveInfo& collective, const OptionTexts& texts) {
  Options options;
  options.sizes = read_sizes(texts);
  read_measurement(texts, options);
  read_mode(texts, options);
  read_duration(texts, options);
  read_rate(texts, options);
  read_skew(texts, options);
  read_noise(texts, options);
  read_aggressor(collective, texts, options);
  options.limits = texts.limits;
  options.registered = texts.registered;
  if (texts.datatype) {
    options.datatypes =
        read_names<tutti_datatype_t>("--datatype", *texts.datatype, kDatatypes, kDatatypeAliases);
  }
  if (texts.op) options.ops = read_names<tutti_op_t>("--op", *texts.op, kOps, {});
  if (texts.root == "all") {
    options.root.reset();
  } else if (texts.root) {
    options.root = rank_number("--root", *texts.root);
  }
  options.placements = read_placements(collective, texts);
  if (texts.local_ranks) {
    options.local_ranks = static_cast<int>(whole_number("--np", *texts.local_ranks, 1, kMostRanks));
  }
  if (texts.memory == "device") {
    options.device = read_device_options(texts);
  } else {
    if (texts.memory && texts.memory != "host") bad_value("--memory", *texts.memory, "host, device");
    refuse_device_options(texts);
    read_host_baselines(texts, options);
  }
  options.algorithm = texts.algorithm.value_or("");
  read_output(texts, options);
  read_plants(texts, options);
  return options;
}

std::string footer(const CollectiveInfo& collective) {
  return fmt::format(
      "\nTimes are in microseconds. Each iteration's time is the maximum over the ranks of (exit - own "
      "entry) after\n"
      "a barrier; the percentiles are over the iterations, and one that needs more iterations prints as -.\n"
      "On device memory they are measured by CUDA events, from the call's beginning on its streams to its "
      "end on "
      "the last.\n"
      "algbw = bytes / p50; busbw = algbw times {}, as nccl-tests defines it.\n\n"
      "Exit status: 0 all results are right, 1 a result is wrong or the run failed, 2 bad option, 130 "
      "interrupted.\n\n"
      "Examples, after {}:\n{}",
      collective.kind == Kind::all_reduce ? "2 (n - 1) / n" : "1", collective.program, collective.examples);
}

}  // namespace

bool Options::has_out_of_place() const {
  return std::find(placements.begin(), placements.end(), false) != placements.end();
}

std::string library_version() {
  const int version = tutti_version();
  return fmt::format("{}.{}.{}", version / 10'000, version / 100 % 100, version % 100);
}

ParsedOptions parse_options(const CollectiveInfo& collective, std::vector<std::string> arguments) {
  OptionTexts texts;
  CLI::App app{collective.summary, collective.program};
  app.set_version_flag("--version",
                       [&] { return fmt::format("{} (tutti {})", collective.program, library_version()); });
  app.get_formatter()->column_width(34);
  app.footer(footer(collective));
  declare_options(app, collective, texts);

  ParsedOptions result;
  const auto usage_error = [&](const std::string& message) {
    result.exit_code = 2;
    result.text = fmt::format("{}: {}\nTry '{} --help'.\n", collective.program, message, collective.program);
  };
  try {
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    app.parse(std::move(arguments));
    result.options = read_options(collective, texts);
  } catch (const CLI::CallForHelp&) {
    result.text = app.help();
  } catch (const CLI::CallForVersion& version) {
    result.text = std::string(version.what()) + "\n";
  } catch (const CLI::ParseError& error) {
    usage_error(error.what());
  } catch (const UsageError& error) {
    usage_error(error.what());
  }
  return result;
}

void check_ranks(const Options& options, int ranks) {
  static_cast<void>(roots_for(options, ranks));
  if (options.late_rank && options.late_rank->rank >= ranks)
    bad_value("--skew", std::to_string(options.late_rank->rank), fmt::format("ranks 0 to {}", ranks - 1));
}

std::vector<int> roots_for(const Options& options, int ranks) {
  std::vector<int> roots;
  if (!options.root) {
    for (int rank = 0; rank < ranks; ++rank) roots.push_back(rank);
    return roots;
  }
  if (*options.root >= ranks) {
    bad_value("--root", std::to_string(*options.root), fmt::format("0 to {}, and all", ranks - 1));
  }
  return {*options.root};
}

}  // namespace tutti::bench
