// Broadcast among a group of ranks: the part of a broadcast that crosses between nodes, written once for flat and for hierarchical plans.
//
// As in exchange.h, a group has one rank of every node, and spreads one rail: `parts` chunks of the message. Places count from the root's
// node, which has place 0. The member of the root's node is the root itself, or an owner that reads what the root has staged in its window.
//
// Areas of slots in each window:
//     staged  by rail and part, on the root's node: the root's input, for the ranks of the node to copy and the owners to put from
//     kept    by part: slices that have come in from another node, for the node's ranks to copy and the owner to hand on
// Counters inside a node:
//     board kStaged     of the root: a slice of all rails lies in its window
//     board kFinished   of each owner on other nodes: a slice of its rail lies in its kept areas
//     pair kSent        owner to root: what it puts from the staged slice has left
//     pair kCopied      rank to root or owner: the slice has been copied
// Between nodes all data flow from lower to higher places, so that the way back is free for credits.
#pragma once

#include <vector>

#include "collectives/algorithms/exchange.h"

namespace tutti::algorithms {

enum SpreadPair : uint8_t { kSent };

struct SpreadNeeds {
  int parts = 1;
  uint32_t uses_per_slice = 1;
};

/// One member of a group that spreads a rail.
class Holder {
 public:
  /// Sets the builder's chunks and areas for the group of the owners of `rail`.
  Holder(plan::Builder& b, const Nodes& nodes, int rail, const SpreadNeeds& needs, int credits);

  plan::Builder& builder() const { return b_; }
  int count() const { return static_cast<int>(members_.size()); }
  int place() const { return place_; }
  int at(int place) const { return members_[static_cast<size_t>(place)]; }
  /// By how many slices the return of credits is behind.
  int behind() const;

  plan::Affine chunk(int part) const { return b_.chunk(rail_ * parts_ + part); }
  plan::Location output(int part) const { return b_.output(chunk(part)); }
  plan::Location kept(int part, int rank) const { return b_.slot(rank, kept_ + part); }
  plan::Location kept(int part) const { return kept(part, b_.rank()); }
  int first_kept() const { return kept_; }
  /// Where this member hands a part on from.
  plan::Location source(int part) const;

  // Steps, written at the builder's current lag.
  /// Place 0: until the slice is there to be put. The root stages all rails for its node.
  void begin() const;
  /// All slices have come in: for the node to copy, and for this rank's output.
  void publish() const;
  /// Until the puts to `receivers` have left and everybody of the node has copied the slice; then tells who overwrites it next: `source`,
  /// or the root.
  void release(const std::vector<int>& receivers, int source) const;

 private:
  void stage() const;

  plan::Builder& b_;
  Nodes nodes_;
  std::vector<int> members_;  // by place
  std::vector<int> others_;   // of this node
  int place_ = 0;
  int rail_ = 0;
  int parts_ = 1;
  int kept_ = 0;
  int credits_ = 1;
};

/// One way to broadcast among the members of a group.
struct Spread {
  SpreadNeeds (*needs)(int members);
  void (*emit)(const Holder& holder);
};

extern const Spread kChain;             // chain.cpp
extern const Spread kBinomialTree;      // binomial_tree.cpp
extern const Spread kScatterAllGather;  // scatter_all_gather.cpp

/// Hands whole slices on from a parent to children; chain and tree differ in nothing else. -1: no parent.
void hand_on(const Holder& holder, int parent, const std::vector<int>& children);

/// The flat broadcast: every rank is a member.
plan::Plan flat(plan::Algorithm algorithm, const plan::Shape& shape, const Spread& spread);

}  // namespace tutti::algorithms
