// allreduce_bench: latency percentiles and bandwidth of all-reduce.
#include "benchmarks/collectives.h"
#include "benchmarks/program.h"

int main(int argc, char** argv) {
  return tutti::bench::run_program(*tutti::bench::find_collective("all_reduce"), argc, argv);
}
