// The module of a baseline: where it is looked for, and what is said where it is not.
//
// tutti_bench_NAME.so lies beside the program (a build folder) or in lib/tutti of the same installation, unless
// --peers says where.
#pragma once

#include <memory>
#include <string>

#include "benchmarks/baseline.h"

namespace tutti::bench {

class BaselineModule {
 public:
  /// Opens it; `directory` is empty where the user has not said any. Throws UsageError with the reason.
  BaselineModule(const std::string& name, const std::string& directory);

  /// Collective.
  std::unique_ptr<Baseline> make(const BaselineSetup& setup) const;

 private:
  tutti_bench_make_fn* make_ = nullptr;
};

}  // namespace tutti::bench
