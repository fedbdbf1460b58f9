// Two ranks, each on a core of its own, for system_calls_test.cpp to look at from outside: between two calls of getppid, a rank
// runs thousands of operations.
//
// Not a test by itself. Prints nothing unless something is wrong.
#include <sched.h>
#include <sys/syscall.h>

#include "tests/process/support/forked.h"

namespace {

constexpr int kOperations = 2000;

void pin_to_core(int index) {
  cpu_set_t usable;
  expect(sched_getaffinity(0, sizeof(usable), &usable) == 0, "sched_getaffinity failed");
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &usable) || index-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    expect(sched_setaffinity(0, sizeof(one), &one) == 0, "sched_setaffinity failed");
    return;
  }
  expect(false, "fewer than 2 cores");
}

void run_operations(tutti_comm_t comm, int operations, std::vector<float>& in, std::vector<float>& out) {
  constexpr int64_t kCounts[] = {1, 15, 300, 5000};
  for (int i = 0; i < operations; ++i) {
    const int64_t count = kCounts[i / 4 % 4];
    tutti_request_t request = nullptr;
    tutti_result_t result = TUTTI_SUCCESS;
    switch (i % 4) {
      case 0:
        result = tutti_all_reduce(in.data(), out.data(), count, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr);
        break;
      case 1:
        result = tutti_broadcast(in.data(), out.data(), count, TUTTI_FLOAT32, i / 4 % 2, comm, nullptr);
        break;
      case 2:
        result = tutti_barrier(comm, nullptr);
        break;
      default:
        result = tutti_all_reduce_async(in.data(), out.data(), count, TUTTI_FLOAT16, TUTTI_MAX, comm, nullptr,
                                        &request);
        if (result == TUTTI_SUCCESS) result = tutti_request_wait(&request, -1);
    }
    expect_success(result, "an operation");
  }
}

}  // namespace

int main() {
  try {
    setenv("TUTTI_SPIN", "1s", 1);
    const tutti_unique_id_t id = make_id();
    Forked group;
    for (int rank = 0; rank < 2; ++rank) {
      group.start([&, rank] {
        pin_to_core(rank);
        const OwnRank own(id, rank, 2, patient_config());
        std::vector<float> in(5000, 1);
        std::vector<float> out(5000);
        run_operations(own.get(), 100, in, out);
        syscall(SYS_getppid);
        run_operations(own.get(), kOperations, in, out);
        syscall(SYS_getppid);
      });
    }
    group.expect_all_good(60 * kSecond);
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
