// Result files (schema tutti-bench/1) read back.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "benchmarks/output.h"

namespace tutti::bench {

struct Results {
  std::vector<Row> rows;
  std::optional<Gpu> gpu;
};

/// Of a file that this program wrote. Throws std::runtime_error where it is something else.
Results read_results(const CollectiveInfo& collective, const std::string& text);

}  // namespace tutti::bench
