/* Two processes, each a rank: add up a vector. Shows the unique id, which reaches the other process by fork. */
#include <stdio.h>
#include <sys/wait.h>
#include <tutti/tutti.h>
#include <unistd.h>

enum { kRanks = 2, kCount = 4 };

static int failed(const char* what, tutti_result_t result) {
  if (result == TUTTI_SUCCESS) return 0;
  fprintf(stderr, "%s: %s: %s\n", what, tutti_result_name(result), tutti_last_error());
  return 1;
}

/* What each rank does. Returns 0 when the sum is right. */
static int run_rank(const tutti_unique_id_t* id, int rank) {
  tutti_comm_t comm = NULL;
  float mine[kCount];
  float sum[kCount];
  int wrong = 0;
  if (failed("tutti_comm_create", tutti_comm_create(&comm, id, rank, kRanks, NULL))) return 1;
  for (int i = 0; i < kCount; ++i) mine[i] = (float)(10 * i + rank);
  if (failed("tutti_all_reduce", tutti_all_reduce(mine, sum, kCount, TUTTI_FLOAT32, TUTTI_SUM, comm, NULL)))
    return 1;
  for (int i = 0; i < kCount; ++i) wrong += sum[i] != (float)(20 * i + 1);
  printf("rank %d of %d: sum = %g %g %g %g\n", rank, kRanks, sum[0], sum[1], sum[2], sum[3]);
  return failed("tutti_comm_destroy", tutti_comm_destroy(comm)) || wrong != 0;
}

int main(void) {
  tutti_unique_id_t id;
  int status = 0;
  int result;
  pid_t child;
  if (failed("tutti_unique_id_create", tutti_unique_id_create(&id))) return 1;
  child = fork();
  if (child < 0) {
    perror("fork");
    return 1;
  }
  if (child == 0) return run_rank(&id, 1);
  result = run_rank(&id, 0);
  if (waitpid(child, &status, 0) != child || status != 0) result = 1;
  return result;
}
