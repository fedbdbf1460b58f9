// tutti-plan: shows what a rank does in a collective, as text or as a graph, and how long it would take on a
// simulated cluster. Needs neither ranks nor MPI: it builds plans and prints them.
//
// Every value is read strictly; what cannot be is an error that names option, value and what is allowed, with
// exit status 2.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "collectives/algorithms/algorithms.h"
#include "collectives/executors/sim/simulator.h"
#include "collectives/plan/printer.h"
#include "core/error.h"
#include "core/units.h"

using namespace tutti;
using plan::Algorithm;
using plan::Plan;

namespace {

constexpr uint64_t kMostRanks = 2048;
constexpr const char* kDefaultRanks = "8";
constexpr uint64_t kMostCredits = 1024;
constexpr uint64_t kMostBytes = uint64_t{1} << 40;
constexpr uint64_t kMostGraphNodes = 20'000;
constexpr uint64_t kMostSimulatedSteps = 2'000'000'000;  // about ten minutes
constexpr size_t kRanksShown = 64;
constexpr size_t kLinksShown = 10;

constexpr const char* kExamples = R"(Examples:
  tutti-plan --list
  tutti-plan --collective all_reduce --algorithm ring --ranks 8
  tutti-plan --collective all_reduce --algorithm two_shot --ranks 4 --rank all --bytes 1M --legend
  tutti-plan --collective broadcast --algorithm chain --ranks 3 --bytes 128 --slice 64 --format graphviz | dot -Tsvg
  tutti-plan --collective all_reduce --algorithm ring --ranks 64 --bytes 16M --simulate --alpha 2us --beta 12.5GB/s
  tutti-plan --collective all_reduce --algorithm hierarchical_ring --nodes 2,2 --rank 3 --legend
  tutti-plan --collective all_reduce --algorithm hierarchical_ring --nodes 3,5,1 --bytes 16M --simulate --slow-card 1:0.25
  tutti-plan --collective all_reduce --algorithm recursive_doubling --ranks 1000 --bytes 4K --simulate \
             --iterations 200 --noise 0.0001:100us --arrival 5us
)";

class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

[[noreturn]] void bad_value(std::string_view option, std::string_view value, std::string_view allowed) {
  throw UsageError(fmt::format("{}: '{}' is not allowed; allowed: {}", option, printable(value), allowed));
}

// ---- Reading values ----

/// The command line as it was written.
struct Texts {
  std::string collective, algorithm;
  std::string ranks, nodes, rank = "0", root = "0", credits = "4";
  std::string bytes, dtype = "float32", format = "text";
  std::string slots = "4M", packets = "1M", slice = "128K";
  std::string iterations = "1", seed = "1";
  std::string alpha = "50ns", beta = "10GB/s", memory = "40GB/s", step = "5ns";
  std::string ranks_per_node = "0", far_alpha = "2us", far_beta = "12.5GB/s", slow_card;
  std::string noise, arrival = "0ns", gap = "0ns";
  bool list = false, legend = false, simulate = false;
};

uint64_t whole_number(std::string_view option, const std::string& text, uint64_t low, uint64_t high) {
  const std::optional<uint64_t> value = parse_integer(text);
  if (!value || *value < low || *value > high) {
    bad_value(option, text, fmt::format("a whole number from {} to {}", low, high));
  }
  return *value;
}

uint64_t size(std::string_view option, const std::string& text, uint64_t low) {
  const std::optional<uint64_t> value = parse_size(text);
  if (!value || *value < low || *value > kMostBytes) {
    bad_value(option, text,
              fmt::format("a size from {} to {}, such as 64, 64K or 1M", low, format_size(kMostBytes)));
  }
  return *value;
}

sim::Time duration(std::string_view option, const std::string& text) {
  constexpr uint64_t kMost = 3'600'000'000'000;  // ns
  const std::optional<uint64_t> value = parse_duration(text);
  const bool has_unit = !text.empty() && (text.back() < '0' || text.back() > '9');
  if (!value || !has_unit || *value > kMost) {
    bad_value(option, text, "a duration with its unit up to 1h, such as 500ns, 2us or 1ms");
  }
  return static_cast<sim::Time>(*value) * sim::kNanosecond;
}

