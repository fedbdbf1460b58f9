// Who is on which node: what algorithms between nodes are built from.
//
// A *rail* is one rank of every node: rail r of a node is owned by one of its ranks, and what belongs to the rail travels between the
// owners only. There are as many rails as the smallest node has ranks, so that every node can man each of them.
#pragma once

#include <vector>

#include "collectives/plan/builder.h"

namespace tutti::algorithms {

struct Nodes {
  std::vector<std::vector<int>> ranks;  // by node: its ranks, ascending
  int mine = 0;                         // the node of this rank
  int rails = 1;

  int count() const { return static_cast<int>(ranks.size()); }
  const std::vector<int>& here() const { return ranks[static_cast<size_t>(mine)]; }
  /// True where some rank has company on its node.
  bool any_shared() const;
  /// The ranks of this rank's node but `rank`.
  std::vector<int> others_here(int rank) const;
  /// The owner of `rail` on `node`: its rail-th rank.
  int owner(int node, int rail) const { return ranks[static_cast<size_t>(node)][static_cast<size_t>(rail)]; }
  /// The rail that `rank` owns; -1: none.
  int rail_of(int rank) const;
  int node_of(int rank) const;
  /// Lets `rank` own a rail, the last one if it owns none: it changes places with the owner.
  void promote(int rank);
};

Nodes nodes_of(const plan::Shape& shape);

/// True where not all ranks map each other's memory.
bool spans_nodes(const plan::Shape& shape);

}  // namespace tutti::algorithms
