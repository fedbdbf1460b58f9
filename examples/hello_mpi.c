/* Ranks that mpirun started: mpirun -np 4 hello_mpi. MPI serves for set-up only. */
#include <stdio.h>
#include <tutti/tutti_mpi.h>

static int failed(const char* what, tutti_result_t result) {
  if (result == TUTTI_SUCCESS) return 0;
  fprintf(stderr, "%s: %s: %s\n", what, tutti_result_name(result), tutti_last_error());
  return 1;
}

int main(int argc, char** argv) {
  tutti_comm_t comm = NULL;
  int rank = 0;
  int size = 0;
  int32_t sum = 0;
  double from_last = 0;
  MPI_Init(&argc, &argv);
  if (failed("tutti_comm_create_mpi", tutti_comm_create_mpi(&comm, MPI_COMM_WORLD, NULL)))
    MPI_Abort(MPI_COMM_WORLD, 1);
  tutti_comm_rank(comm, &rank);
  tutti_comm_size(comm, &size);

  sum = rank + 1;
  if (rank == size - 1) from_last = 2.5;
  if (failed("tutti_all_reduce", tutti_all_reduce(&sum, &sum, 1, TUTTI_INT32, TUTTI_SUM, comm, NULL)) ||
      failed("tutti_broadcast",
             tutti_broadcast(&from_last, &from_last, 1, TUTTI_FLOAT64, size - 1, comm, NULL))) {
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  printf("rank %d of %d: sum = %d, from the last rank = %g\n", rank, size, sum, from_last);

  tutti_comm_destroy(comm);
  MPI_Finalize();
  return sum == size * (size + 1) / 2 && from_last == 2.5 ? 0 : 1;
}