/// A number and what follows it.
std::optional<std::pair<double, std::string_view>> number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || !(value >= 0)) return std::nullopt;
  return std::pair{value, text.substr(static_cast<size_t>(end - text.data()))};
}

/// Bytes per nanosecond.
double rate(std::string_view option, const std::string& text) {
  struct Unit {
    std::string_view name;
    double factor;
  };
  constexpr Unit kUnits[] = {{"GB/s", 1}, {"MB/s", 1e-3}, {"Gbit/s", 0.125}, {"TB/s", 1e3}};
  const auto value = number(text);
  for (const Unit& unit : kUnits) {
    if (!value || value->second != unit.name) continue;
    const double result = value->first * unit.factor;
    if (result >= 1e-6 && result <= 1e6) return result;
  }
  bad_value(option, text, "a rate with its unit, such as 10GB/s, 800MB/s or 200Gbit/s");
}

sim::Noise noise(const std::string& text) {
  if (text.empty()) return {};
  const auto probability = number(text);
  if (!probability || probability->first > 1 || probability->second.substr(0, 1) != ":") {
    bad_value("--noise", text, "the probability per step and the mean delay, such as 0.001:50us");
  }
  return {probability->first, duration("--noise", std::string(probability->second.substr(1)))};
}

/// The value of that name, out of those of `count` values beginning at 0.
template <typename Value>
Value named(std::string_view option, const std::string& text, int count) {
  std::string names;
  for (int i = 0; i < count; ++i) {
    const auto value = static_cast<Value>(i);
    if (name_of(value) == text) return value;
    names += fmt::format("{}{}", i == 0 ? "" : ", ", name_of(value));
  }
  bad_value(option, text, names);
}

Algorithm algorithm_of(Collective collective, const std::string& text) {
  std::string names;
  for (const Algorithm a : algorithms::algorithms_of(collective)) {
    if (name_of(a) == text) return a;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", name_of(a));
  }
  bad_value("--algorithm", text, fmt::format("{} (for {})", names, name_of(collective)));
}

// ---- What the user wants ----

struct Request {
  Collective collective = Collective::all_reduce;
  Algorithm algorithm = Algorithm::ring;
  plan::Shape shape;            // without nodes
  std::vector<uint16_t> nodes;  // by rank; empty: one node
  bool all_ranks = false;
  std::optional<uint64_t> bytes;
  DataType dtype = DataType::float32;
  bool graph = false;
  sim::Model model;
  sim::Scratch scratch;
  uint64_t iterations = 1;
};

sim::Model read_model(const Texts& t) {
  sim::Model model;
  model.step = duration("--step", t.step);
  model.memory = rate("--memory", t.memory);
  model.near = {duration("--alpha", t.alpha), rate("--beta", t.beta)};
  model.far = {duration("--far-alpha", t.far_alpha), rate("--far-beta", t.far_beta)};
  model.ranks_per_node = static_cast<int>(whole_number("--ranks-per-node", t.ranks_per_node, 0, kMostRanks));
  model.noise = noise(t.noise);
  model.arrival = duration("--arrival", t.arrival);
  model.gap = duration("--gap", t.gap);
  model.seed = whole_number("--seed", t.seed, 0, UINT64_MAX);
  return model;
}

/// A list of whole numbers with commas between them.
std::vector<uint64_t> whole_numbers(std::string_view option, const std::string& text, uint64_t low,
                                    uint64_t high) {
  std::vector<uint64_t> numbers;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::optional<uint64_t> number = parse_integer(text.substr(begin, end - begin));
    if (!number || *number < low || *number > high) {
      bad_value(option, text, fmt::format("whole numbers from {} to {}, such as 3,5,1", low, high));
    }
    numbers.push_back(*number);
    begin = end + 1;
  }
  return numbers;
}

