/* The C interface of an installed Tutti: two ranks as threads add a vector. */
#include <pthread.h>
#include <stdio.h>
#include <tutti/tutti.h>

enum { kRanks = 2, kCount = 1000 };

static void* run_rank(void* handle) {
  tutti_comm_t comm = handle;
  static _Thread_local float values[kCount];
  int rank = -1;
  if (tutti_comm_rank(comm, &rank) != TUTTI_SUCCESS) return "no rank";
  for (int i = 0; i < kCount; ++i) values[i] = (float)(i * (rank + 1));
  if (tutti_all_reduce(values, values, kCount, TUTTI_FLOAT32, TUTTI_SUM, comm, NULL) != TUTTI_SUCCESS) {
    fprintf(stderr, "rank %d: %s\n", rank, tutti_last_error());
    return "all_reduce failed";
  }
  for (int i = 0; i < kCount; ++i) {
    if (values[i] != (float)(i * 3)) return "wrong sum";
  }
  return NULL;
}

int main(void) {
  tutti_comm_t comms[kRanks];
  if (tutti_comm_create_local(comms, kRanks, NULL) != TUTTI_SUCCESS) {
    fprintf(stderr, "create: %s\n", tutti_last_error());
    return 1;
  }
  pthread_t threads[kRanks];
  for (int r = 0; r < kRanks; ++r) {
    if (pthread_create(&threads[r], NULL, run_rank, comms[r]) != 0) return 1;
  }
  int wrong = 0;
  for (int r = 0; r < kRanks; ++r) {
    void* problem = NULL;
    pthread_join(threads[r], &problem);
    if (problem != NULL) {
      fprintf(stderr, "rank %d: %s\n", r, (const char*)problem);
      wrong = 1;
    }
  }
  for (int r = 0; r < kRanks; ++r) tutti_comm_destroy(comms[r]);
  printf("C: version %d, %s\n", tutti_version(), wrong ? "wrong" : "right");
  return wrong;
}
