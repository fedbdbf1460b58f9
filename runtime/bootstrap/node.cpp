#include "runtime/bootstrap/node.h"

#include <sched.h>
#include <unistd.h>

#include <bit>

namespace tutti {

namespace {
constexpr size_t kProcessorWords = sizeof(WindowHeader::processors) / sizeof(uint64_t);
constexpr size_t kProcessorBits = 64;
}  // namespace

void Node::publish_processors(int rank) {
  uint64_t(&words)[kProcessorWords] = window(rank).header->processors;
  cpu_set_t set;
  const bool known = sched_getaffinity(0, sizeof(set), &set) == 0;
  for (size_t p = 0; p < kProcessorWords * kProcessorBits; ++p) {
    // Where the system does not say, each rank counts as having a processor of its own.
    const bool usable = known ? CPU_ISSET(p, &set) : p == static_cast<size_t>(rank);
    if (usable) words[p / kProcessorBits] |= uint64_t{1} << (p % kProcessorBits);
  }
}

int Node::processors() const {
  int count = 0;
  for (size_t w = 0; w < kProcessorWords; ++w) {
    uint64_t all = 0;
    for (int r = 0; r < ranks(); ++r) all |= window(r).header->processors[w];
    count += std::popcount(all);
  }
  return count;
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
    node->publish_processors(r);
  }
  return node;
}

}  // namespace tutti
