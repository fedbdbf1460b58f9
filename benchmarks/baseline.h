// A library that is measured beside Tutti on host memory: MPI, UCC, Gloo.
//
// MPI is part of the program where it was there at build time. UCC and Gloo are loadable modules, opened at run time (baseline_module.h),
// so that a program runs where they are not installed. A module has two functions with C names, those below; program and module are
// of one build, which kBaselineInterface is there to make sure of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "benchmarks/library.h"

namespace tutti::bench {

/// Another number with every change of what is declared here or in library.h.
inline constexpr int kBaselineInterface = 1;

class Baseline : public Library {
 public:
  /// Why it cannot do this call; empty where it can. The same on all ranks.
  virtual std::string cannot(const Call& call) const = 0;
  /// The library's own word for it.
  virtual std::string version() const = 0;
  /// How it was set for this run.
  virtual std::string settings() const = 0;
};

/// The ranks of the run, for a library that has to bring its own together.
class BaselineRanks {
 public:
  BaselineRanks() = default;
  virtual ~BaselineRanks() = default;
  BaselineRanks(const BaselineRanks&) = delete;
  BaselineRanks& operator=(const BaselineRanks&) = delete;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual int nodes() const = 0;
  /// Whether there are more ranks than cores for them.
  virtual bool crowded() const = 0;
  // Collective; throw where a rank is lost.
  /// Every rank's bytes, as many of each, one after another by rank.
  virtual void gather(std::span<const std::byte> own, std::span<std::byte> all) = 0;
  /// Each value becomes the largest of all ranks.
  virtual void max(std::span<double> values) = 0;
};

/// Lives as long as the baseline that is made with it.
struct BaselineSetup {
  const CollectiveInfo& collective;
  BaselineRanks& ranks;
  int64_t timeout_ns;  // of one operation
};

}  // namespace tutti::bench

// What a module has.
extern "C" {
using tutti_bench_interface_fn = int();
/// Collective. Throws std::exception where the library fails.
using tutti_bench_make_fn = void(const tutti::bench::BaselineSetup& setup,
                                 std::unique_ptr<tutti::bench::Baseline>& baseline);
}
