// No operation allocates or locks: malloc and the mutexes of this program are counted while thousands of operations run.
//
// malloc and its kin and pthread_mutex_lock are defined here, which puts them before those of the C library for every
// library of this process. Only calls of threads that have switched the count on are counted.
#include <dlfcn.h>
#include <pthread.h>
#include <tutti/tutti.h>

#include <atomic>
#include <cerrno>
#include <vector>

#include "tests/catch.h"
#include "tests/runtime/support/local_ranks.h"

extern "C" {
void* __libc_malloc(size_t size);
void __libc_free(void* memory);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
}

namespace {

struct Counts {
  uint64_t allocations = 0;
  uint64_t frees = 0;
  uint64_t locks = 0;
};

// Plain data: a thread's first use of it allocates nothing.
thread_local bool counting = false;
thread_local uint64_t allocations = 0;
thread_local uint64_t frees = 0;
thread_local uint64_t locks = 0;

void count(uint64_t& counter) {
  if (counting) ++counter;
}

/// What `body` does on this thread.
template <typename Body>
Counts counted(Body&& body) {
  allocations = frees = locks = 0;
  counting = true;
  body();
  counting = false;
  return {allocations, frees, locks};
}

using LockFunction = int (*)(pthread_mutex_t*);

LockFunction next(const char* name) {
  return reinterpret_cast<LockFunction>(dlsym(RTLD_NEXT, name));
}

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED void* malloc(size_t size) {
  count(allocations);
  return __libc_malloc(size);
}
EXPORTED void free(void* memory) {
  count(frees);
  __libc_free(memory);
}
EXPORTED void* calloc(size_t number, size_t size) {
  count(allocations);
  return __libc_calloc(number, size);
}
EXPORTED void* realloc(void* memory, size_t size) {
  count(allocations);
  return __libc_realloc(memory, size);
}
EXPORTED void* memalign(size_t alignment, size_t size) {
  count(allocations);
  return __libc_memalign(alignment, size);
}
EXPORTED void* aligned_alloc(size_t alignment, size_t size) {
  count(allocations);
  return __libc_memalign(alignment, size);
}
EXPORTED int posix_memalign(void** memory, size_t alignment, size_t size) {
  count(allocations);
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}
EXPORTED int pthread_mutex_lock(pthread_mutex_t* mutex) {
  static const LockFunction lock = next("pthread_mutex_lock");
  count(locks);
  return lock(mutex);
}
EXPORTED int pthread_mutex_trylock(pthread_mutex_t* mutex) {
  static const LockFunction lock = next("pthread_mutex_trylock");
  count(locks);
  return lock(mutex);
}

namespace {

constexpr int kOperations = 10'000;

/// One operation of the rotation: kinds, sizes on both sides of every change of algorithm, roots, asynchronous ones.
void one_operation(int i, tutti_comm_t comm, int ranks, std::vector<float>& in, std::vector<float>& out) {
  constexpr int64_t kCounts[] = {1, 14, 15, 200, 3000, 20000};
  const int64_t count = kCounts[i / 6 % 6];
  tutti_request_t request = nullptr;
  tutti_result_t result = TUTTI_SUCCESS;
  switch (i % 6) {
    case 0:
      result = tutti_all_reduce(in.data(), out.data(), count, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr);
      break;
    case 1:
      result = tutti_broadcast(in.data(), out.data(), count, TUTTI_FLOAT32, i % ranks, comm, nullptr);
      break;
    case 2:
      result = tutti_barrier(comm, nullptr);
      break;
    case 3:
      result = tutti_all_reduce_async(in.data(), out.data(), count, TUTTI_INT32, TUTTI_MAX, comm, nullptr,
                                      &request);
      if (result == TUTTI_SUCCESS) result = tutti_request_wait(&request, -1);
      break;
    case 4:
      result = tutti_broadcast_async(in.data(), out.data(), count, TUTTI_INT8, 0, comm, nullptr, &request);
      while (result == TUTTI_SUCCESS && request != nullptr) {
        const tutti_result_t tested = tutti_request_test(&request);
        if (tested != TUTTI_IN_PROGRESS) result = tested;
      }
      break;
    default:
      result = tutti_all_reduce(out.data(), out.data(), count, TUTTI_BFLOAT16, TUTTI_AVG, comm, nullptr);
  }
  if (result != TUTTI_SUCCESS) {
    counting = false;
    expect_success(result, "an operation of the fast path");
  }
}

void check_fast_path(int ranks, const char* algorithm) {
  LocalRanks group(ranks, algorithm);
  std::vector<Counts> counts(static_cast<size_t>(ranks));
  group.run([&](int rank, tutti_comm_t comm) {
    std::vector<float> in(20000, 1);
    std::vector<float> out(20000);
    // Plans are built when they are first used: every kind, size and root once.
    for (int i = 0; i < 36 * ranks; ++i) one_operation(i, comm, ranks, in, out);
    counts[static_cast<size_t>(rank)] = counted([&] {
      for (int i = 0; i < kOperations; ++i) one_operation(i, comm, ranks, in, out);
    });
  });
  for (const Counts& c : counts) {
    CHECK(c.allocations == 0);
    CHECK(c.frees == 0);
    CHECK(c.locks == 0);
  }
}

}  // namespace

TEST_CASE("the counters count") {
  tutti_comm_t comm = nullptr;
  const Counts made = counted([&] { tutti_comm_create_local(&comm, 1, nullptr); });
  CHECK(made.allocations > 0);
  CHECK(made.locks > 0);
  const Counts gone = counted([&] { tutti_comm_destroy(comm); });
  CHECK(gone.frees > 0);
  CHECK(gone.locks > 0);
}

TEST_CASE("operations allocate nothing and lock nothing") {
  for (const char* algorithm :
       {"", "all_reduce=ring,broadcast=chain", "all_reduce=recursive_doubling", "all_reduce=two_shot"}) {
    CAPTURE(algorithm);
    check_fast_path(2, algorithm);
  }
  check_fast_path(1, "");
  check_fast_path(3, "");
}
