#include "runtime/bootstrap/node.h"

#include <unistd.h>

namespace tutti {

std::shared_ptr<Node> make_local_node(int ranks, size_t scratch_bytes) {
  auto node = std::make_shared<Node>();
  node->layout = shm::layout(ranks, scratch_bytes);
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
