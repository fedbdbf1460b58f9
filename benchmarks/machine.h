// Where and with what a result was measured: what makes two results comparable or not.
//
// No host name: `node` is a hash that differs between machines and is the same for all runs on one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "benchmarks/launcher.h"

namespace tutti::bench {

/// Of a run on device memory.
struct Gpu {
  std::string name;
  int devices = 1;
  std::string cuda;     // the newest CUDA that the driver is for: "13.0"
  double copy_gbs = 0;  // bytes that large copies read and write
  int blocks = 0;       // of one rank, at most; 0: not known
  std::string nccl;     // its version; empty when it took no part
};

/// Of a run with --limits.
struct MachineLimits {
  std::optional<double> cache_line_ns;  // one way between the first two ranks
  std::optional<double> copy_gbs;  // bytes that all ranks at once read and write, copying up to 64 MiB each
};

/// A library beside Tutti on host memory.
struct BaselineInfo {
  std::string name;
  std::string version;
  std::string settings;
};

struct Machine {
  std::string cpu;
  int cores = 0;  // that the ranks may use, all together
  uint64_t memory_bytes = 0;
  std::string kernel;
  std::string architecture;
  std::string node;
  std::string compiler;
  std::string tutti_version;
  std::string mpi;         // the MPI library; empty when it took no part
  std::string mpi_yields;  // OMPI_MCA_mpi_yield_when_idle as it is set; empty when it is not
  std::string launch;
  int ranks = 0;
  int nodes = 1;
  std::string time;                    // UTC, ISO 8601
  std::string command;                 // without the path of the program
  std::optional<double> measuring_ns;  // what measuring adds to each time
  std::optional<MachineLimits> limits;
  std::optional<Gpu> gpu;
  std::vector<BaselineInfo> baselines;
};

/// Of this process alone, whose ranks are `ranks`.
Machine describe_machine(int ranks, int argc, char** argv);

/// Collective: all ranks call it.
Machine describe_machine(World& world, int argc, char** argv);

/// Memory that can be allocated now; 0 when the system does not tell.
uint64_t available_memory();

}  // namespace tutti::bench
