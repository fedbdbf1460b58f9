/* What ranks.cpp takes from MPI, in C as tutti_mpi.h is. */
#ifndef TUTTI_TESTS_CLUSTER_BY_MPI_H
#define TUTTI_TESTS_CLUSTER_BY_MPI_H

#include <tutti/tutti.h>

#ifdef __cplusplus
extern "C" {
#endif

/* 0 where MPI does not start. */
int by_mpi_begin(int* rank, int* size);
tutti_result_t by_mpi_create(tutti_comm_t* comm, const tutti_comm_config_t* config);
void by_mpi_end(void);
/* Ends all ranks. */
void by_mpi_abort(void);

#ifdef __cplusplus
}
#endif

#endif
