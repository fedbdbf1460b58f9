// allreduce_bench: latency percentiles and bandwidth of all-reduce.
#include "benchmarks/program.h"

int main(int argc, char** argv) {
  static const tutti::bench::CollectiveInfo kAllReduce{
      .kind = tutti::bench::Kind::all_reduce,
      .name = "all_reduce",
      .program = "allreduce_bench",
      .summary = "Measures all-reduce: latency percentiles, bandwidth, verified results.",
      .examples =
          "  mpirun -np 4 allreduce_bench -b 8 -e 64M -f 4\n"
          "  allreduce_bench --np 4 -b 1K -e 1K -n 100000 --json result.json\n"
          "  mpirun -np 2 allreduce_bench -b 4 -e 256M -f 8 --baseline mpi\n"
          "  allreduce_bench --np 3 -b 100 -e 100K -f 10 -d all -o all --placement both\n",
      .in_place_by_default = false,
      .bus_factor = [](int ranks) { return 2.0 * (ranks - 1) / ranks; },
  };
  return tutti::bench::run_program(kAllReduce, argc, argv);
}
