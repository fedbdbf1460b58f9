// The links of the simulated cluster: who waits for whom while bytes cross, and how many have crossed.
#pragma once

#include <cstdint>
#include <vector>

#include "collectives/executors/sim/model.h"

namespace tutti::sim {

/// Bytes that crossed from one rank to another.
struct Traffic {
  uint16_t from = 0;
  uint16_t to = 0;
  uint64_t bytes = 0;
  bool operator==(const Traffic&) const = default;
};

class Network {
 public:
  Network(int ranks, const Model& model);

  /// From a write by one rank to the moment at which the other can see it.
  Time alpha(int from, int to) const;

  /// Sends `bytes` not before `now`; returns when the last byte has left the link. Requests are served in the
  /// order of the calls, which the event queue makes the order of `now`.
  Time send(int from, int to, uint64_t bytes, Time now);

  /// All pairs that exchanged anything, in order.
  std::vector<Traffic> traffic() const;

 private:
  struct Pair {
    Time free = 0;
    uint64_t bytes = 0;
  };
  struct Card {  // a node's network card
    Time out_free = 0;
    Time in_free = 0;
  };

  bool near(int a, int b) const { return node_of(a) == node_of(b); }
  int node_of(int rank) const { return ranks_per_node_ == 0 ? 0 : rank / ranks_per_node_; }
  Pair& pair(int from, int to);

  int ranks_;
  int ranks_per_node_;
  Link near_;
  Link far_;
  std::vector<std::vector<Pair>> pairs_;  // [from][to]; a row exists once its rank has sent anything
  std::vector<Card> cards_;
};

}  // namespace tutti::sim
