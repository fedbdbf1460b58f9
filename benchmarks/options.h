// What the user asked a benchmark to do.
//
// The options are those of nccl-tests where it has them. Reading them needs neither ranks nor MPI; what depends on
// the number of ranks (--root) is settled by roots_for() when that is known.
#pragma once

#include <tutti/tutti.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "benchmarks/collective.h"

namespace tutti::bench {

/// The user said something that cannot be; the message names option, value and what is allowed. Exit status 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Where a test makes this program go wrong on purpose.
enum class Plant : uint8_t { none, checked, timed, last };

inline constexpr uint64_t kLargestMessage = uint64_t{1} << 40;
inline constexpr int64_t kMostRanks = 1024;

/// What --memory device is about.
struct DeviceOptions {
  int ranks_per_gpu = 2;
  std::vector<int> devices{0};
  bool graph = false;       // time replays of a CUDA graph
  bool one_stream = false;  // for all ranks
  bool baseline_nccl = false;
  std::string nccl = "libnccl.so.2";
  bool nccl_sweep = false;

  int ranks() const { return ranks_per_gpu * static_cast<int>(devices.size()); }
};

/// A rank that comes late on purpose.
struct LateRank {
  int rank = 0;
  double us = 0;
  int64_t period = 1;  // in every so many-th iteration
};

/// Load on a core.
struct NoiseOptions {
  int core = 0;
  int percent = 100;  // of the time
};

/// A second communicator at work.
struct AggressorOptions {
  std::string collective;
  uint64_t bytes = 0;
};

struct Options {
  std::vector<uint64_t> sizes;  // bytes, ascending
  std::vector<tutti_datatype_t> datatypes{TUTTI_FLOAT32};
  std::vector<tutti_op_t> ops{TUTTI_SUM};
  std::optional<int> root = 0;        // empty: every rank in turn
  std::vector<bool> placements;       // each: in place?
  std::optional<int64_t> iterations;  // empty: as many as fit into `seconds`
  std::optional<int64_t> warmup;      // empty: as many as fit into a tenth of that
  double seconds = 0.5;
  bool registered = false;            // buffers: by tutti_register; on a device of tutti_mem_alloc
  bool limits = false;                // compare with what the machine allows
  bool windows = false;               // a long row: its windows are said one by one
  int64_t chain = 1;                  // calls that follow each other in one iteration
  std::optional<double> rate;         // calls in a second, at fixed times
  std::optional<LateRank> late_rank;  // --skew
  std::optional<NoiseOptions> noise;
  std::optional<AggressorOptions> aggressor;
  int64_t checks = 5;  // fully verified iterations before the timed ones; 0 switches all checks off
  std::optional<int> local_ranks;
  std::vector<std::string> baselines;   // on host memory: mpi, ucc, gloo, as they were named
  std::string peers;                    // where their modules are; empty: beside the program
  std::optional<DeviceOptions> device;  // empty: host memory
  std::string algorithm;                // empty: Tutti chooses
  int64_t timeout_ns = 0;               // 0: Tutti's own
  std::string json;                     // empty: none
  std::string raw;                      // raw samples; empty: none
  bool wide = false;                    // all columns in the table
  Plant plant_error = Plant::none;
  std::string plant_library = "tutti";  // whose result is spoiled
  double plant_slowdown = 0;            // Tutti's calls last longer by this share
  std::optional<int> plant_death;       // this rank kills itself before the second row

  /// Whether a row has a send buffer of its own.
  bool has_out_of_place() const;
};

struct ParsedOptions {
  std::optional<Options> options;  // empty: print `text` and end with `exit_code`
  std::string text;
  int exit_code = 0;
};

/// `arguments` without the program's name. Never throws for what the user wrote.
ParsedOptions parse_options(const CollectiveInfo& collective, std::vector<std::string> arguments);

/// Throws UsageError where an option names a rank that is none.
void check_ranks(const Options& options, int ranks);

/// The roots to measure; throws UsageError where --root is no rank.
std::vector<int> roots_for(const Options& options, int ranks);

/// "0.1.0" of the library that was loaded.
std::string library_version();

}  // namespace tutti::bench
