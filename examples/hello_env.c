/* Ranks that somebody else started, without MPI: mpirun -np 4 hello_env, srun --mpi=pmix -n 4 hello_env, under torchrun, or by hand
 * with TUTTI_RANK, TUTTI_SIZE and TUTTI_UNIQUE_ID. */
#include <stdio.h>
#include <tutti/tutti.h>

static int failed(const char* what, tutti_result_t result) {
  if (result == TUTTI_SUCCESS) return 0;
  fprintf(stderr, "%s: %s: %s\n", what, tutti_result_name(result), tutti_last_error());
  return 1;
}

int main(void) {
  tutti_comm_t comm = NULL;
  int rank = 0;
  int size = 0;
  int nodes = 0;
  int32_t sum = 0;
  if (failed("tutti_comm_create_env", tutti_comm_create_env(&comm, NULL))) return 1;
  tutti_comm_rank(comm, &rank);
  tutti_comm_size(comm, &size);
  tutti_comm_node_count(comm, &nodes);

  sum = rank + 1;
  if (failed("tutti_all_reduce", tutti_all_reduce(&sum, &sum, 1, TUTTI_INT32, TUTTI_SUM, comm, NULL)))
    return 1;
  printf("rank %d of %d on %d node%s: sum = %d\n", rank, size, nodes, nodes == 1 ? "" : "s", sum);
  return failed("tutti_comm_destroy", tutti_comm_destroy(comm)) || sum != size * (size + 1) / 2;
}
