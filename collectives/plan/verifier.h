// Proves that a sequence of operations is correct on all ranks, or says what is wrong with it.
//
// Input: operations in the order in which every rank calls them, each with the plans of all ranks and one binding. They
// share the scratch rings of one communicator, so a later operation reuses what an earlier one has left behind.
//
// One run decides, whatever the interleaving in reality:
//   progress    a counter has one writer and only grows, so a lane that can go on in one interleaving can in all: the
//               run gets stuck exactly where every execution does
//   safety      every access to every byte carries a vector clock; two conflicting accesses (one of them a write) must be
//               ordered by program order, a signal and its wait, a packet and its reader, retirement and claim. A wait
//               takes over the clock of the earliest raise that satisfies it, no more, because a real wait may see no more.
//               Entry to and return from an operation are writes of the caller to all of its input and output. A `put`
//               is posted: its accesses end with the next signal on a pair channel from the same lane to the same rank.
//               Between nodes only its receiver knows that; the lane itself knows from a flush that the sources have been
//               read, or from what the receiver tells (verifier_nodes.cpp)
//   buffers     a peer's input or output is touched by copy and reduce of a direct plan only, after a raise of a board of that
//               peer in this operation, which tells where it is. That it is over when the peer returns, is safety: see above
//   data        buffers hold expressions instead of numbers (leaf: element of a rank's input; fold; rounding at the end of a
//               reduce step; final). All-reduce: all ranks hold the same expression, every rank's element once, in the
//               order asked for, `final` once, outermost. Broadcast: the root's element. Inputs stay unchanged
//   nodes       another node's rank is reached by puts to its slots and by pair channels, along the plans' ports, and
//               both sides claim
//   shape       locations inside their area and buffer; destinations disjoint; raise number k of a channel has count k and
//               stays below the operation's ticks; nobody leaves a barrier before all have come
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collectives/plan/binding.h"
#include "collectives/plan/plan.h"

namespace tutti::plan {

/// In which order a reduction must fold the ranks' elements.
enum class OperandOrder : uint8_t {
  by_rank,     // 0, 1, ..., n - 1
  from_chunk,  // c, c + 1, ..., c - 1 in chunk c
  any,         // every rank once
};

/// One collective, as all ranks run it.
struct Operation {
  std::vector<const Plan*> plans;  // by rank; not owned
  Binding binding;
  bool in_place = false;
  OperandOrder order = OperandOrder::by_rank;
};

/// Sizes of the scratch rings in each rank's window; whole cache lines.
struct Scratch {
  uint64_t slots_bytes = 0;
  uint64_t packets_bytes = 0;
};

enum class Fault : uint8_t {
  shape,     // the ranks' plans do not belong together
  location,  // an access outside its area, buffer, operation or node; operands that overlap
  counter,   // a channel raised or awaited against the rules
  deadlock,  // lanes that wait for ever
  race,      // two conflicting accesses that nothing orders
  data,      // undefined, stale or wrong values
  ordering,  // a return that is not after every rank's entry, where the collective promises it
};
std::string_view name_of(Fault fault);

struct Violation {
  Fault fault;
  std::string text;  // rank, lane, operation, step, bytes and the other party
};

struct Verdict {
  std::vector<Violation> violations;

  bool proven() const { return violations.empty(); }
  bool has(Fault fault) const;
  std::string text() const;  // one line per violation
};

/// Checks the sequence; stops after `most` violations. Throws Error(invalid_argument) where the input makes no sense (no
/// ranks, scratch smaller than an operation needs).
Verdict verify(std::span<const Operation> operations, const Scratch& scratch, size_t most = 8);

}  // namespace tutti::plan
