// The table of TUTTI_* variables, and everything that follows from it.
#include "core/env.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <numeric>

#include "core/error.h"
#include "core/units.h"

namespace tutti {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;
constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kSecond = 1000 * kMs;
constexpr uint64_t kDay = 24 * 3600 * kSecond;

constexpr std::array<VariableSpec, kVariables> kSpecs{{
    {.variable = Variable::algo,
     .name = "TUTTI_ALGO",
     .type = VariableType::text,
     .high = 256,
     .help =
         "Algorithm to use instead of the automatic choice: one name for all collectives (`ring`), or one "
         "per collective (`all_reduce=ring,broadcast=chain`).",
     .plan = true,
     .charset = Charset::algorithm},
    {.variable = Variable::slice_bytes,
     .name = "TUTTI_SLICE_BYTES",
     .type = VariableType::size,
     .low = 4 * kKiB,
     .high = 4 * kMiB,
     .fallback = "auto",
     .help =
         "Bytes of a slice, the part of a chunk that fits one scratch slot. Small slices pipeline sooner, "
         "large ones cost fewer signals.",
     .plan = true,
     .automatic = Automatic::zero},
    {.variable = Variable::credits,
     .name = "TUTTI_CREDITS",
     .type = VariableType::integer,
     .low = 1,
     .high = 16,
     .fallback = "auto",
     .help = "Slices that may be in flight to one receiver.",
     .plan = true,
     .automatic = Automatic::zero},
    {.variable = Variable::scratch_bytes,
     .name = "TUTTI_SCRATCH_BYTES",
     .type = VariableType::size,
     .low = 256 * kKiB,
     .high = 64 * kMiB,
     .fallback = "auto",
     .help = "Scratch memory per rank, reserved when a communicator is created.",
     .plan = true,
     .automatic = Automatic::zero},
    {.variable = Variable::one_shot_bytes,
     .name = "TUTTI_ONE_SHOT_BYTES",
     .type = VariableType::size,
     .low = 1,
     .high = 4 * kMiB,
     .fallback = "auto",
     .help = "Largest message for which the one-shot packet algorithms are chosen.",
     .plan = true,
     .automatic = Automatic::zero},
    {.variable = Variable::timeout,
     .name = "TUTTI_TIMEOUT",
     .type = VariableType::duration,
     .low = kMs,
     .high = kDay,
     .fallback = "600s",
     .help =
         "How long an operation may wait for a peer before it fails with an error that names the culprit."},
    {.variable = Variable::warn_after,
     .name = "TUTTI_WARN_AFTER",
     .type = VariableType::duration,
     .low = kMs,
     .high = kDay,
     .fallback = "10s",
     .help = "How long an operation may wait before a warning names the culprit."},
    {.variable = Variable::setup_timeout,
     .name = "TUTTI_SETUP_TIMEOUT",
     .type = VariableType::duration,
     .low = kMs,
     .high = kDay,
     .fallback = "30s",
     .help = "How long the creation of a communicator may wait for all ranks to appear, and how long a rank "
             "of another "
             "node may take to answer when verbs first speaks to it."},
    {.variable = Variable::spin,
     .name = "TUTTI_SPIN",
     .type = VariableType::duration,
     .low = 0,
     .high = kSecond,
     .fallback = "auto",
     .help =
         "How long a wait spins before it yields the core. Automatic adapts to how many ranks share a core.",
     .automatic = Automatic::word},
    {.variable = Variable::sleep_after,
     .name = "TUTTI_SLEEP_AFTER",
     .type = VariableType::duration,
     .low = 0,
     .high = kDay,
     .fallback = "2ms",
     .help = "How long a wait yields before it sleeps. Waking up costs 30 us and more."},
    {.variable = Variable::simd,
     .name = "TUTTI_SIMD",
     .type = VariableType::choice,
     .fallback = "auto",
     .help = "Instruction set of the reduction loops; `auto` takes the best one the processor has.",
     .allowed = "auto|portable|avx2|avx512"},
    {.variable = Variable::log,
     .name = "TUTTI_LOG",
     .type = VariableType::choice,
     .fallback = "warn",
     .help = "What is logged: messages of this level and of those before it.",
     .allowed = "off|error|warn|info|debug"},
    {.variable = Variable::log_file,
     .name = "TUTTI_LOG_FILE",
     .type = VariableType::text,
     .high = 4095,
     .help = "File to which the log is appended, instead of standard error; `%r` stands for the rank.",
     .charset = Charset::path},
    {.variable = Variable::stats,
     .name = "TUTTI_STATS",
     .type = VariableType::text,
     .high = 4095,
     .help = "File to which the statistics of a communicator are written as JSON when it is destroyed, or at "
             "the end of the process: by "
             "rank 0, or by every rank where the name has `%r`, which stands for the rank. `%c` stands for "
             "the number of the communicator "
             "in its process; without it the second one writes to the name with `.2`.",
     .charset = Charset::path},
    {.variable = Variable::epoch_start,
     .name = "TUTTI_EPOCH_START",
     .type = VariableType::integer,
     .low = 1,
     .high = uint64_t{1} << 62,
     .fallback = "1",
     .help = "For debugging: the epoch of the first collective on a communicator, e.g. shortly before a flag "
             "wraps.",
     .plan = true},
    {.variable = Variable::rank,
     .name = "TUTTI_RANK",
     .type = VariableType::integer,
     .high = 65535,
     .help = "Rank of this process, for programs started without MPI."},
    {.variable = Variable::size,
     .name = "TUTTI_SIZE",
     .type = VariableType::integer,
     .low = 1,
     .high = 65536,
     .help = "Number of ranks, for programs started without MPI."},
    {.variable = Variable::unique_id,
     .name = "TUTTI_UNIQUE_ID",
     .type = VariableType::text,
     .low = 2,
     .high = 4096,
     .help =
         "The unique id that rank 0 created, in hexadecimal, for programs started without MPI. It contains "
         "a secret and is never printed.",
     .charset = Charset::hex,
     .secret = true},
    {.variable = Variable::ifname,
     .name = "TUTTI_IFNAME",
     .type = VariableType::text,
     .low = 1,
     .high = 255,
     .help = "Network interfaces for set-up and control, in order of preference: `eth0,ib` takes the first "
             "that is up and whose "
             "name begins so; `=eth0` means exactly this one, `^docker` any other. Default: the first that "
             "is up, is not "
             "loopback and is not a bridge of containers."},
    {.variable = Variable::port_range,
     .name = "TUTTI_PORT_RANGE",
     .type = VariableType::text,
     .low = 1,
     .high = 11,
     .help = "TCP ports that set-up and control may listen at, `50000-50100` or a single one. Default: any "
             "free one."},
    {.variable = Variable::node_id,
     .name = "TUTTI_NODE_ID",
     .type = VariableType::text,
     .low = 1,
     .high = 64,
     .help = "Name of the node this rank is on: ranks share memory exactly when they have the same one. "
             "Default: made from the host, "
             "its boot and its namespaces. Different names on one machine emulate several nodes."},
    {.variable = Variable::clock_offset,
     .name = "TUTTI_CLOCK_OFFSET",
     .type = VariableType::duration,
     .high = kDay,
     .fallback = "0",
     .help =
         "For testing: by how much the counter for stamps is ahead in this process. Must be the same on all "
         "ranks of a node; with `TUTTI_NODE_ID` it emulates nodes whose clocks differ."},
    {.variable = Variable::clock_drift,
     .name = "TUTTI_CLOCK_DRIFT",
     .type = VariableType::integer,
     .high = 400,
     .fallback = "0",
     .help = "For testing: by how many parts per million that counter runs too fast."},
    {.variable = Variable::transport,
     .name = "TUTTI_TRANSPORT",
     .type = VariableType::choice,
     .fallback = "auto",
     .help = "What joins ranks of different nodes. Automatic takes verbs for two ranks that both have RDMA "
             "devices "
             "which reach each other, and UCX for others; `verbs` and `ucx` take nothing else, and `shm` "
             "refuses more than one node.",
     .plan = true,
     .allowed = "auto|verbs|ucx|shm"},
    {.variable = Variable::ucx_put,
     .name = "TUTTI_UCX_PUT",
     .type = VariableType::choice,
     .fallback = "auto",
     .help = "How slices travel through UCX: `message`, data and signal in one active message, or `rma`, a "
             "one-sided put and a "
             "signal behind it. Automatic takes rma for large slices where the network can write remote "
             "memory by itself.",
     .allowed = "auto|message|rma"},
    {.variable = Variable::ib_hca,
     .name = "TUTTI_IB_HCA",
     .type = VariableType::text,
     .low = 1,
     .high = 255,
     .help = "RDMA devices that verbs uses, as rails in this order: `mlx5_0,mlx5_1:2`, or `^mlx5_3` for all "
             "but these. Rail k "
             "of every rank is joined with rail k of the others. Default: all that can be used, by name."},
    {.variable = Variable::ib_gid_index,
     .name = "TUTTI_IB_GID_INDEX",
     .type = VariableType::integer,
     .high = 255,
     .fallback = "auto",
     .help = "Which of a device's addresses (GID) verbs uses. Automatic takes the first of RoCE v2 over "
             "IPv4, else over IPv6, else of RoCE v1. Nothing on InfiniBand.",
     .automatic = Automatic::word},
    {.variable = Variable::ib_traffic_class,
     .name = "TUTTI_IB_TRAFFIC_CLASS",
     .type = VariableType::integer,
     .high = 255,
     .fallback = "0",
     .help = "Traffic class of RoCE packets: four times the DSCP, by which switches find the lossless queue; "
             "the lower "
             "two bits are ECN's. Nothing on InfiniBand."},
    {.variable = Variable::ib_timeout,
     .name = "TUTTI_IB_TIMEOUT",
     .type = VariableType::integer,
     .low = 1,
     .high = 31,
     .fallback = "16",
     .help = "A packet that was not acknowledged is sent again after 4.096 us times 2 to this power: 16 is "
             "0.27 s."},
    {.variable = Variable::ib_retry_count,
     .name = "TUTTI_IB_RETRY_COUNT",
     .type = VariableType::integer,
     .high = 7,
     .fallback = "6",
     .help = "How often it is sent again before the rail counts as dead. Some devices take 7 for endlessly."},
    {.variable = Variable::cuda_library,
     .name = "TUTTI_CUDA_LIBRARY",
     .type = VariableType::text,
     .low = 1,
     .high = 4095,
     .fallback = "libcuda.so.1",
     .help = "The library of the CUDA driver, a name that the loader finds or a path. Without a usable one "
             "Tutti works on host memory only; `tutti-info` says why.",
     .charset = Charset::path},
    {.variable = Variable::device,
     .name = "TUTTI_DEVICE",
     .type = VariableType::integer,
     .low = 0,
     .high = 1023,
     .fallback = "auto",
     .help = "The CUDA device this rank uses, as the CUDA driver counts them. Automatic takes the current "
             "device of the thread "
             "that creates the communicator if its process uses CUDA already, and none otherwise.",
     .automatic = Automatic::word,
     .may_be_none = true},
    {.variable = Variable::ctas,
     .name = "TUTTI_CTAS",
     .type = VariableType::integer,
     .low = 1,
     .high = 128,
     .fallback = "auto",
     .help = "Most thread blocks that one rank uses for a collective on device memory.",
     .plan = true,
     .automatic = Automatic::zero},
    {.variable = Variable::device_comms,
     .name = "TUTTI_DEVICE_COMMS",
     .type = VariableType::integer,
     .low = 1,
     .high = 16,
     .fallback = "1",
     .help = "How many communicators may run collectives on one device at the same time: the thread blocks "
             "of a device are shared "
             "out among so many, so that all of them can be resident at once.",
     .plan = true},
    {.variable = Variable::device_scratch_bytes,
     .name = "TUTTI_DEVICE_SCRATCH_BYTES",
     .type = VariableType::size,
     .low = 256 * kKiB,
     .high = 1024 * kMiB,
     .fallback = "auto",
     .help = "Scratch memory per rank on its device, reserved when a communicator is created.",
     .plan = true,
     .automatic = Automatic::zero},
}};

constexpr bool table_is_in_order() {
  for (size_t i = 0; i < kVariables; ++i) {
    if (kSpecs[i].variable != static_cast<Variable>(i)) return false;
  }
  return true;
}
static_assert(table_is_in_order(), "the table is indexed by Variable");

constexpr std::string_view kPrefix = "TUTTI_";

const VariableSpec& spec_of(Variable variable) {
  return kSpecs[static_cast<size_t>(variable)];
}

constexpr std::string_view name_of(VariableType type) {
  constexpr std::string_view kNames[] = {"integer", "size", "duration", "choice", "text", "boolean"};
  return kNames[static_cast<size_t>(type)];
}

bool is_number(VariableType type) {
  return type == VariableType::integer || type == VariableType::size || type == VariableType::duration;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

std::vector<std::string_view> split_choices(std::string_view allowed) {
  std::vector<std::string_view> choices;
  for (size_t end = 0; end != std::string_view::npos;) {
    end = allowed.find('|');
    choices.push_back(allowed.substr(0, end));
    if (end != std::string_view::npos) allowed.remove_prefix(end + 1);
  }
  return choices;
}

std::optional<uint64_t> parse_number(VariableType type, std::string_view value) {
  if (type == VariableType::size) return parse_size(value);
  return type == VariableType::duration ? parse_duration(value) : parse_integer(value);
}

std::string format_number(VariableType type, uint64_t number) {
  if (type == VariableType::size) return format_size(number);
  return type == VariableType::duration ? format_duration(number) : std::to_string(number);
}

bool in_charset(Charset charset, char c) {
  const bool digit = c >= '0' && c <= '9';
  const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  switch (charset) {
    case Charset::algorithm:
      return digit || letter || std::string_view("_-=,:.+()").find(c) != std::string_view::npos;
    case Charset::name:
      return c > ' ' && c <= '~';
    case Charset::path:
      return true;
    case Charset::hex:
      return digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  }
  return false;
}

std::string_view name_of(Charset charset) {
  constexpr std::string_view kNames[] = {"letters, digits and _-=,:.+()", "printable ASCII without blanks",
                                         "any characters", "hexadecimal digits"};
  return kNames[static_cast<size_t>(charset)];
}

// Each of these returns nothing where the value is not allowed.

std::optional<VariableValue> parse_number(const VariableSpec& spec, std::string_view value) {
  const bool word = equal_ignoring_case(value, "auto");
  if (spec.automatic != Automatic::no && word) {
    return VariableValue{spec.automatic == Automatic::zero ? 0 : kAutomatic, "auto"};
  }
  if (spec.may_be_none && equal_ignoring_case(value, "none")) return VariableValue{kNone, "none"};
  const auto number = parse_number(spec.type, value);
  if (!number) return std::nullopt;
  if (spec.automatic == Automatic::zero && *number == 0) return VariableValue{0, "auto"};
  if (*number < spec.low || *number > spec.high) return std::nullopt;
  return VariableValue{*number, format_number(spec.type, *number)};
}

std::optional<VariableValue> parse_choice(std::string_view allowed, std::string_view value) {
  const auto choices = split_choices(allowed);
  for (size_t i = 0; i < choices.size(); ++i) {
    if (equal_ignoring_case(value, choices[i])) return VariableValue{i, std::string(choices[i])};
  }
  return std::nullopt;
}

std::optional<VariableValue> parse_boolean(std::string_view value) {
  for (const std::string_view allowed : {"0|1", "no|yes", "off|on", "false|true"}) {
    if (const auto found = parse_choice(allowed, value))
      return VariableValue{found->number, found->number ? "1" : "0"};
  }
  return std::nullopt;
}

std::optional<VariableValue> parse_text(const VariableSpec& spec, std::string_view value) {
  const bool fits = value.size() >= spec.low && value.size() <= spec.high;
  const bool clean =
      std::all_of(value.begin(), value.end(), [&](char c) { return in_charset(spec.charset, c); });
  if (!fits || !clean) return std::nullopt;
  return VariableValue{0, std::string(value)};
}

std::optional<VariableValue> try_parse(const VariableSpec& spec, std::string_view value) {
  if (is_number(spec.type)) return parse_number(spec, value);
  if (spec.type == VariableType::choice) return parse_choice(spec.allowed, value);
  return spec.type == VariableType::boolean ? parse_boolean(value) : parse_text(spec, value);
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

/// The known name that the user probably meant; empty where none is near.
std::string_view nearest_name(std::string_view name) {
  constexpr size_t kLongest = 64;  // no known name is near a longer one
  if (name.size() > kLongest) return {};
  // Half of what follows the prefix may differ, at most 3 characters.
  size_t best = std::min<size_t>(3, (name.size() - kPrefix.size()) / 2) + 1;
  std::string_view nearest;
  for (const VariableSpec& spec : kSpecs) {
    const size_t distance = edit_distance(name, spec.name);
    if (distance < best) {
      best = distance;
      nearest = spec.name;
    }
  }
  return nearest;
}

std::string unknown_warning(std::string_view name) {
  std::string warning = fmt::format("{} is not a variable of Tutti and is ignored", printable(name));
  const std::string_view nearest = nearest_name(name);
  if (!nearest.empty()) warning += fmt::format("; did you mean {}?", nearest);
  return warning;
}

}  // namespace

const std::array<VariableSpec, kVariables>& variable_specs() {
  return kSpecs;
}

std::string range_of(const VariableSpec& spec) {
  if (spec.type == VariableType::boolean) return "0 or 1 (also no/yes, off/on, false/true)";
  if (spec.type == VariableType::choice)
    return fmt::format("one of {}", fmt::join(split_choices(spec.allowed), ", "));
  if (spec.type == VariableType::text) {
    return spec.low == 0 ? fmt::format("at most {} characters: {}", spec.high, name_of(spec.charset))
                         : fmt::format("{} to {} characters: {}", spec.low, spec.high, name_of(spec.charset));
  }
  constexpr std::string_view kAutomaticSuffix[] = {"", ", or 0 or auto for automatic",
                                                   ", or auto for automatic"};
  return fmt::format(
      "{} {} from {} to {}{}{}", spec.type == VariableType::integer ? "an" : "a", name_of(spec.type),
      format_number(spec.type, spec.low), format_number(spec.type, spec.high),
      kAutomaticSuffix[static_cast<size_t>(spec.automatic)], spec.may_be_none ? ", or none" : "");
}

VariableValue parse_variable(const VariableSpec& spec, std::string_view value) {
  if (auto parsed = try_parse(spec, value)) return *std::move(parsed);
  const std::string shown =
      spec.secret ? fmt::format("<{} characters, not shown>", value.size()) : printable(value);
  raise(Result::invalid_argument, "{}={}: expected {}", spec.name, shown, range_of(spec));
}

Environment::Environment(const char* const* list) {
  std::vector<std::string> errors;
  for (; list != nullptr && *list != nullptr; ++list) {
    const std::string_view entry(*list);
    const size_t equals = entry.find('=');
    if (equals == std::string_view::npos || !entry.starts_with(kPrefix)) continue;
    accept(entry.substr(0, equals), entry.substr(equals + 1), errors);
  }
  for (const VariableSpec& spec : kSpecs) {
    Slot& slot = slots_[static_cast<size_t>(spec.variable)];
    if (slot.known || *spec.fallback == '\0') continue;
    slot.value = parse_variable(spec, spec.fallback);
    slot.known = true;
  }
  if (errors.empty()) check_combinations(errors);
  if (!errors.empty()) raise(Result::invalid_argument, "{}", fmt::join(errors, "; "));
}

void Environment::accept(std::string_view name, std::string_view value, std::vector<std::string>& errors) {
  const auto spec = std::find_if(kSpecs.begin(), kSpecs.end(),
                                 [&](const VariableSpec& known) { return name == known.name; });
  if (spec == kSpecs.end()) {
    warnings_.push_back(unknown_warning(name));
    return;
  }
  Slot& slot = slots_[static_cast<size_t>(spec->variable)];
  if (slot.set) {
    warnings_.push_back(fmt::format("{} is set twice; the first value counts", name));
    return;
  }
  if (value.empty()) return;
  slot.set = slot.known = true;
  try {
    slot.value = parse_variable(*spec, value);
  } catch (const Error& error) {
    errors.emplace_back(error.what());
  }
}

void Environment::check_combinations(std::vector<std::string>& errors) const {
  if (!is_set(Variable::rank) || !is_set(Variable::size)) return;
  const uint64_t rank = integer(Variable::rank);
  const uint64_t size = integer(Variable::size);
  if (rank >= size) {
    errors.push_back(fmt::format("TUTTI_RANK={}: expected an integer from 0 to {}, as TUTTI_SIZE={}", rank,
                                 size - 1, size));
  }
}

const Environment& Environment::process() {
  static const Environment environment(environ);
  return environment;
}

bool Environment::is_automatic(Variable variable) const {
  const VariableSpec& spec = spec_of(variable);
  const Slot& slot = at(variable);
  if (spec.automatic == Automatic::no || !slot.known) return false;
  return slot.value.number == (spec.automatic == Automatic::zero ? 0 : kAutomatic);
}

uint64_t Environment::number(Variable variable, VariableType type) const {
  const VariableSpec& spec = spec_of(variable);
  if (spec.type != type) {
    raise(Result::internal_error, "{} was asked for as {}, but is of type {}", spec.name, name_of(type),
          name_of(spec.type));
  }
  const Slot& slot = at(variable);
  if (!slot.known) raise(Result::invalid_argument, "{} is not set: expected {}", spec.name, range_of(spec));
  return slot.value.number;
}

const std::string& Environment::text(Variable variable) const {
  const VariableSpec& spec = spec_of(variable);
  if (spec.type != VariableType::text) {
    raise(Result::internal_error, "{} was asked for as text, but is of type {}", spec.name,
          name_of(spec.type));
  }
  return at(variable).value.text;
}

std::vector<std::pair<std::string, std::string>> Environment::plan_values() const {
  std::vector<std::pair<std::string, std::string>> values;
  for (const VariableSpec& spec : kSpecs) {
    if (spec.plan) values.emplace_back(spec.name, at(spec.variable).value.text);
  }
  return values;
}

std::vector<VariableDescription> Environment::describe() const {
  std::vector<VariableDescription> rows;
  for (const VariableSpec& spec : kSpecs) {
    const Slot& slot = at(spec.variable);
    const std::string value = spec.secret && slot.set ? "<not shown>" : printable(slot.value.text);
    rows.push_back({.name = spec.name,
                    .type = std::string(name_of(spec.type)),
                    .range = range_of(spec),
                    .default_value = *spec.fallback == '\0' ? "" : parse_variable(spec, spec.fallback).text,
                    .value = value,
                    .source = slot.set ? "environment" : "default",
                    .help = spec.help,
                    .plan = spec.plan});
  }
  return rows;
}

std::string environment_markdown() {
  const char* const nothing[] = {nullptr};
  std::string out =
      "# Environment variables\n"
      "\n"
      "<!-- Generated from the table in core/env.cpp: tutti-info --environment-markdown -->\n"
      "\n"
      "Tutti reads these variables once, when it is first used. A value that is malformed or out of range is "
      "an "
      "error,\na `TUTTI_` name that does not exist is a warning, and a variable set to nothing counts as not "
      "set.\n"
      "\n"
      "- **size**: a whole number of bytes, or with a unit: `64`, `64K`, `64KiB`, `1M`, `1MiB`, `1G`, `1GiB` "
      "(powers of 1024).\n"
      "- **duration**: a whole number of seconds, or with a unit: `10`, `5ns`, `30us`, `250ms`, `10s`, `5m`, "
      "`2h`.\n"
      "- **choice** and the words `auto` and `none` may be written in lower or upper case.\n"
      "\n"
      "`tutti-info` prints the values in effect. Variables marked *equal* affect the plan and must have the "
      "same "
      "value on\nall ranks; a difference is an error at set-up that names the variable and both values.\n"
      "\n"
      "| variable | default | expects | all ranks | meaning |\n"
      "| --- | --- | --- | --- | --- |\n";
  for (const VariableDescription& row : Environment(nothing).describe()) {
    const std::string fallback = row.default_value.empty() ? "none" : fmt::format("`{}`", row.default_value);
    fmt::format_to(std::back_inserter(out), "| `{}` | {} | {} | {} | {} |\n", row.name, fallback, row.range,
                   row.plan ? "equal" : "", row.help);
  }
  return out;
}

}  // namespace tutti
