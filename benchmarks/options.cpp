// Reads the command line with CLI11; every value is read strictly here, so that each error names the option, what
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

#include "core/units.h"

namespace tutti::bench {
namespace {

/// The command line as it was written.
struct Texts {
  using Text = std::optional<std::string>;
  Text min_bytes, max_bytes, step_factor, step_bytes;
  Text iterations, warmup, checks, seconds;
  Text datatype, op, root, placement;
  Text local_ranks, baseline, algorithm, timeout, json, raw;
  Text memory, ranks_per_gpu, devices, chain, nccl;
  Text mode, rate, duration, skew, noise, aggressor;
  Text plant_error, plant_death, plant_slowdown;
  bool in_place = false, graph = false, one_stream = false, registered = false, nccl_sweep = false,
       wide = false, limits = false;
};

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

std::vector<uint64_t> read_sizes(const Texts& texts) {
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

template <typename Value>
struct Named {
  std::string_view name;
  Value value;
};

/// First the names that are listed in messages, then other names for the same.
constexpr Named<tutti_datatype_t> kDatatypes[] = {
    {"int8", TUTTI_INT8},
    {"uint8", TUTTI_UINT8},
    {"int16", TUTTI_INT16},
    {"uint16", TUTTI_UINT16},
    {"int32", TUTTI_INT32},
    {"uint32", TUTTI_UINT32},
    {"int64", TUTTI_INT64},
    {"uint64", TUTTI_UINT64},
    {"float16", TUTTI_FLOAT16},
    {"bfloat16", TUTTI_BFLOAT16},
    {"float32", TUTTI_FLOAT32},
    {"float64", TUTTI_FLOAT64},
    {"float8_e4m3", TUTTI_FLOAT8_E4M3},
    {"float8_e5m2", TUTTI_FLOAT8_E5M2},
};
constexpr Named<tutti_datatype_t> kDatatypeAliases[] = {
    {"half", TUTTI_FLOAT16},  {"fp16", TUTTI_FLOAT16},       {"bf16", TUTTI_BFLOAT16},
    {"float", TUTTI_FLOAT32}, {"fp32", TUTTI_FLOAT32},       {"double", TUTTI_FLOAT64},
    {"fp64", TUTTI_FLOAT64},  {"f8e4m3", TUTTI_FLOAT8_E4M3}, {"f8e5m2", TUTTI_FLOAT8_E5M2},
};
constexpr Named<tutti_op_t> kOps[] = {
    {"sum", TUTTI_SUM}, {"prod", TUTTI_PROD}, {"min", TUTTI_MIN}, {"max", TUTTI_MAX}, {"avg", TUTTI_AVG}};
constexpr Named<Plant> kPlants[] = {
    {"none", Plant::none}, {"checked", Plant::checked}, {"timed", Plant::timed}, {"last", Plant::last}};

template <typename Value>
std::string names_of(std::span<const Named<Value>> table) {
  std::string text;
  for (const auto& entry : table) text += fmt::format("{}{}", text.empty() ? "" : ", ", entry.name);
  return text;
}

template <typename Value>
const Named<Value>* find_name(std::span<const Named<Value>> table, std::string_view name) {
  const auto found =
      std::find_if(table.begin(), table.end(), [name](const auto& entry) { return entry.name == name; });
  return found == table.end() ? nullptr : &*found;
}

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

std::vector<bool> read_placements(const CollectiveInfo& collective, const Texts& texts) {
  if (texts.in_place && texts.placement) throw UsageError("--in-place and --placement: give one of the two");
  if (texts.in_place || texts.placement == "in") return {true};
  if (texts.placement == "out") return {false};
  if (texts.placement == "both") return {false, true};
  if (texts.placement) bad_value("--placement", *texts.placement, "in, out, both");
  return {collective.in_place_by_default};
}

// ---- Everything ----

void read_measurement(const Texts& texts, Options& options) {
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
void read_mode(const Texts& texts, Options& options) {
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

void read_duration(const Texts& texts, Options& options) {
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

void read_rate(const Texts& texts, Options& options) {
  if (!texts.rate) return;
  options.rate = positive_number("--rate", *texts.rate, 10e6, "calls in a second, above 0, up to 10000000");
  if (options.chain > 1) throw UsageError("--rate: one call at each time; not with a chain");
}

void read_skew(const Texts& texts, Options& options) {
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

void read_noise(const Texts& texts, Options& options) {
  if (!texts.noise) return;
  const std::vector<std::string> parts = split(*texts.noise, ':');
  if (parts.size() > 2) bad_value("--noise", *texts.noise, "CORE or CORE:PERCENT, such as 1 or 1:50");
  NoiseOptions noise;
  noise.core = static_cast<int>(whole_number("--noise", parts[0], 0, 1023));
  if (parts.size() == 2) noise.percent = static_cast<int>(whole_number("--noise", parts[1], 1, 100));
  options.noise = noise;
}

void read_aggressor(const CollectiveInfo& collective, const Texts& texts, Options& options) {
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

void read_plants(const Texts& texts, Options& options) {
  if (texts.plant_error) {
    options.plant_error = read_names<Plant>("--plant-error", *texts.plant_error, kPlants, {}).front();
  }
  if (texts.plant_death) options.plant_death = rank_number("--plant-death", *texts.plant_death);
  if (texts.plant_slowdown) {
    if (*texts.plant_slowdown != "0")
      options.plant_slowdown =
          positive_number("--plant-slowdown", *texts.plant_slowdown, 1000, "a percentage from 0 to 1000") /
          100;
  }
}

/// Options that mean nothing on host memory.
void refuse_device_options(const Texts& texts) {
  const std::pair<const char*, bool> given[] = {
      {"--ranks-per-gpu", texts.ranks_per_gpu.has_value()},
      {"--devices", texts.devices.has_value()},
      {"--graph", texts.graph},
      {"--one-stream", texts.one_stream},
      {"--registered", texts.registered},
      {"--nccl", texts.nccl.has_value()},
      {"--nccl-sweep", texts.nccl_sweep},
      {"--baseline nccl", texts.baseline == "nccl"},
  };
  for (const auto& [option, is_given] : given) {
    if (is_given) throw UsageError(fmt::format("{}: needs --memory device", option));
  }
}

/// Options of measurements that exist on host memory alone.
void refuse_host_options(const Texts& texts) {
  const std::pair<const char*, bool> given[] = {
      {"--rate", texts.rate.has_value()},
      {"--duration", texts.duration.has_value()},
      {"--skew", texts.skew.has_value()},
      {"--noise", texts.noise.has_value()},
      {"--aggressor", texts.aggressor.has_value()},
      {"--limits", texts.limits},
      {"--plant-slowdown", texts.plant_slowdown.has_value()},
  };
  for (const auto& [option, is_given] : given) {
    if (is_given) throw UsageError(fmt::format("{}: is for host memory", option));
  }
}

DeviceOptions read_device_options(const Texts& texts) {
  DeviceOptions options;
  refuse_host_options(texts);
  if (texts.local_ranks)
    throw UsageError(
        "--np: with --memory device all ranks are in this process; --ranks-per-gpu says how many");
  if (texts.baseline == "mpi")
    throw UsageError("--baseline mpi: measures host memory; with --memory device: nccl");
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
  options.registered = texts.registered;
  options.baseline_nccl = texts.baseline == "nccl";
  options.nccl = texts.nccl.value_or(options.nccl);
  options.nccl_sweep = texts.nccl_sweep;
  if ((texts.nccl || texts.nccl_sweep) && !options.baseline_nccl)
    throw UsageError("--nccl, --nccl-sweep: need --baseline nccl");
  if (options.one_stream && (options.baseline_nccl || options.devices.size() > 1))
    throw UsageError("--one-stream: NCCL needs a stream for each rank, and each device one of its own");
  return options;
}

void read_output(const Texts& texts, Options& options) {
  options.json = texts.json.value_or("");
  options.raw = texts.raw.value_or("");
  options.wide = texts.wide;
  if (!options.raw.empty() && options.raw == options.json)
    throw UsageError("--raw, --json: each needs a file of its own");
  if (!options.raw.empty() && texts.nccl_sweep)
    throw UsageError("--raw: --nccl-sweep keeps the best of several runs, which have no samples in common");
}

Options read_options(const CollectiveInfo& collective, const Texts& texts) {
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
  if (texts.baseline && texts.baseline != "mpi" && texts.baseline != "nccl")
    bad_value("--baseline", *texts.baseline, "mpi, nccl");
  options.baseline_mpi = texts.baseline == "mpi";
  if (texts.memory == "device") {
    options.device = read_device_options(texts);
  } else {
    if (texts.memory && texts.memory != "host") bad_value("--memory", *texts.memory, "host, device");
    refuse_device_options(texts);
  }
  options.algorithm = texts.algorithm.value_or("");
  read_output(texts, options);
  read_plants(texts, options);
  return options;
}

void declare_what(CLI::App& app, const CollectiveInfo& collective, Texts& texts) {
  const std::string what = "What to measure";
  app.add_option("-b,--minbytes", texts.min_bytes, "Smallest message, such as 8, 64K or 128M (default 8)")
      ->type_name("SIZE")
      ->group(what);
  app.add_option("-e,--maxbytes", texts.max_bytes, "Largest message (default 32M)")
      ->type_name("SIZE")
      ->group(what);
  app.add_option("-f,--stepfactor", texts.step_factor, "Each message is so many times the last (default 4)")
      ->type_name("N")
      ->group(what);
  app.add_option("-i,--stepbytes", texts.step_bytes, "Or so many bytes more than the last")
      ->type_name("SIZE")
      ->group(what);
  app.add_option("-d,--datatype", texts.datatype,
                 "Element types, separated by commas, or all (default float32): " +
                     names_of<tutti_datatype_t>(kDatatypes))
      ->type_name("TYPE,...")
      ->group(what);
  if (collective.has_op()) {
    app.add_option("-o,--op", texts.op,
                   "Operators, separated by commas, or all (default sum): " + names_of<tutti_op_t>(kOps))
        ->type_name("OP,...")
        ->group(what);
  }
  if (collective.has_root()) {
    app.add_option("-r,--root", texts.root, "The rank that sends, or all for each in turn (default 0)")
        ->type_name("RANK")
        ->group(what);
  }
  app.add_option("--placement", texts.placement,
                 fmt::format("in: one buffer is sent and received; out: two buffers; both (default {})",
                             collective.in_place_by_default ? "in" : "out"))
      ->type_name("PLACE")
      ->group(what);
  app.add_flag("--in-place", texts.in_place, "The same as --placement in")->group(what);
  app.add_option("--algorithm", texts.algorithm, "Use this algorithm (see tutti-info) at every size")
      ->type_name("NAME")
      ->group(what);
}

void declare_how(CLI::App& app, Texts& texts) {
  const std::string how = "How to measure";
  app.add_option("-n,--iters", texts.iterations,
                 "Timed iterations per row (default: as many as fit into --seconds, at least 20)")
      ->type_name("N")
      ->group(how);
  app.add_option("-w,--warmup_iters,--warmup-iters", texts.warmup,
                 "Iterations before them (default: as many as fit into a tenth of --seconds, at least 5)")
      ->type_name("N")
      ->group(how);
  app.add_option("--seconds", texts.seconds, "Time for the iterations of a row (default 0.5)")
      ->type_name("SECONDS")
      ->group(how);
  app.add_option("--duration", texts.duration,
                 "Or a long run: so much for each row, such as 10s or 10m, with percentiles of its windows")
      ->type_name("TIME")
      ->group(how);
  app.add_option(
         "--mode", texts.mode,
         "isolated: a sample is one call, after a barrier (default); chain: the mean of calls that follow "
         "each other")
      ->type_name("MODE")
      ->group(how);
  app.add_option("--chain", texts.chain, "Calls in a chain (default 20); above 1 it means --mode chain")
      ->type_name("K")
      ->group(how);
  app.add_option("--rate", texts.rate,
                 "Call at fixed times, so often in a second, and time each call from when it was due")
      ->type_name("CALLS")
      ->group(how);
  app.add_flag("--limits", texts.limits,
               "Measure cache-line latency and copy bandwidth too, and how near each row comes to them")
      ->group(how);
  app.add_option(
         "-c,--check", texts.checks,
         "Iterations whose whole result is verified, before the timed ones; 0: verify nothing (default 5)")
      ->group(how);
  app.add_option("--timeout", texts.timeout, "Limit of one operation, such as 30s (default: TUTTI_TIMEOUT)")
      ->type_name("TIME")
      ->group(how);
}

void declare_provoke(CLI::App& app, Texts& texts) {
  const std::string provoke = "Provoke it";
  app.add_option("--skew", texts.skew,
                 "This rank comes so many microseconds late, in every PERIOD-th iteration (default 1)")
      ->type_name("RANK:US[:PERIOD]")
      ->group(provoke);
  app.add_option("--noise", texts.noise,
                 "Keep a core of the first rank's node busy, for so many percent of the time (default 100)")
      ->type_name("CORE[:PERCENT]")
      ->group(provoke);
  app.add_option(
         "--aggressor", texts.aggressor,
         "A second communicator of the same ranks calls a collective meanwhile (default: the other one)")
      ->type_name("[COLLECTIVE:]SIZE")
      ->group(provoke);
}

void declare_device(CLI::App& app, Texts& texts) {
  const std::string device = "Device memory (CUDA)";
  app.add_option("--memory", texts.memory, "Where the buffers lie: host (default) or device")
      ->type_name("MEMORY")
      ->group(device);
  app.add_option("--ranks-per-gpu", texts.ranks_per_gpu,
                 "Ranks on each device, all in this process, driven by one thread (default 2)")
      ->type_name("N")
      ->group(device);
  app.add_option("--devices", texts.devices, "Devices, separated by commas (default 0)")
      ->type_name("LIST")
      ->group(device);
  app.add_flag("--graph", texts.graph, "Capture the calls into a CUDA graph and time its replays")
      ->group(device);
  app.add_flag("--one-stream", texts.one_stream, "One stream for all ranks instead of one each")
      ->group(device);
  app.add_flag("--registered", texts.registered, "Buffers of tutti_mem_alloc instead of cuMemAlloc")
      ->group(device);
  app.add_option("--nccl", texts.nccl, "The NCCL of --baseline nccl (default libnccl.so.2)")
      ->type_name("PATH")
      ->group(device);
  app.add_flag("--nccl-sweep", texts.nccl_sweep,
               "Run once with each algorithm and protocol of NCCL, and keep its best for each row")
      ->group(device);
}

void declare_run(CLI::App& app, Texts& texts) {
  const std::string run = "Ranks and output";
  app.add_option("--np", texts.local_ranks, "Start so many local ranks (default 2; not under mpirun)")
      ->type_name("N")
      ->group(run);
  app.add_option("--baseline", texts.baseline,
                 "Measure another library beside Tutti: mpi (under mpirun) or nccl (on device memory)")
      ->type_name("LIBRARY")
      ->group(run);
  app.add_option("--json", texts.json, "Also write the results to this file, schema tutti-bench/1")
      ->type_name("FILE")
      ->group(run);
  app.add_option("--raw", texts.raw,
                 "Also write every sample to this file, as JSON Lines, each row as soon as it is measured")
      ->type_name("FILE")
      ->group(run);
  app.add_flag("--wide", texts.wide, "More columns in the table: skew, service, culprit, CPU cost, bound")
      ->group(run);
  app.add_option("--plant-error", texts.plant_error)->group("");
  app.add_option("--plant-death", texts.plant_death)->group("");
  app.add_option("--plant-slowdown", texts.plant_slowdown)->group("");
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
  Texts texts;
  CLI::App app{collective.summary, collective.program};
  app.set_version_flag("--version",
                       [&] { return fmt::format("{} (tutti {})", collective.program, library_version()); });
  app.get_formatter()->column_width(34);
  app.footer(footer(collective));
  declare_what(app, collective, texts);
  declare_how(app, texts);
  declare_provoke(app, texts);
  declare_device(app, texts);
  declare_run(app, texts);

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
