// One entry for each collective.
#include "benchmarks/collectives.h"

#include <algorithm>

namespace tutti::bench {
namespace {

constexpr CollectiveInfo kCollectives[] = {
    {
        .kind = Kind::all_reduce,
        .name = "all_reduce",
        .program = "allreduce_bench",
        .summary = "Measures all-reduce: latency percentiles, bandwidth, verified results.",
        .examples = "  -b 8 -e 64M -f 4                                a sweep of sizes\n"
                    "  --np 4 -b 1K -e 1K -n 100000 --json result.json\n"
                    "  --np 2 -b 8 -e 4K --wide --limits               who is late, what it costs, how near "
                    "to the bound\n"
                    "  --np 2 -b 8 -e 8 --rate 10000 --raw samples.jsonl\n"
                    "  -b 4 -e 256M -f 8 --baseline mpi                under mpirun\n"
                    "  --np 3 -b 100 -e 100K -f 10 -d all -o all --placement both\n",
        .in_place_by_default = false,
        .bus_factor = [](int ranks) { return 2.0 * (ranks - 1) / ranks; },
    },
    {
        .kind = Kind::broadcast,
        .name = "broadcast",
        .program = "broadcast_bench",
        .summary = "Measures broadcast: latency percentiles, bandwidth, verified results.",
        .examples = "  -b 8 -e 64M -f 4                                a sweep of sizes\n"
                    "  --np 4 -b 1K -e 1K -n 100000 --json result.json\n"
                    "  --np 2 -b 8 -e 4K --wide --limits               who is late, what it costs, how near "
                    "to the bound\n"
                    "  -b 4 -e 256M -f 8 --baseline mpi                under mpirun\n"
                    "  --np 3 -b 100 -e 100K -f 10 --root all --placement both\n",
        .in_place_by_default = true,
        .bus_factor = [](int) { return 1.0; },
    },
};

}  // namespace

std::span<const CollectiveInfo> all_collectives() {
  return kCollectives;
}

const CollectiveInfo* find_collective(std::string_view name) {
  const auto* found = std::find_if(std::begin(kCollectives), std::end(kCollectives),
                                   [name](const CollectiveInfo& one) { return name == one.name; });
  return found == std::end(kCollectives) ? nullptr : found;
}

CollectiveInfo as_part_of(const CollectiveInfo& collective, const char* program) {
  CollectiveInfo info = collective;
  info.program = program;
  return info;
}

}  // namespace tutti::bench
