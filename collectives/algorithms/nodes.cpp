#include "collectives/algorithms/nodes.h"

#include <algorithm>

namespace tutti::algorithms {

bool Nodes::any_shared() const {
  return std::any_of(ranks.begin(), ranks.end(), [](const auto& node) { return node.size() > 1; });
}

std::vector<int> Nodes::others_here(int rank) const {
  std::vector<int> others;
  for (const int r : here()) {
    if (r != rank) others.push_back(r);
  }
  std::sort(others.begin(), others.end());
  return others;
}

int Nodes::rail_of(int rank) const {
  const std::vector<int>& node = ranks[static_cast<size_t>(node_of(rank))];
  const auto place = static_cast<int>(std::find(node.begin(), node.end(), rank) - node.begin());
  return place < rails ? place : -1;
}

int Nodes::node_of(int rank) const {
  for (size_t node = 0; node < ranks.size(); ++node) {
    if (std::find(ranks[node].begin(), ranks[node].end(), rank) != ranks[node].end())
      return static_cast<int>(node);
  }
  return -1;
}

void Nodes::promote(int rank) {
  if (rail_of(rank) >= 0) return;
  std::vector<int>& node = ranks[static_cast<size_t>(node_of(rank))];
  std::swap(node[static_cast<size_t>(rails - 1)], *std::find(node.begin(), node.end(), rank));
}

Nodes nodes_of(const plan::Shape& shape) {
  Nodes nodes;
  for (int r = 0; r < shape.ranks; ++r) {
    const size_t node = shape.nodes.empty() ? 0 : shape.nodes[static_cast<size_t>(r)];
    if (node >= nodes.ranks.size()) nodes.ranks.resize(node + 1);
    nodes.ranks[node].push_back(r);
  }
  nodes.mine = nodes.node_of(shape.rank);
  size_t rails = shape.ranks;
  for (const auto& node : nodes.ranks) rails = std::min(rails, node.size());
  nodes.rails = static_cast<int>(rails);
  return nodes;
}

bool spans_nodes(const plan::Shape& shape) {
  return std::any_of(shape.nodes.begin(), shape.nodes.end(),
                     [&](uint16_t node) { return node != shape.nodes.front(); });
}

}  // namespace tutti::algorithms
