// NCCL's best algorithm and protocol for each row.
//
// NCCL reads both from the environment once in a process, so this program runs itself once for each pair, and once with NCCL's own choice.
// Each of these runs measures Tutti and NCCL in turns; of each row the run is kept in which NCCL's median was the smallest, Tutti's row of
// that run with it.
#pragma once

#include <string>
#include <vector>

#include "benchmarks/options.h"
#include "benchmarks/output.h"

namespace tutti::bench {

int sweep_nccl(const CollectiveInfo& collective, const Options& options, int argc, char** argv);

/// The command line of one run of the sweep: the same, but with its results in `json` and without a sweep of its own.
std::vector<std::string> sweep_arguments(const std::vector<std::string>& arguments, const std::string& json);

/// The rows of a plan: Tutti's, and the baseline's where there is one.
using Pair = std::vector<Row>;
/// Of both runs' rows, one by one, those in which the baseline was faster. `best` is empty at first; the run that has fewer rows ends it.
void keep_best(std::vector<Pair>& best, const std::vector<Pair>& run);

}  // namespace tutti::bench
