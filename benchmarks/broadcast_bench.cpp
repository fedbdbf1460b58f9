// broadcast_bench: latency percentiles and bandwidth of broadcast.
#include "benchmarks/program.h"

int main(int argc, char** argv) {
  static const tutti::bench::CollectiveInfo kBroadcast{
      .kind = tutti::bench::Kind::broadcast,
      .name = "broadcast",
      .program = "broadcast_bench",
      .summary = "Measures broadcast: latency percentiles, bandwidth, verified results.",
      .examples =
          "  mpirun -np 4 broadcast_bench -b 8 -e 64M -f 4\n"
          "  broadcast_bench --np 4 -b 1K -e 1K -n 100000 --json result.json\n"
          "  mpirun -np 2 broadcast_bench -b 4 -e 256M -f 8 --baseline mpi\n"
          "  broadcast_bench --np 3 -b 100 -e 100K -f 10 --root all --placement both\n",
      .in_place_by_default = true,
      .bus_factor = [](int) { return 1.0; },
  };
  return tutti::bench::run_program(kBroadcast, argc, argv);
}
