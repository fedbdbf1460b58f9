// The links of the simulated cluster: who waits for whom while bytes cross, and how many have crossed.
#pragma once

#include <cstdint>
#include <span>
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

/// Bytes that passed the network card of a node.
struct CardTraffic {
  uint64_t sent = 0;
  uint64_t received = 0;
  bool operator==(const CardTraffic&) const = default;
};

/// When the last byte of a transfer has left its source, and when it has crossed; one alpha later it is there.
struct Crossing {
  Time left = 0;
  Time crossed = 0;
};

class Network {
 public:
  /// `nodes`: by rank, or empty where the model places the ranks.
  Network(int ranks, const Model& model, std::span<const uint16_t> nodes);

  int node_of(int rank) const { return nodes_[static_cast<size_t>(rank)]; }
  int nodes() const { return static_cast<int>(cards_.size()); }

  /// From a write by one rank to the moment at which the other can see it.
  Time alpha(int from, int to) const;

  /// Sends `bytes` not before `now`. Requests are served in the order of the calls, which the event queue makes the
  /// order of `now`.
  Crossing send(int from, int to, uint64_t bytes, Time now);

  /// All pairs that exchanged anything, in order.
  std::vector<Traffic> traffic() const;
  /// By node.
  std::vector<CardTraffic> cards() const;

 private:
  struct Pair {
    Time free = 0;
    uint64_t bytes = 0;
  };
  struct Card {  // a node's network card
    double beta = 1;
    Time out_free = 0;
    Time in_free = 0;
    CardTraffic traffic;
  };

  bool near(int a, int b) const { return node_of(a) == node_of(b); }
  Pair& pair(int from, int to);

  int ranks_;
  Link near_;
  Link far_;
  std::vector<int> nodes_;                // by rank
  std::vector<std::vector<Pair>> pairs_;  // [from][to]; a row exists once its rank has sent anything
  std::vector<Card> cards_;               // by node
};

}  // namespace tutti::sim
