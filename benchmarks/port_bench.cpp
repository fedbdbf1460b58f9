// One port of a transport, between two ranks and without any collective: the latency of a put with its signal, and bandwidth. To be
// compared with perftest's ib_write_lat and ib_write_bw on the same devices (scripts/rdma_compare.sh does).
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "benchmarks/port_options.h"
#include "benchmarks/port_pair.h"
#include "benchmarks/port_traffic.h"
#include "benchmarks/statistics.h"
#include "core/error.h"

namespace tutti::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kWrong = 1;

std::string cell(std::optional<double> value) {
  return value ? fmt::format("{:>10.2f}", *value) : fmt::format("{:>10}", "-");
}

Json number_or_null(std::optional<double> value) {
  return value ? Json(*value) : Json();
}

/// Rank 0 alone prints.
class PortReport {
 public:
  PortReport(const PortPair& pair, const PortBenchOptions& options) : prints_(pair.rank() == 0) {
    document_ = {{"program", "port_bench"},  {"transport", options.transport}, {"route", pair.route()},
                 {"window", options.window}, {"latency", Json::array()},       {"bandwidth", Json::array()}};
    print("# port_bench: {} ({})\n", options.transport, pair.route());
  }

  void latency_head() const {
    print("# latency: half of a round trip, us\n# {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}\n",
          "bytes", "rounds", "p50", "p90", "p99", "p99.9", "max");
  }

  void latency(uint64_t bytes, const std::vector<double>& samples) {
    if (!prints_) return;
    const Summary all = summarize(samples);
    print("{:>12} {:>10} {} {} {} {} {}\n", bytes, all.samples, cell(all.p50), cell(all.p90), cell(all.p99),
          cell(all.p999), cell(all.max));
    document_["latency"].push_back({{"bytes", bytes},
                                    {"rounds", all.samples},
                                    {"p50_us", number_or_null(all.p50)},
                                    {"p90_us", number_or_null(all.p90)},
                                    {"p99_us", number_or_null(all.p99)},
                                    {"p999_us", number_or_null(all.p999)},
                                    {"max_us", all.max}});
  }

  void bandwidth_head(uint64_t window) const {
    print("# bandwidth: at most {} messages on their way\n# {:>10} {:>10} {:>10} {:>12}\n", window, "bytes",
          "messages", "Gbit/s", "messages/s");
  }

  void bandwidth(uint64_t bytes, uint64_t messages, double seconds) {
    const double per_second = static_cast<double>(messages) / seconds;
    const double gbits = per_second * static_cast<double>(bytes) * 8 / 1e9;
    print("{:>12} {:>10} {:>10.4f} {:>12.0f}\n", bytes, messages, gbits, per_second);
    document_["bandwidth"].push_back(
        {{"bytes", bytes}, {"messages", messages}, {"gbit_per_s", gbits}, {"messages_per_s", per_second}});
  }

  void end(uint64_t wrong, const std::string& file) {
    print("# wrong messages: {}\n", wrong);
    if (!prints_ || file.empty()) return;
    document_["wrong"] = wrong;
    std::ofstream out(file);
    out << document_.dump(2) << '\n';
    if (!out.flush()) raise(Result::system_error, "--json: '{}' cannot be written", file);
  }

 private:
  template <typename... Args>
  void print(fmt::format_string<Args...> format, Args&&... args) const {
    if (!prints_) return;
    fmt::print(format, std::forward<Args>(args)...);
    std::fflush(stdout);
  }

  bool prints_;
  Json document_;
};

int measure_port(const PortBenchOptions& options) {
  PortPair pair(options);
  PortTraffic traffic(pair, options);
  PortReport report(pair, options);
  if (options.latency) {
    report.latency_head();
    for (const uint64_t bytes : options.sizes()) report.latency(bytes, traffic.latency(bytes));
  }
  if (options.bandwidth) {
    report.bandwidth_head(options.window);
    for (const uint64_t bytes : options.sizes())
      report.bandwidth(bytes, options.rounds, traffic.bandwidth(bytes));
  }
  const uint64_t wrong = pair.sum(traffic.wrong());
  report.end(wrong, options.json);
  return wrong == 0 ? 0 : kWrong;
}

int run_port_bench(int argc, char** argv) {
  const ParsedPortOptions parsed = parse_port_options(argc, argv);
  if (!parsed.options) {
    fmt::print(parsed.exit_code == 0 ? stdout : stderr, "{}", parsed.text);
    return parsed.exit_code;
  }
  return measure_port(*parsed.options);
}

}  // namespace
}  // namespace tutti::bench

int main(int argc, char** argv) {
  try {
    return tutti::bench::run_port_bench(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "port_bench: {}\n", error.what());
    return 1;
  }
}