/// By rank: its node.
std::vector<uint16_t> read_nodes(const Texts& t) {
  std::vector<uint16_t> nodes;
  if (t.nodes.empty()) return nodes;
  uint16_t node = 0;
  for (const uint64_t ranks : whole_numbers("--nodes", t.nodes, 1, kMostRanks)) {
    if (nodes.size() + ranks > kMostRanks)
      bad_value("--nodes", t.nodes, fmt::format("up to {} ranks in all", kMostRanks));
    nodes.insert(nodes.end(), ranks, node++);
  }
  if (!t.ranks.empty() && parse_integer(t.ranks) != nodes.size()) {
    throw UsageError(fmt::format("--ranks: '{}' contradicts --nodes {}, which are {} ranks",
                                 printable(t.ranks), t.nodes, nodes.size()));
  }
  if (t.ranks_per_node != "0") {
    throw UsageError(fmt::format("--ranks-per-node: '{}' contradicts --nodes {}, which place the ranks",
                                 printable(t.ranks_per_node), t.nodes));
  }
  return nodes;
}

size_t node_count(const Request& r) {
  if (!r.nodes.empty()) return size_t{r.nodes.back()} + 1;
  const auto per_node = static_cast<size_t>(r.model.ranks_per_node);
  return per_node == 0 ? 1 : (r.shape.ranks + per_node - 1) / per_node;
}

/// What each node's card has of the bandwidth between nodes.
std::vector<double> read_cards(const std::string& text, size_t nodes) {
  if (text.empty()) return {};
  const size_t colon = text.find(':');
  const std::optional<uint64_t> node = parse_integer(text.substr(0, colon));
  const auto factor =
      number(colon == std::string::npos ? std::string_view() : std::string_view(text).substr(colon + 1));
  if (!node || *node >= nodes || !factor || !factor->second.empty() || factor->first < 1e-3 ||
      factor->first > 1e3) {
    bad_value("--slow-card", text,
              fmt::format("a node from 0 to {} and a factor from 0.001 to 1000, such as 1:0.25", nodes - 1));
  }
  std::vector<double> factors(nodes, 1);
  factors[*node] = factor->first;
  return factors;
}

sim::Scratch read_scratch(const Texts& t) {
  sim::Scratch scratch;
  scratch.slots_bytes = size("--slots", t.slots, 128);
  scratch.packets_bytes = size("--packets", t.packets, 128);
  // Half of a ring each: an operation can start while its peers still finish the one before.
  scratch.limits = {.slots_bytes = scratch.slots_bytes / 2,
                    .packets_bytes = scratch.packets_bytes / 2,
                    .max_slice_bytes = size("--slice", t.slice, 64)};
  return scratch;
}

plan::Shape shape_of(const Request& r) {
  plan::Shape shape = r.shape;
  shape.nodes = r.nodes;
  shape.one_process = r.nodes.empty();
  return shape;
}

void check_suits(const Request& r) {
  if (r.shape.ranks == 1 || algorithms::suits(r.algorithm, shape_of(r))) return;
  std::string names;
  for (const Algorithm a : algorithms::algorithms_of(r.collective)) {
    if (algorithms::suits(a, shape_of(r)))
      names += fmt::format("{}{}", names.empty() ? "" : ", ", name_of(a));
  }
  bad_value("--algorithm", name_of(r.algorithm),
            fmt::format("{} (for {} on {})", names, name_of(r.collective),
                        r.nodes.empty() ? "one node" : "several nodes"));
}

