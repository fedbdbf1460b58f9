// All-reduce among a group of ranks: the part of an all-reduce that crosses between nodes, written once for flat and for hierarchical
// plans.
//
// A *group* has one rank of every node, its members; each has a place in it. Between them they reduce one rail: `parts` chunks of the
// message. In a flat plan every rank is a member, nobody has company, and there is one rail. In a hierarchical plan a member also
// speaks for the other ranks of its node: it folds what they have staged in their windows, and lays finished slices where they can read
// them. What differs is hidden in Member; an exchange (exchange_directly, ...) says only what goes to whom.
//
// Areas of slots in each window, in this order:
//     staged    by rail and part. Of other rails: this rank's input, for the owner of that rail to fold. Of its own rail:
//               *partial* results of this node
//     kept      by part: finished slices of the own rail, for the ranks of the node to copy and for puts to be sent from
//     arrivals  what an exchange needs for puts to come in
//
// Counters inside a node:
//     board kStaged     of each rank: its input of a slice lies in its window
//     board kFinished   of each owner: a slice of its rail lies in its kept areas
//     pair kFolded      owner to rank: the staged slice has been folded; it is the credit for staging
//     pair kCopied      rank to owner: the finished slice has been copied; it is the credit for kept areas
// Between nodes the exchange has both pair channels of each direction for itself. Each channel is raised on one lag only, because its
// counts are a closed expression of the slice.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "collectives/algorithms/nodes.h"

namespace tutti::algorithms {

enum NodeBoard : uint8_t { kStaged, kFinished };
enum NodePair : uint8_t { kFolded, kCopied };

/// What an exchange asks for.
struct Needs {
  int parts = 1;
  int arrivals = 0;
  bool partials = false;  // partial areas even where nobody has company
  bool kept = false;      // kept areas likewise
  uint32_t uses_per_slice = 1;
};

/// More slices than this between two hops gain nothing, and lags are small numbers.
inline constexpr int kLongestHop = 16;

class Member {
 public:
  enum class Inside : uint8_t { slots, packets };  // how the ranks of a node pass each other data

  /// Sets the builder's chunks and areas for the group of the owners of `rail`. With packets there is one rail and one part.
  Member(plan::Builder& b, const Nodes& nodes, int rail, const Needs& needs, int credits, Inside inside);

  plan::Builder& builder() const { return b_; }
  int count() const { return static_cast<int>(members_.size()); }
  int place() const { return place_; }
  int at(int place) const { return members_[static_cast<size_t>(place % count())]; }
  int me() const { return b_.rank(); }
  /// True where nobody else is on the node: input is folded, and output written, without going through slots.
  bool alone() const { return others_.empty(); }
  /// False where every slot is used once, because the message is one slice: no credit needs to be returned.
  bool paced() const { return inside_ == Inside::slots; }
  /// Lags between a put and the step that awaits what comes back: two hops take all credits.
  int hop() const { return std::clamp(credits_ / 2, 1, kLongestHop); }
  int credits() const { return credits_; }

  plan::Affine chunk(int part) const { return b_.chunk(rail_ * parts_ + part); }
  plan::Location input(int part) const { return b_.input(chunk(part)); }
  plan::Location output(int part) const { return b_.output(chunk(part)); }
  plan::Location partial(int part) const { return b_.slot(me(), rail_ * parts_ + part); }
  plan::Location kept(int part, int rank) const { return b_.slot(rank, kept_ + part); }
  plan::Location kept(int part) const { return kept(part, me()); }
  int arrival(int which) const { return arrivals_ + which; }
  plan::Location arrived(int which) const { return b_.slot(me(), arrival(which)); }

  // Steps, written at the builder's current lag.
  /// Until the node's ranks have staged the slice.
  void await_contributions() const;
  /// The node's operands of a part, in the order of ranks.
  std::vector<plan::Location> operands(int part) const;
  /// Folds the node's operands, and says where the sum lies: the partial area, or the input where nobody has company.
  plan::Location fold(int part) const;
  /// The staged slice may be overwritten: all parts are folded.
  void end_contributions() const;
  /// Until the node's ranks have copied what lay in the kept areas.
  void await_readers() const;
  /// Folds the result of a part to the output, and to the kept area where somebody reads it there.
  void finish(int part, std::span<const plan::Location> operands, bool keep) const;
  /// Takes over a finished slice of a part that has arrived outside the kept area.
  void deliver(int part, const plan::Location& from) const;
  /// Where a part that is finished may be put from: nothing overwrites it before the put has ended.
  plan::Location finished(int part) const;
  /// All parts of the slice lie in the kept areas.
  void publish() const;

 private:
  plan::Builder& b_;
  std::vector<int> members_;
  std::vector<int> others_;  // of this node
  int place_ = 0;
  int rail_ = 0;
  int parts_ = 1;
  int kept_ = 0;
  int arrivals_ = 0;
  int credits_ = 1;
  Inside inside_ = Inside::slots;
};

/// With Inside::packets: areas of packets in each window.
enum PacketArea : uint8_t { kContribution, kResult, kPacketAreas };

/// What is left of a group when its members beyond a power of two have been folded in pairs: of the first 2 (n - m) members, the odd
/// one hands its operands to the even one before it and gets the result at the end. `place` counts those left, in the same order.
struct Folding {
  int left = 1;    // m, a power of two
  int rounds = 0;  // log2 m
  int extra = 0;   // pairs
  int place = 0;   // of this member; both of a pair have the same
  bool paired = false;
  bool handed = false;  // this is the odd one

  /// The member's place in the group.
  int in_group(int place_left) const { return place_left < extra ? 2 * place_left : place_left + extra; }
};
Folding folding_of(int members, int place);

/// One way to all-reduce among the members of a group.
struct Exchange {
  Needs (*needs)(int members);
  void (*emit)(const Member& member);
};

extern const Exchange kDirect;            // exchange_direct.cpp
extern const Exchange kRing;              // ring.cpp
extern const Exchange kDoubling;          // recursive_doubling.cpp
extern const Exchange kHalving;           // halving_doubling.cpp
extern const Exchange kDoubleBinaryTree;  // double_binary_tree.cpp

/// The flat all-reduce: every rank is a member.
plan::Plan flat(plan::Algorithm algorithm, const plan::Shape& shape, const Exchange& exchange);

}  // namespace tutti::algorithms
