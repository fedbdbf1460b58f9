// Rank 0 broadcasts and destroys its communicator at once, when nothing that it sends arrives any more: it has done its part, and the others must be told
// what was lost, long before their deadline.
//
// Usage: leaver FIFO   (every rank; launched as tutti_comm_create_env wants it). Rank 0 prints "ready", and broadcasts when somebody writes to FIFO. The
// others print what they were told, and their exit status is 1 where that was nothing.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <span>
#include <stdexcept>
#include <vector>

#include "tutti/tutti.hpp"

namespace {

void leave(const char* fifo) {
  auto all = tutti::Communicator::create_env();
  std::vector<int64_t> words(100);
  // Connected, and nothing on its way.
  all.barrier();
  if (all.rank() == 0) {
    std::puts("ready");
    std::fflush(stdout);
    if (std::ifstream(fifo).get() == std::ifstream::traits_type::eof())
      throw std::runtime_error("nobody wrote");
  }
  try {
    all.broadcast(std::span<int64_t>(words), 0);
  } catch (const tutti::Exception& error) {
    if (error.code() != TUTTI_PEER_LOST) throw;
    std::printf("rank %d was told: %s\n", all.rank(), error.what());
    return;
  }
  if (all.rank() != 0) throw std::runtime_error("the broadcast has come");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: leaver FIFO\n");
    return 2;
  }
  try {
    leave(argv[1]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "leaver: %s\n", error.what());
    return 1;
  }
}