Request read_request(const Texts& t) {
  Request r;
  if (t.collective.empty())
    throw UsageError("--collective is missing; allowed: all_reduce, broadcast, barrier");
  r.collective = named<Collective>("--collective", t.collective, kCollectives);
  if (t.algorithm.empty()) throw UsageError("--algorithm is missing; --list shows what there is");
  r.algorithm = algorithm_of(r.collective, t.algorithm);
  r.nodes = read_nodes(t);
  r.shape.ranks = static_cast<uint16_t>(
      r.nodes.empty() ? whole_number("--ranks", t.ranks.empty() ? kDefaultRanks : t.ranks, 1, kMostRanks)
                      : r.nodes.size());
  check_suits(r);
  const uint64_t last = r.shape.ranks - uint64_t{1};
  r.all_ranks = t.rank == "all";
  if (!r.all_ranks) {
    const std::optional<uint64_t> rank = parse_integer(t.rank);
    if (!rank || *rank > last) bad_value("--rank", t.rank, fmt::format("0 to {}, or all", last));
    r.shape.rank = static_cast<uint16_t>(*rank);
  }
  r.shape.root = static_cast<uint16_t>(whole_number("--root", t.root, 0, last));
  const auto least = static_cast<uint64_t>(algorithms::least_credits(r.algorithm));
  r.shape.credits = static_cast<uint16_t>(whole_number("--credits", t.credits, least, kMostCredits));
  r.dtype = named<DataType>("--dtype", t.dtype, kDataTypes);
  if (!t.bytes.empty()) {
    r.bytes = size("--bytes", t.bytes, 0);
    if (*r.bytes % size_of(r.dtype) != 0) {
      bad_value("--bytes", t.bytes,
                fmt::format("a multiple of {}, the size of {}", size_of(r.dtype), t.dtype));
    }
  }
  if (t.format != "text" && t.format != "graphviz") bad_value("--format", t.format, "text, graphviz");
  r.graph = t.format == "graphviz";
  r.model = read_model(t);
  r.model.card_factor = read_cards(t.slow_card, node_count(r));
  r.scratch = read_scratch(t);
  r.iterations = whole_number("--iterations", t.iterations, 1, 1'000'000);
  if (r.collective == Collective::barrier && r.bytes.value_or(0) != 0) {
    bad_value("--bytes", t.bytes, "0, because a barrier carries nothing");
  }
  return r;
}

// ---- Plans ----

std::vector<Plan> build_all(const Request& r) {
  std::vector<Plan> plans;
  plan::Shape shape = shape_of(r);
  for (int rank = 0; rank < r.shape.ranks; ++rank) {
    shape.rank = static_cast<uint16_t>(rank);
    plans.push_back(algorithms::build(r.collective, r.algorithm, shape));
  }
  return plans;
}

plan::Binding bind(const Request& r, const Plan& plan, uint64_t bytes) {
  const auto element = static_cast<uint32_t>(size_of(r.dtype));
  if (!plan::fits(plan, bytes / element, element, r.scratch.limits)) {
    throw UsageError(
        plan.packet_areas != 0
            ? fmt::format("--bytes: {} do not fit the packets that one operation may use, half of "
                          "--packets = {}",
                          format_size(bytes), format_size(r.scratch.packets_bytes))
            : fmt::format("--slots: {} are too few for {} areas of {} slots",
                          format_size(r.scratch.slots_bytes), plan.areas, plan.credits));
  }
  return plan::bind(plan, bytes / element, element, r.scratch.limits);
}

std::string describe_binding(const Request& r, const plan::Binding& b) {
  const uint64_t element = b.element;
  std::string text =
      fmt::format("with {} of {} ({} elements)\n", format_size(b.bytes()), name_of(r.dtype), b.count);
  text += fmt::format("  chunk    {} ({} elements)\n", format_size(b.chunk * element), b.chunk);
  text += fmt::format("  slice    {} ({} elements)\n", format_size(b.slice * element), b.slice);
  text += fmt::format("  slices   {}\n", b.slices);
  if (b.slots_need != 0) {
    text += fmt::format("  depth    {} slots an area\n", b.depth);
    text += fmt::format("  scratch  {} of slots in each rank's window\n", format_size(b.slots_need));
  }
  if (b.packets_need != 0) {
    text += fmt::format("  scratch  {} of packets in each rank's window\n", format_size(b.packets_need));
  }
  text += fmt::format("  ticks    {}\n", b.ticks);
  return text;
}

void print_plans(const Request& r) {
  const Plan one = algorithms::build(r.collective, r.algorithm, shape_of(r));
  const std::string binding = r.bytes ? describe_binding(r, bind(r, one, *r.bytes)) : "";
  if (r.all_ranks) {
    for (const Plan& plan : build_all(r)) fmt::print("{}\n", describe(plan));
  } else {
    fmt::print("{}\n", describe(one));
  }
  fmt::print("{}", binding);
}

