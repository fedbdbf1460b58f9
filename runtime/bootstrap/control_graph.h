// Who is connected with whom: a binary tree over the ranks, and one more connection per rank, so that the end of any one rank
// leaves the others connected.
//
// Rank r has the parent (r - 1) / 2. Its second connection upwards, the *spare* one, goes to its grandparent; rank 2, which has none,
// is connected with rank 1. When a rank ends, its children are still connected through its parent, and when that is rank 0,
// its two subtrees through ranks 1 and 2. A rank has 2 connections upwards and at most 6 downwards.
//
// Collective calls of set-up use the tree alone; what is flooded afterwards (errors, ranks that are gone, surveys) uses all connections.
#pragma once

#include <vector>

namespace tutti {

inline int parent_of(int rank) {
  return (rank - 1) / 2;
}

/// Whom a rank connects to: its parent first.
inline std::vector<int> upwards_of(int rank) {
  if (rank == 0) return {};
  if (rank == 1) return {0};
  if (rank == 2) return {0, 1};
  return {parent_of(rank), parent_of(parent_of(rank))};
}

inline bool is_parent(int upper, int lower) {
  return lower > 0 && parent_of(lower) == upper;
}

/// Who connects to a rank.
inline std::vector<int> downwards_of(int rank, int size) {
  std::vector<int> ranks;
  const auto add = [&](long long lower) {
    if (lower < size) ranks.push_back(static_cast<int>(lower));
  };
  const long long first = 2LL * rank + 1;
  add(first);
  add(first + 1);
  if (rank == 1) add(2);
  for (int i = 0; i < 4; ++i) add(2 * first + 1 + i);
  return ranks;
}

inline std::vector<int> neighbours_of(int rank, int size) {
  std::vector<int> ranks = upwards_of(rank);
  const std::vector<int> lower = downwards_of(rank, size);
  ranks.insert(ranks.end(), lower.begin(), lower.end());
  return ranks;
}

}  // namespace tutti
