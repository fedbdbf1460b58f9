// The baselines of a run on host memory: those that --baseline names, in that order.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "benchmarks/baseline.h"
#include "benchmarks/baseline_module.h"
#include "benchmarks/machine.h"
#include "benchmarks/options.h"
#include "benchmarks/output.h"

namespace tutti::bench {

class Baselines {
 public:
  /// Opens the modules, on this rank alone. Throws UsageError where one is missing.
  explicit Baselines(const Options& options);
  ~Baselines();
  Baselines(const Baselines&) = delete;
  Baselines& operator=(const Baselines&) = delete;

  /// Collective: brings the libraries' ranks together. Throws where one fails.
  void make(const CollectiveInfo& collective, World& world, const Machine& machine);

  std::vector<BaselineInfo> infos() const;
  /// Those that can do this call are added to `libraries`; returns the others.
  std::vector<LeftOut> add(const Call& call, std::vector<Library*>& libraries) const;

 private:
  class Ranks;

  const Options& options_;
  std::vector<std::unique_ptr<BaselineModule>> modules_;  // as in the options; null for MPI
  std::unique_ptr<Ranks> ranks_;
  std::vector<std::unique_ptr<Baseline>> baselines_;  // go first
};

}  // namespace tutti::bench
