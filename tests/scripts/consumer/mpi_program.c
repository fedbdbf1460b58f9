/* A communicator made of MPI_COMM_WORLD by an installed Tutti: the header alone uses MPI. */
#include <stdio.h>
#include <tutti/tutti_mpi.h>

static int run(int rank, int size) {
  tutti_comm_t comm = NULL;
  double value = rank + 1.0;
  if (tutti_comm_create_mpi(&comm, MPI_COMM_WORLD, NULL) != TUTTI_SUCCESS ||
      tutti_all_reduce(&value, &value, 1, TUTTI_FLOAT64, TUTTI_SUM, comm, NULL) != TUTTI_SUCCESS) {
    fprintf(stderr, "rank %d: %s\n", rank, tutti_last_error());
    return 1;
  }
  if (tutti_comm_destroy(comm) != TUTTI_SUCCESS) return 1;
  if (rank == 0) printf("MPI: sum %g over %d ranks\n", value, size);
  return value == size * (size + 1) / 2.0 ? 0 : 1;
}

int main(int argc, char** argv) {
  int rank = 0;
  int size = 0;
  int wrong = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  wrong = run(rank, size);
  MPI_Finalize();
  return wrong;
}
