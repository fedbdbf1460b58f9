/* Ranks started by mpirun, their communicator made by tutti_mpi.h: plain C, as a user's program. Exit status 0 when all results
 * are right. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <tutti/tutti_mpi.h>

enum { kMost = 30000 };

static int failures = 0;

static void expect(int holds, const char* what, int rank) {
  if (holds) return;
  fprintf(stderr, "rank %d: %s: %s\n", rank, what, tutti_last_error());
  ++failures;
}

static void check_all_reduce(tutti_comm_t comm, int rank, int size, int64_t count, int round) {
  static int32_t in[kMost];
  static int32_t out[kMost];
  int64_t i;
  int64_t wrong = 0;
  for (i = 0; i < count; ++i) {
    in[i] = (int32_t)(i * 3 + rank * 7 + round);
    out[i] = -1;
  }
  expect(tutti_all_reduce(in, out, count, TUTTI_INT32, TUTTI_SUM, comm, NULL) == TUTTI_SUCCESS, "all_reduce",
         rank);
  for (i = 0; i < count; ++i)
    wrong += out[i] != (int32_t)(size * (i * 3 + round) + 7 * size * (size - 1) / 2);
  expect(wrong == 0, "all_reduce gave wrong sums", rank);
}

static void check_broadcast(tutti_comm_t comm, int rank, int64_t count, int root) {
  static double data[kMost];
  int64_t i;
  int64_t wrong = 0;
  for (i = 0; i < count; ++i) data[i] = rank == root ? (double)i + root : -1;
  expect(tutti_broadcast(data, data, count, TUTTI_FLOAT64, root, comm, NULL) == TUTTI_SUCCESS, "broadcast",
         rank);
  for (i = 0; i < count; ++i) wrong += data[i] != (double)i + root;
  expect(wrong == 0, "broadcast gave wrong data", rank);
}

static void check(MPI_Comm mpi) {
  static const int64_t counts[] = {0, 1, 14, 15, 1000, kMost};
  tutti_comm_config_t config = TUTTI_COMM_CONFIG_INIT;
  tutti_comm_t comm;
  int rank, size, own_rank, own_size, round, root;
  size_t c;
  MPI_Comm_rank(mpi, &rank);
  MPI_Comm_size(mpi, &size);
  config.timeout_ns = 60000000000;
  expect(tutti_comm_create_mpi(&comm, mpi, &config) == TUTTI_SUCCESS, "tutti_comm_create_mpi", rank);
  if (comm == NULL) return;
  tutti_comm_rank(comm, &own_rank);
  tutti_comm_size(comm, &own_size);
  expect(own_rank == rank && own_size == size, "rank or size is not MPI's", rank);
  for (round = 0; round < 20; ++round) {
    for (c = 0; c < sizeof(counts) / sizeof(counts[0]); ++c)
      check_all_reduce(comm, rank, size, counts[c], round);
  }
  for (root = 0; root < size; ++root) {
    for (c = 0; c < sizeof(counts) / sizeof(counts[0]); ++c) check_broadcast(comm, rank, counts[c], root);
  }
  expect(tutti_barrier(comm, NULL) == TUTTI_SUCCESS, "barrier", rank);
  expect(tutti_comm_destroy(comm) == TUTTI_SUCCESS, "destroy", rank);
}

int main(int argc, char** argv) {
  MPI_Comm half;
  int rank;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  check(MPI_COMM_WORLD);
  /* Two communicators at once, their ranks numbered backwards. */
  MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &half);
  check(half);
  MPI_Comm_free(&half);
  MPI_Allreduce(MPI_IN_PLACE, &failures, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  MPI_Finalize();
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
