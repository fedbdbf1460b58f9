/* MPI alone, across the emulated hosts: tells a fault of the cluster from one of Tutti. Prints the host name of each rank; exit
 * status 0 when all sums are right. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { kCount = 1 << 16 };

int main(int argc, char** argv) {
  static int in[kCount];
  static int out[kCount];
  char name[MPI_MAX_PROCESSOR_NAME];
  int rank, size, length, i;
  int wrong = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Get_processor_name(name, &length);
  for (i = 0; i < kCount; ++i) in[i] = i + rank;
  MPI_Allreduce(in, out, kCount, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  for (i = 0; i < kCount; ++i) wrong += out[i] != i * size + size * (size - 1) / 2;
  printf("rank %d of %d on %s: %d wrong\n", rank, size, name, wrong);
  MPI_Finalize();
  return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
