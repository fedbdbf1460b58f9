// Rank 0 is cut off from rank 1: somebody pulls all its rails while
//
//   leave   it has nothing on its way; then it broadcasts, has so done its part, and destroys its communicator at once
//   go_on   it broadcasts every 100 ms, and never waits for anybody
//   wait    it waits for rank 1, and all that it has sent has arrived
//
// and all ranks must be told, long before their deadline. In the first two, rank 1 is in no call until then, and so cannot find out by itself.
//
// Usage: cut_off leave|go_on|wait FIFO   (two ranks, launched as tutti_comm_create_env wants it). A rank that is ready says so, and goes on when somebody
// writes to FIFO.RANK; in `wait` that is rank 1 alone. Each prints what it was told, and that it has left; exit status 1 where it was told nothing.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tutti/tutti.hpp"

namespace {

using std::chrono::milliseconds;

void meet_somebody(const std::string& fifo, int rank) {
  std::printf("rank %d is ready\n", rank);
  std::fflush(stdout);
  if (std::ifstream(fifo + "." + std::to_string(rank)).get() == std::ifstream::traits_type::eof())
    throw std::runtime_error("nobody wrote");
}

/// What ends the example, sooner or later. False: rank 0 has done its part, and need not be told.
bool take_part(tutti::Communicator& all, const std::string& what, const std::string& fifo) {
  std::vector<int64_t> words(100);
  if (what != "wait" || all.rank() == 1) meet_somebody(fifo, all.rank());
  if (what == "wait") {
    all.barrier();
    return true;
  }
  constexpr int kRounds = 150;
  for (int round = 0; round < (what == "leave" ? 1 : kRounds); ++round) {
    all.broadcast(std::span<int64_t>(words), 0);
    if (what == "go_on" && all.rank() == 0) std::this_thread::sleep_for(milliseconds(100));
  }
  return what == "go_on" || all.rank() != 0;
}

/// Returns this rank.
int be_cut_off(const std::string& what, const std::string& fifo) {
  auto all = tutti::Communicator::create_env();
  // Connected, and nothing on its way.
  all.barrier();
  try {
    if (!take_part(all, what, fifo)) return all.rank();
  } catch (const tutti::Exception& error) {
    if (error.code() != TUTTI_PEER_LOST) throw;
    std::printf("rank %d was told: %s\n", all.rank(), error.what());
    std::fflush(stdout);
    return all.rank();
  }
  throw std::runtime_error("all has come");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: cut_off leave|go_on|wait FIFO\n");
    return 2;
  }
  try {
    std::printf("rank %d has left\n", be_cut_off(argv[1], argv[2]));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cut_off: %s\n", error.what());
    return 1;
  }
}
