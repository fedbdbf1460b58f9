// Where memory is, as one rank sees it: its own window and those of its peers, all mapped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "transports/channel.h"
#include "transports/packet.h"

namespace tutti::host {

/// One rank as seen from this one; the entry of this rank itself describes its own window.
struct Peer {
  std::byte* slots = nullptr;
  Packet* packets = nullptr;
  BoardLine* board = nullptr;
  RetiredLine* retired = nullptr;
  Announcement* announcements = nullptr;
  PairLine* to = nullptr;    // in the peer's window, written by this rank
  PairLine* from = nullptr;  // in this rank's window, written by the peer
  int wake_descriptor = -1;  // the peer's eventfd
};

struct Endpoint {
  int rank = 0;
  std::vector<Peer> peers;  // by rank
  SleeperMap* sleepers = nullptr;
  size_t packets_size = 0;  // bytes of the packet ring

  int ranks() const { return static_cast<int>(peers.size()); }
  const Peer& self() const { return peers[static_cast<size_t>(rank)]; }

  /// After raising something that only `peer` awaits.
  void wake(int peer) const {
    if (sleepers->sleeping(peer)) Sleeper::wake(peers[static_cast<size_t>(peer)].wake_descriptor);
  }

  /// After raising something that anybody may await.
  void wake_all() const {
    for (int first = 0; first < ranks(); first += 64) {
      if (sleepers->words[first / 64].load(std::memory_order_relaxed) != 0) wake_sleepers(first);
    }
  }

 private:
  void wake_sleepers(int first) const {
    for (int peer = first; peer < ranks() && peer < first + 64; ++peer) {
      if (peer != rank) wake(peer);
    }
  }
};

}  // namespace tutti::host
