// Which options there are.
#pragma once

#include <optional>
#include <string>

#include "benchmarks/collective.h"

namespace CLI {
class App;
}

namespace tutti::bench {

/// The command line as it was written.
struct OptionTexts {
  using Text = std::optional<std::string>;
  Text min_bytes, max_bytes, step_factor, step_bytes;
  Text iterations, warmup, checks, seconds;
  Text datatype, op, root, placement;
  Text local_ranks, baseline, peers, algorithm, timeout, json, raw;
  Text memory, ranks_per_gpu, devices, chain, nccl;
  Text mode, rate, duration, skew, noise, aggressor;
  Text plant_error, plant_death, plant_slowdown;
  bool in_place = false, graph = false, one_stream = false, registered = false, nccl_sweep = false,
       wide = false, limits = false;
};

/// Tells the parser of all options; it fills `texts`, which must outlive it.
void declare_options(CLI::App& app, const CollectiveInfo& collective, OptionTexts& texts);

}  // namespace tutti::bench
