// What a rank does on the data path of verbs, to be looked at from outside by strace: phases, each between two calls of getppid, and how often this
// thread posted and polled in each.
//
// Posts and polls are counted where libibverbs hands them to the provider: ibv_open_device is this program's own, and changes the functions of each
// device that the library opens. The counters are the thread's, for another one looks after a communicator that is in no call.
//
// Usage: verbs_calls   (two ranks; launched as tutti_comm_create_env wants it). Prints for each phase, after the last one,
//     phase NAME RANK milliseconds polls posts requests receives
// where requests are the writes in those posts. Exit status 1: a result was wrong, or something failed.
#include <dlfcn.h>
#include <infiniband/verbs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <span>
#include <stdexcept>
#include <vector>

#include "tutti/tutti.hpp"

namespace {

using Clock = std::chrono::steady_clock;

/// Whoever waits for longer than the longest spin, a second, yields and sleeps, which happens on a machine that has other work: so there are some.
constexpr int kRounds = 8;
constexpr auto kLate = std::chrono::milliseconds(250);

struct Counts {
  uint64_t polls = 0;
  uint64_t posts = 0;
  uint64_t requests = 0;
  uint64_t receives = 0;
};

thread_local Counts counts;
/// The provider's own; all devices of a job have the same one.
ibv_context_ops provider;

int counted_poll(ibv_cq* queue, int most, ibv_wc* completions) {
  ++counts.polls;
  return provider.poll_cq(queue, most, completions);
}

int counted_send(ibv_qp* pair, ibv_send_wr* requests, ibv_send_wr** bad) {
  ++counts.posts;
  for (const ibv_send_wr* request = requests; request != nullptr; request = request->next) ++counts.requests;
  return provider.post_send(pair, requests, bad);
}

int counted_receive(ibv_qp* pair, ibv_recv_wr* requests, ibv_recv_wr** bad) {
  ++counts.receives;
  return provider.post_recv(pair, requests, bad);
}

struct Phase {
  const char* name;
  Counts counts;
  int64_t milliseconds;
};

template <typename Work>
Phase measure(tutti::Communicator& all, const char* name, const Work& work) {
  all.barrier();
  counts = {};
  const auto start = Clock::now();
  syscall(SYS_getppid);
  work();
  syscall(SYS_getppid);
  const auto lasted = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
  return {name, counts, lasted.count()};
}

/// Rank 0 waits for rank 1, which looks at its clock meanwhile: no system call.
void wait_for_the_late(tutti::Communicator& all) {
  const auto end = Clock::now() + kLate;
  while (all.rank() == 1 && Clock::now() < end) {
  }
  all.barrier();
}

void reduce(tutti::Communicator& all, std::vector<int64_t>& data, int times) {
  for (int i = 0; i < times; ++i) {
    for (size_t k = 0; k < data.size(); ++k) data[k] = static_cast<int64_t>(k) + i + all.rank();
    all.all_reduce(std::span<int64_t>(data), TUTTI_SUM);
    for (size_t k = 0; k < data.size(); ++k) {
      if (data[k] != 2 * (static_cast<int64_t>(k) + i) + 1) throw std::runtime_error("a wrong result");
    }
  }
}

void run() {
  auto all = tutti::Communicator::create_env();
  if (all.size() != 2) throw std::runtime_error("this is for two ranks");
  std::vector<int64_t> small(1);
  std::vector<int64_t> large(32 * 1024);
  reduce(all, small, 5);
  reduce(all, large, 2);
  std::vector<Phase> phases;
  for (int round = 0; round < kRounds; ++round) {
    phases.push_back(measure(all, "waiting", [&] { wait_for_the_late(all); }));
    phases.push_back(measure(all, "small", [&] { reduce(all, small, 20); }));
    phases.push_back(measure(all, "large", [&] { reduce(all, large, 2); }));
  }
  for (const Phase& phase : phases) {
    std::printf("phase %s %d %lld %llu %llu %llu %llu\n", phase.name, all.rank(),
                static_cast<long long>(phase.milliseconds),
                static_cast<unsigned long long>(phase.counts.polls),
                static_cast<unsigned long long>(phase.counts.posts),
                static_cast<unsigned long long>(phase.counts.requests),
                static_cast<unsigned long long>(phase.counts.receives));
  }
}

}  // namespace

// In the place of libibverbs' own.
extern "C" __attribute__((visibility("default"))) ibv_context* ibv_open_device(ibv_device* device) {
  static const auto real =
      reinterpret_cast<ibv_context* (*)(ibv_device*)>(dlsym(RTLD_NEXT, "ibv_open_device"));
  ibv_context* const context = real(device);
  if (context != nullptr) {
    provider = context->ops;
    context->ops.poll_cq = counted_poll;
    context->ops.post_send = counted_send;
    context->ops.post_recv = counted_receive;
  }
  return context;
}

int main() {
  try {
    run();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "verbs_calls: %s\n", error.what());
    return 1;
  }
}
