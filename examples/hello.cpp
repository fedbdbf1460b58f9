// Four ranks as threads of one process: a sum, a broadcast, and a sum that runs beside other work.
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <span>
#include <thread>
#include <tutti/tutti.hpp>
#include <vector>

namespace {

constexpr int kRanks = 4;

/// What each rank does. Returns true when all results are right.
bool run_rank(tutti::Communicator comm) {
  const int rank = comm.rank();
  std::array<double, 3> mine{1.0 * rank, 2.0 * rank, 3.0 * rank};
  std::array<double, 3> sum{};
  comm.all_reduce(std::span<const double>(mine), std::span<double>(sum), TUTTI_SUM);

  int answer = rank == 1 ? 42 : 0;
  comm.broadcast(std::span<int>(&answer, 1), 1);

  float largest = 0.5F + static_cast<float>(rank);
  tutti::Request request = comm.all_reduce_async(std::span<float>(&largest, 1), TUTTI_MAX);
  while (!request.wait_for(std::chrono::milliseconds(1))) {
    // Other work of this thread would stand here.
  }

  comm.barrier();
  std::printf("rank %d of %d: sum = %g %g %g, answer = %d, largest = %g\n", rank, comm.size(), sum[0], sum[1],
              sum[2], answer, static_cast<double>(largest));
  return sum == std::array<double, 3>{6, 12, 18} && answer == 42 && largest == 3.5F;
}

}  // namespace

int main() {
  try {
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (tutti::Communicator& comm : tutti::Communicator::create_local(kRanks)) {
      threads.emplace_back([&wrong, comm = std::move(comm)]() mutable {
        try {
          if (!run_rank(std::move(comm))) ++wrong;
        } catch (const std::exception& error) {
          std::fprintf(stderr, "%s\n", error.what());
          ++wrong;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    return wrong == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
