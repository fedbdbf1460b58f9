// Two communicators of the same ranks, used in turns, for SECONDS: what a rank has done its part of in the first must reach the others though the
// rank is back from the call, and waits in the second for those others. Verifies every result; prints how many rounds there were.
//
// Usage: two_communicators SECONDS   (every rank; launched as tutti_comm_create_env wants it)
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <span>
#include <stdexcept>

#include "tutti/tutti.hpp"

namespace {

using Clock = std::chrono::steady_clock;

tutti::Communicator second_of(tutti::Communicator& first) {
  tutti_unique_id_t id = first.rank() == 0 ? tutti::UniqueId::create().get() : tutti_unique_id_t{};
  first.broadcast(std::span<unsigned char>(id.bytes), 0);
  return tutti::Communicator::create(tutti::UniqueId(id), first.rank(), first.size());
}

void require(int64_t came, int64_t expected, const char* what) {
  if (came != expected) {
    std::fprintf(stderr, "%s: %lld came, expected %lld\n", what, static_cast<long long>(came),
                 static_cast<long long>(expected));
    throw std::runtime_error("a wrong result");
  }
}

/// False once rank 0 says that it is enough.
bool run_round(tutti::Communicator& first, tutti::Communicator& second, int64_t round, bool enough) {
  const int root = static_cast<int>(round % first.size());
  int64_t word = first.rank() == root ? round : -1;
  first.broadcast(std::span<int64_t>(&word, 1), root);
  require(word, round, "broadcast");
  const int64_t weight = first.rank() == 0 && enough ? 1'000'000 : 1;
  int64_t sum = weight;
  second.all_reduce(std::span<int64_t>(&sum, 1), TUTTI_SUM);
  const bool last = sum >= 1'000'000;
  require(sum, first.size() + (last ? 999'999 : 0), "all_reduce");
  return !last;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: two_communicators SECONDS\n");
    return 2;
  }
  try {
    auto first = tutti::Communicator::create_env();
    auto second = second_of(first);
    const auto end = Clock::now() + std::chrono::seconds(std::atoi(argv[1]));
    int64_t round = 0;
    while (run_round(first, second, round, Clock::now() >= end)) ++round;
    if (first.rank() == 0) std::printf("%lld rounds\n", static_cast<long long>(round));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "two_communicators: %s\n", error.what());
    return 1;
  }
}