/// How many steps all ranks execute in one operation.
uint64_t executed_steps(const std::vector<Plan>& plans, uint64_t slices) {
  uint64_t steps = 0;
  for (const Plan& plan : plans) {
    for (const plan::Lane& lane : plan.lanes) {
      steps += lane.prologue_end - lane.prologue_first;
      for (const plan::Block& block : lane.blocks) {
        steps += slices * block.rounds * (block.end_step - block.first_step);
      }
    }
  }
  return steps;
}

void print_graph(const Request& r) {
  const std::vector<Plan> plans = build_all(r);
  const uint64_t one_slice = r.collective == Collective::barrier ? 0 : plans[0].chunks * uint64_t{64};
  const plan::Binding binding = bind(r, plans[0], r.bytes.value_or(one_slice));
  const uint64_t nodes = executed_steps(plans, binding.slices);
  if (nodes > kMostGraphNodes) {
    throw UsageError(
        fmt::format("--format: a graph of {} ranks and {} slices has {} nodes, more than {}; use fewer "
                    "--ranks, fewer --bytes or a larger --slice",
                    r.shape.ranks, binding.slices, nodes, kMostGraphNodes));
  }
  fmt::print("{}", plan::graphviz(plans, binding));
}

std::string_view where_it_runs(Algorithm a) {
  constexpr uint16_t kSeveral[] = {0, 1};
  if (a == Algorithm::direct) return "one process";
  const bool on_one = algorithms::suits(a, {.ranks = 2});
  const bool on_several = algorithms::suits(a, {.ranks = 2, .nodes = kSeveral});
  return on_one && on_several ? "any nodes" : on_one ? "one node" : "several nodes";
}

void print_list() {
  for (int i = 0; i < kCollectives; ++i) {
    const auto collective = static_cast<Collective>(i);
    for (const Algorithm a : algorithms::algorithms_of(collective)) {
      fmt::print("{:<11} {:<22} {:<14} at least {} credit{}\n", name_of(collective), name_of(a),
                 where_it_runs(a), algorithms::least_credits(a),
                 algorithms::least_credits(a) == 1 ? "" : "s");
    }
  }
}

// ---- The simulation ----

std::string time_text(sim::Time t) {
  return fmt::format("{:.3f}", sim::in_microseconds(t));
}

/// One row of percentiles; "-" where there are too few values for one.
void print_distribution(std::string_view name, std::vector<sim::Time> values) {
  std::sort(values.begin(), values.end());
  const auto percentile = [&values](double of_thousand) -> std::string {
    const auto n = static_cast<double>(values.size());
    if (n * (1000 - of_thousand) < 1000) return "-";
    return time_text(values[static_cast<size_t>(n * of_thousand / 1000)]);
  };
  fmt::print("  {:<10} {:>12} {:>12} {:>12} {:>12} {:>12}\n", name,
             time_text(values[(values.size() - 1) / 2]), percentile(900), percentile(990), percentile(999),
             time_text(values.back()));
}

/// Longest time that any rank spent in the operation.
sim::Time longest(const sim::Outcome& o) {
  sim::Time most = 0;
  for (size_t r = 0; r < o.entry.size(); ++r) most = std::max(most, o.exit[r] - o.entry[r]);
  return most;
}

void print_ranks(const sim::Report& report) {
  const sim::Outcome& last = report.operations.back();
  const size_t shown = std::min(last.entry.size(), kRanksShown);
  fmt::print("\n  {:>4} {:>14} {:>14} {:>10}{}\n", "rank", "entry_us", "exit_us", "in_flight",
             report.operations.size() == 1 ? "" : "   (entry and exit of the last operation)");
  for (size_t r = 0; r < shown; ++r) {
    fmt::print("  {:>4} {:>14} {:>14} {:>10}\n", r, time_text(last.entry[r]), time_text(last.exit[r]),
               report.max_in_flight[r]);
  }
  if (shown < last.entry.size()) fmt::print("  and {} more ranks\n", last.entry.size() - shown);
}

