/* A Tutti communicator from an MPI communicator. Header-only: the library itself never links MPI. */
#ifndef TUTTI_MPI_H
#define TUTTI_MPI_H

#include <mpi.h>
#include <tutti/tutti.h>

/* Collective over `mpi_comm`: rank and size are the MPI communicator's. `config` may be NULL. MPI is used for set-up only,
 * and `mpi_comm` may be freed afterwards. */
static inline tutti_result_t tutti_comm_create_mpi(tutti_comm_t* comm, MPI_Comm mpi_comm,
                                                   const tutti_comm_config_t* config) {
  struct {
    tutti_unique_id_t id;
    int32_t result;
  } root = {{{0}}, TUTTI_SUCCESS};
  int rank = 0;
  int size = 0;
  if (comm == NULL) return TUTTI_INVALID_ARGUMENT;
  *comm = NULL;
  if (MPI_Comm_rank(mpi_comm, &rank) != MPI_SUCCESS || MPI_Comm_size(mpi_comm, &size) != MPI_SUCCESS) {
    return TUTTI_INVALID_ARGUMENT;
  }
  if (rank == 0) root.result = (int32_t)tutti_unique_id_create(&root.id);
  if (MPI_Bcast(&root, (int)sizeof(root), MPI_BYTE, 0, mpi_comm) != MPI_SUCCESS) return TUTTI_SYSTEM_ERROR;
  if (root.result != TUTTI_SUCCESS) return (tutti_result_t)root.result;
  return tutti_comm_create(comm, &root.id, rank, size, config);
}

#endif /* TUTTI_MPI_H */
