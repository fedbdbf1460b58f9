// What one rank can reach: its own window and those of its node's other ranks, which are mapped, and the ranks of other nodes through
// ports.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "transports/channel.h"
#include "transports/packet.h"
#include "transports/port.h"

namespace tutti::host {

/// One rank as seen from this one; the entry of this rank itself describes its own window. A rank of another node has only `from`,
/// `inbox` and `port`.
struct Peer {
  std::byte* slots = nullptr;
  Packet* packets = nullptr;
  BoardLine* board = nullptr;
  RetiredLine* retired = nullptr;
  Announcement* announcements = nullptr;
  PairLine* to = nullptr;    // in the peer's window, written by this rank
  PairLine* from = nullptr;  // in this rank's window or inbox, written by or for the peer
  int wake_descriptor = -1;  // the peer's eventfd
  int local = -1;            // its place among the ranks of its node
  Inbox* inbox = nullptr;
  Port* port = nullptr;  // null where the peer is mapped
};

struct Endpoint {
  int rank = 0;
  std::vector<Peer> peers;  // by rank
  std::vector<int>
      mapped;  // the ranks of this node, ascending, this one included: their places are 0, 1, ...
  SleeperMap* sleepers = nullptr;
  size_t packets_size = 0;  // bytes of the packet ring
  size_t slots_size = 0;    // bytes of the ring of slots

  int ranks() const { return static_cast<int>(peers.size()); }
  const Peer& self() const { return peers[static_cast<size_t>(rank)]; }
  const Peer& peer(int r) const { return peers[static_cast<size_t>(r)]; }

  /// After raising something that only `r`, which is mapped, awaits.
  void wake(int r) const {
    if (sleepers->sleeping(peer(r).local)) Sleeper::wake(peer(r).wake_descriptor);
  }

  /// After raising something that anybody of this node may await.
  void wake_all() const {
    for (size_t first = 0; first < mapped.size(); first += 64) {
      if (sleepers->words[first / 64].load(std::memory_order_relaxed) != 0) wake_sleepers(first);
    }
  }

 private:
  void wake_sleepers(size_t first) const {
    for (size_t place = first; place < mapped.size() && place < first + 64; ++place) {
      if (mapped[place] != rank) wake(mapped[place]);
    }
  }
};

}  // namespace tutti::host
