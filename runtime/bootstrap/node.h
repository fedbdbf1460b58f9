// The ranks of one host and their windows: what a communicator stands on.
//
// Made in two ways: inside one process for all ranks at once (they share one object and one mapping of each window), or
// by exchange between processes (runtime/bootstrap/rendezvous.h), each having its own object.
#pragma once

#include <sys/types.h>

#include <memory>
#include <vector>

#include "core/descriptor.h"
#include "transports/shm/window.h"

namespace tutti {

/// What one rank brings.
struct Member {
  shm::Mapping window;
  Descriptor wake;     // eventfd that wakes the rank
  Descriptor process;  // pidfd, or empty where the rank is a thread of this process or the kernel has none
  pid_t pid = 0;
};

struct Node {
  int most = 0;    // ranks on any node of the communicator: windows are laid out for so many
  int number = 0;  // of the communicator in this process: 1, 2, ...
  shm::Layout layout;
  std::vector<Member> members;  // by rank

  int ranks() const { return static_cast<int>(members.size()); }
  shm::Window window(int rank) const {
    return shm::Window::at(members[static_cast<size_t>(rank)].window.data(), layout);
  }
  NodeControl& control() const { return window(0).header->node; }
};

/// With the layout and the number that a new communicator has.
std::shared_ptr<Node> make_node(int most_ranks, size_t scratch_bytes);

/// All ranks inside this process. Throws Error.
std::shared_ptr<Node> make_local_node(int ranks, size_t scratch_bytes);

}  // namespace tutti