void print_links(const sim::Report& report) {
  std::vector<sim::Traffic> links = report.traffic;
  if (links.empty()) return;
  std::stable_sort(links.begin(), links.end(),
                   [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  const uint64_t total = std::accumulate(links.begin(), links.end(), uint64_t{0},
                                         [](uint64_t sum, const auto& link) { return sum + link.bytes; });
  fmt::print("\n  {} bytes over {} links; the busiest:\n", total, links.size());
  for (size_t i = 0; i < std::min(links.size(), kLinksShown); ++i) {
    fmt::print("  {:>4} -> {:<4} {:>14} bytes\n", links[i].from, links[i].to, links[i].bytes);
  }
}

/// What crossed between nodes.
void print_cards(const sim::Report& report) {
  if (report.cards.size() < 2) return;
  fmt::print("\n  {:>4} {:>16} {:>16}   (bytes, in all operations)\n", "node", "sent", "received");
  for (size_t node = 0; node < std::min(report.cards.size(), kRanksShown); ++node) {
    fmt::print("  {:>4} {:>16} {:>16}\n", node, report.cards[node].sent, report.cards[node].received);
  }
  if (report.cards.size() > kRanksShown)
    fmt::print("  and {} more nodes\n", report.cards.size() - kRanksShown);
}

void print_bandwidth(const Request& r, uint64_t bytes, sim::Time median) {
  if (median == 0 || bytes == 0) return;
  const double algbw = static_cast<double>(bytes) / (static_cast<double>(median) / sim::kNanosecond);
  const double n = r.shape.ranks;
  const double busbw = r.collective == Collective::all_reduce ? algbw * 2 * (n - 1) / n : algbw;
  fmt::print("  algbw {:.3f} GB/s, busbw {:.3f} GB/s at the median of the time\n", algbw, busbw);
}

void simulate(const Request& r, const Texts& t) {
  const std::vector<Plan> plans = build_all(r);
  const uint64_t bytes = r.bytes.value_or(r.collective == Collective::barrier ? 0 : 64 << 10);
  const uint64_t steps = executed_steps(plans, bind(r, plans[0], bytes).slices);
  if (steps > kMostSimulatedSteps / r.iterations) {
    throw UsageError(
        fmt::format("--simulate: {} operations of {} steps are more than {} steps in all; use fewer "
                    "--ranks, --iterations or --bytes",
                    r.iterations, steps, kMostSimulatedSteps));
  }
  const sim::Operation one{.plans = plans, .count = bytes / size_of(r.dtype), .type = r.dtype};
  const sim::Report report =
      sim::simulate(std::vector<sim::Operation>(r.iterations, one), r.model, r.scratch);

  const std::string message = r.collective == Collective::barrier
                                  ? ""
                                  : fmt::format(", {} of {}", format_size(bytes), name_of(r.dtype));
  fmt::print("simulated: {} {}, {} ranks{}, iterations {}\n", name_of(r.collective), name_of(r.algorithm),
             r.shape.ranks, message, r.iterations);
  fmt::print("  alpha {}, beta {}, memory {}, step {}, noise {}, arrival {}, seed {}\n", t.alpha, t.beta,
             t.memory, t.step, t.noise.empty() ? "none" : t.noise, t.arrival, t.seed);
  if (r.model.ranks_per_node != 0 || !r.nodes.empty()) {
    fmt::print("  {} ranks a node, between nodes alpha {}, beta {}{}\n",
               r.nodes.empty() ? t.ranks_per_node : t.nodes, t.far_alpha, t.far_beta,
               t.slow_card.empty() ? "" : fmt::format(", slow card {}", t.slow_card));
  }
  std::vector<sim::Time> times, services, skews;
  for (const sim::Outcome& o : report.operations) {
    times.push_back(longest(o));
    services.push_back(o.service());
    skews.push_back(o.skew());
  }
  fmt::print("\n  {:<10} {:>12} {:>12} {:>12} {:>12} {:>12}\n", "us", "p50", "p90", "p99", "p99.9", "max");
  print_distribution("time", times);
  print_distribution("service", services);
  print_distribution("skew", skews);
  fmt::print("  time: the longest any rank spent in the operation\n");
  std::nth_element(times.begin(), times.begin() + static_cast<ptrdiff_t>((times.size() - 1) / 2),
                   times.end());
  print_bandwidth(r, bytes, times[(times.size() - 1) / 2]);
  print_ranks(report);
  print_links(report);
  print_cards(report);
}

// ---- The command line ----

void declare(CLI::App& app, Texts& t) {
  app.footer(kExamples);
  app.add_flag("--list", t.list, "List collectives and algorithms");
  app.add_option("--collective", t.collective, "all_reduce, broadcast or barrier");
  app.add_option("--algorithm", t.algorithm, "Which algorithm, see --list");
  app.add_option("--ranks", t.ranks, "Number of ranks (default 8)");
  app.add_option("--nodes", t.nodes,
                 "Ranks of each node, such as 3,5,1: plans for several nodes (default: one node)");
  app.add_option("--rank", t.rank, "Whose plan is shown as text: a rank or all (default 0)");
  app.add_option("--root", t.root, "Root of a broadcast (default 0)");
  app.add_option("--credits", t.credits, "Slices in flight to a receiver (default 4)");
  app.add_option("--bytes", t.bytes, "Size of the message, such as 64K: shows how it is cut");
  app.add_option("--dtype", t.dtype, "Element type (default float32)");
  app.add_option("--slots", t.slots, "Bulk scratch of a rank; an operation takes up to half (default 4M)");
  app.add_option("--packets", t.packets,
                 "Packet scratch of a rank; an operation takes up to half (default 1M)");
  app.add_option("--slice", t.slice, "Largest slice (default 128K)");
  app.add_option("--format", t.format, "text, or graphviz: all ranks, every step executed (default text)");
  app.add_flag("--legend", t.legend, "Explain the notation");
  const char* group = "Simulation";
  app.add_flag("--simulate", t.simulate, "Run the plans of all ranks in virtual time")->group(group);
  const auto add = [&](const char* name, std::string& value, const char* help) {
    app.add_option(name, value, help)->group(group);
  };
  add("--iterations", t.iterations, "Operations in a row (default 1)");
  add("--alpha", t.alpha, "Latency between ranks of a node (default 50ns)");
  add("--beta", t.beta, "Bandwidth between two ranks of a node (default 10GB/s)");
  add("--memory", t.memory, "What one rank reads and writes (default 40GB/s)");
  add("--step", t.step, "Overhead of each step (default 5ns)");
  add("--ranks-per-node", t.ranks_per_node,
      "Spreads plans for one node over several; 0: does not (default 0)");
  add("--far-alpha", t.far_alpha, "Latency between nodes (default 2us)");
  add("--far-beta", t.far_beta, "Bandwidth of a node's network card (default 12.5GB/s)");
  add("--slow-card", t.slow_card, "A node and which part of the bandwidth its card has, such as 1:0.25");
  add("--noise", t.noise, "Probability per step and mean of a delay, such as 0.001:50us");
  add("--arrival", t.arrival, "Mean delay before a rank enters an operation (default 0ns)");
  add("--gap", t.gap, "What every rank does between operations (default 0ns)");
  add("--seed", t.seed, "Of all random numbers (default 1)");
}

void run(const Texts& t) {
  if (t.list) return print_list();
  if (t.legend && t.collective.empty()) {
    fmt::print("{}", plan::legend());
    return;
  }
  const Request r = read_request(t);
  if (r.graph) return print_graph(r);
  if (t.legend) fmt::print("{}\n", plan::legend());
  if (t.simulate) return simulate(r, t);
  print_plans(r);
}

int fail(const std::exception& error, int status, const char* hint = "") {
  std::fprintf(stderr, "tutti-plan: %s%s\n", error.what(), hint);
  return status;
}

int program(int argc, char** argv) {
  Texts texts;
  CLI::App app{"Shows the plan of a collective, and how it runs on a simulated cluster.", "tutti-plan"};
  declare(app, texts);
  try {
    app.parse(argc, argv);
    run(texts);
    return 0;
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    return fail(error, 2, "; --help shows the options");
  } catch (const UsageError& error) {
    return fail(error, 2);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return program(argc, argv);
  } catch (const std::exception& error) {
    return fail(error, 1);
  }
}
