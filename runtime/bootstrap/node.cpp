#include "runtime/bootstrap/node.h"

#include <unistd.h>

namespace tutti {

host::Endpoint Node::endpoint(int rank) const {
  host::Endpoint endpoint;
  endpoint.rank = rank;
  endpoint.sleepers = &control().sleepers;
  endpoint.packets_size = layout.packets_size;
  const shm::Window mine = window(rank);
  for (int p = 0; p < ranks(); ++p) {
    const shm::Window theirs = window(p);
    endpoint.peers.push_back({.slots = theirs.slots,
                              .packets = theirs.packets,
                              .board = &theirs.header->board,
                              .retired = &theirs.header->retired,
                              .announcements = theirs.header->announcements,
                              .to = theirs.pairs + rank,
                              .from = mine.pairs + p,
                              .wake_descriptor = members[static_cast<size_t>(p)].wake.get()});
  }
  return endpoint;
}

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
