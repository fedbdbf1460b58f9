// Rank 0 broadcasts from a registered buffer, writes to it as soon as the call has returned, and in the end deregisters it at once: what the cards
// have not sent by then, or must send again, must not be read from there.
//
// Usage: reuse ROUNDS BYTES   (every rank; launched as tutti_comm_create_env wants it). Exit status 1: something wrong arrived.
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <span>
#include <stdexcept>
#include <vector>

#include "tutti/tutti.hpp"

namespace {

constexpr uint8_t kOverwritten = 0xff;

void broadcast_and_overwrite(int rounds, size_t bytes) {
  auto all = tutti::Communicator::create_env();
  std::vector<uint8_t> data(bytes);
  const auto registration = all.register_buffer(data.data(), data.size());
  for (int round = 0; round < rounds; ++round) {
    const auto right = static_cast<uint8_t>(round % 255);
    std::ranges::fill(data, all.rank() == 0 ? right : kOverwritten);
    all.broadcast(std::span<uint8_t>(data), 0);
    if (all.rank() == 0) {
      std::ranges::fill(data, kOverwritten);
    } else if (const auto wrong = std::ranges::find_if(data, [&](uint8_t b) { return b != right; });
               wrong != data.end()) {
      throw std::runtime_error(fmt::format("round {}: byte {} of {} is {}, expected {}", round,
                                           wrong - data.begin(), bytes, *wrong, right));
    }
  }
  all.deregister(registration);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: reuse ROUNDS BYTES\n");
    return 2;
  }
  try {
    broadcast_and_overwrite(std::atoi(argv[1]), std::strtoull(argv[2], nullptr, 10));
    std::puts("all was right");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "reuse: %s\n", error.what());
    return 1;
  }
}
