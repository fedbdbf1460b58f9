#include "tests/cluster/by_mpi.h"

#include <tutti/tutti_mpi.h>

int by_mpi_begin(int* rank, int* size) {
  return MPI_Init(NULL, NULL) == MPI_SUCCESS && MPI_Comm_rank(MPI_COMM_WORLD, rank) == MPI_SUCCESS &&
         MPI_Comm_size(MPI_COMM_WORLD, size) == MPI_SUCCESS;
}

tutti_result_t by_mpi_create(tutti_comm_t* comm, const tutti_comm_config_t* config) {
  return tutti_comm_create_mpi(comm, MPI_COMM_WORLD, config);
}

void by_mpi_end(void) {
  MPI_Finalize();
}

void by_mpi_abort(void) {
  MPI_Abort(MPI_COMM_WORLD, 1);
}
