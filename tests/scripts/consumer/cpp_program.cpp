// The C++ interface of an installed Tutti: three ranks as threads broadcast, then add.
#include <cstdio>
#include <span>
#include <thread>
#include <tutti/tutti.hpp>
#include <vector>

namespace {

bool run_rank(tutti::Communicator& comm) {
  const int rank = comm.rank();
  std::vector<int64_t> values(333, rank == 1 ? 7 : -1);
  comm.broadcast(std::span<int64_t>(values), 1);
  for (int64_t& value : values) value += rank;
  comm.all_reduce_async(std::span<int64_t>(values), TUTTI_SUM).wait();
  comm.barrier();
  for (const int64_t value : values) {
    if (value != 3 * 7 + 0 + 1 + 2) return false;
  }
  return true;
}

}  // namespace

int main() try {
  std::vector<tutti::Communicator> ranks = tutti::Communicator::create_local(3);
  std::vector<int> right(ranks.size(), 0);
  {
    std::vector<std::jthread> threads;
    for (size_t r = 0; r < ranks.size(); ++r) {
      threads.emplace_back([&, r] {
        try {
          right[r] = run_rank(ranks[r]) ? 1 : 0;
        } catch (const tutti::Exception& error) {
          std::fprintf(stderr, "rank %zu: %s\n", r, error.what());
        }
      });
    }
  }
  for (const int one : right) {
    if (one == 0) return 1;
  }
  std::puts("C++: right");
  return 0;
} catch (const tutti::Exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
