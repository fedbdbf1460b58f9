#include "collectives/executors/sim/network.h"

#include <algorithm>

namespace tutti::sim {

Network::Network(int ranks, const Model& model)
    : ranks_(ranks),
      ranks_per_node_(model.ranks_per_node),
      near_(model.near),
      far_(model.far),
      pairs_(static_cast<size_t>(ranks)),
      cards_(static_cast<size_t>(ranks)) {}

Time Network::alpha(int from, int to) const {
  if (from == to) return 0;
  return near(from, to) ? near_.alpha : far_.alpha;
}

Network::Pair& Network::pair(int from, int to) {
  std::vector<Pair>& row = pairs_[static_cast<size_t>(from)];
  if (row.empty()) row.resize(static_cast<size_t>(ranks_));
  return row[static_cast<size_t>(to)];
}

Time Network::send(int from, int to, uint64_t bytes, Time now) {
  Pair& link = pair(from, to);
  link.bytes += bytes;
  if (near(from, to)) {
    link.free = std::max(now, link.free) + duration_of(bytes, near_.beta);
    return link.free;
  }
  // Both cards are busy from the first byte to the last.
  Card& source = cards_[static_cast<size_t>(node_of(from))];
  Card& target = cards_[static_cast<size_t>(node_of(to))];
  const Time start = std::max({now, source.out_free, target.in_free});
  const Time end = start + duration_of(bytes, far_.beta);
  source.out_free = end;
  target.in_free = end;
  return end;
}

std::vector<Traffic> Network::traffic() const {
  std::vector<Traffic> all;
  for (size_t from = 0; from < pairs_.size(); ++from) {
    for (size_t to = 0; to < pairs_[from].size(); ++to) {
      const uint64_t bytes = pairs_[from][to].bytes;
      if (bytes != 0) all.push_back({static_cast<uint16_t>(from), static_cast<uint16_t>(to), bytes});
    }
  }
  return all;
}

}  // namespace tutti::sim
