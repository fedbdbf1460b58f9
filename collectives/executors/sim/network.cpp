#include "collectives/executors/sim/network.h"

#include <algorithm>

namespace tutti::sim {

Network::Network(int ranks, const Model& model, std::span<const uint16_t> nodes)
    : ranks_(ranks), near_(model.near), far_(model.far), pairs_(static_cast<size_t>(ranks)) {
  for (int r = 0; r < ranks; ++r) {
    if (!nodes.empty()) {
      nodes_.push_back(nodes[static_cast<size_t>(r)]);
    } else {
      nodes_.push_back(model.ranks_per_node == 0 ? 0 : r / model.ranks_per_node);
    }
  }
  const int last = nodes_.empty() ? 0 : *std::max_element(nodes_.begin(), nodes_.end());
  cards_.resize(static_cast<size_t>(last) + 1);
  for (size_t k = 0; k < cards_.size(); ++k) {
    cards_[k].beta = far_.beta * (k < model.card_factor.size() ? model.card_factor[k] : 1);
  }
}

Time Network::alpha(int from, int to) const {
  if (from == to) return 0;
  return near(from, to) ? near_.alpha : far_.alpha;
}

Network::Pair& Network::pair(int from, int to) {
  std::vector<Pair>& row = pairs_[static_cast<size_t>(from)];
  if (row.empty()) row.resize(static_cast<size_t>(ranks_));
  return row[static_cast<size_t>(to)];
}

Crossing Network::send(int from, int to, uint64_t bytes, Time now) {
  Pair& link = pair(from, to);
  link.bytes += bytes;
  if (near(from, to)) {
    link.free = std::max(now, link.free) + duration_of(bytes, near_.beta);
    return {link.free, link.free};
  }
  Card& source = cards_[static_cast<size_t>(node_of(from))];
  Card& target = cards_[static_cast<size_t>(node_of(to))];
  const Time out = std::max(now, source.out_free);
  source.out_free = out + duration_of(bytes, source.beta);
  const Time in = std::max(out, target.in_free);
  target.in_free = std::max(source.out_free, in + duration_of(bytes, target.beta));
  source.traffic.sent += bytes;
  target.traffic.received += bytes;
  return {source.out_free, target.in_free};
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

std::vector<CardTraffic> Network::cards() const {
  std::vector<CardTraffic> all;
  for (const Card& card : cards_) all.push_back(card.traffic);
  return all;
}

}  // namespace tutti::sim
