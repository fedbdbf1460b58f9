#include "runtime/bootstrap/node.h"

#include <unistd.h>

#include <atomic>

#include "runtime/statistics/built_in.h"

namespace tutti {

std::shared_ptr<Node> make_node(int most_ranks, size_t scratch_bytes) {
  // Documented global state: how many communicators this process has joined or made.
  static std::atomic<int> communicators{0};
  auto node = std::make_shared<Node>();
  node->most = most_ranks;
  node->number = communicators.fetch_add(1, std::memory_order_relaxed) + 1;
  node->layout = shm::layout(most_ranks, scratch_bytes, statistics_bytes(most_ranks));
  return node;
}

std::shared_ptr<Node> make_local_node(int ranks, size_t scratch_bytes) {
  auto node = make_node(ranks, scratch_bytes);
  for (int r = 0; r < ranks; ++r) {
    const Descriptor memory = shm::create_memory(node->layout.total, r);
    Member member;
    member.window = shm::Mapping(memory.get(), node->layout.total);
    member.wake = Sleeper::make_wake_descriptor();
    member.pid = getpid();
    node->members.push_back(std::move(member));
  }
  return node;
}

}  // namespace tutti
