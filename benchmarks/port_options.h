// The options of port_bench, read strictly: an error names the option, what came and what is allowed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tutti::bench {

struct PortBenchOptions {
  std::string transport = "verbs";  // or "ucx"
  bool latency = true;
  bool bandwidth = true;
  uint64_t min_bytes = 8;
  uint64_t max_bytes = 64 << 10;
  uint64_t factor = 2;
  uint64_t rounds = 1000;  // measured: round trips, or messages one way
  uint64_t warmup = 20;    // before them
  uint64_t checked = 20;   // and before those, with every byte verified
  uint64_t window = 16;    // messages that may be on their way
  std::string json;        // a file; empty: none
  bool plant_wrong = false;

  std::vector<uint64_t> sizes() const;
  /// What must be equal on both ranks: lines "name=value".
  std::string digest() const;
};

struct ParsedPortOptions {
  std::optional<PortBenchOptions> options;  // empty: `text` is to be printed
  int exit_code = 0;
  std::string text;
};

ParsedPortOptions parse_port_options(int argc, char** argv);

/// The most memory of one rank that peers write and that leaves it, together.
inline constexpr uint64_t kMostPortMemory = uint64_t{2} << 30;

}  // namespace tutti::bench
