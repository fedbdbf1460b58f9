// The matrix of sequences on which a plan is proven: sizes, placements, repetition, scratch rings, and pairs with other
// plans.
//
// Elements have 8 bytes and slices are one cache line, the smallest there is, so that a few dozen elements give many
// slices.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "collectives/algorithms/algorithms.h"
#include "collectives/plan/verifier.h"

// Sanitizers slow the verifier down by a factor of ten and more. They check the verifier's memory, not the plans, so a
// coarser matrix will do for them.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TUTTI_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TUTTI_TEST_SANITIZED 1
#endif
#endif

namespace tutti::plan::testing {

#ifdef TUTTI_TEST_SANITIZED
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

/// One collective on n ranks: the plans of all.
struct Team {
  Collective collective = Collective::all_reduce;
  Algorithm algorithm = Algorithm::local;
  Shape shape;  // of rank 0, without nodes
  std::vector<Plan> plans;
  std::vector<uint16_t> nodes = {};  // by rank; empty: one node

  std::string name() const;
};

Team make_team(Collective collective, Algorithm algorithm, int ranks, int root, int credits,
               const std::vector<uint16_t>& nodes = {});

/// Every algorithm of every collective that suits the nodes, with the fewest credits plus `more_credits`; every root, of
/// scatter_all_gather on more than 16 ranks a few.
std::vector<Team> all_teams(int ranks, int more_credits, const std::vector<uint16_t>& nodes = {});

/// The team's operation on `count` elements. `stand_in`, if given, replaces the plan of its rank.
Operation operation(const Team& team, uint64_t count, bool in_place, const Plan* stand_in = nullptr,
                    uint32_t element = 8);

/// Counts whose binding has that many slices: chunks all equal, or all but the first short or empty.
uint64_t full_count(const Team& team, uint64_t slices);
uint64_t ragged_count(const Team& team, uint64_t slices);

/// The sizes to prove: 0, 1, credits, credits + 1 and 2 * credits + 1 slices, full and ragged, and count < ranks; for
/// packets: none, part of a line, exactly one, two, three. Most telling first.
std::vector<uint64_t> sizes(const Team& team);

/// What one operation of the sequence needs at most, and all of them together.
Scratch largest_need(const std::vector<Operation>& operations);
Scratch total_need(const std::vector<Operation>& operations);

/// Proofs made and the first failure.
struct Proofs {
  int made = 0;
  std::string failure;

  bool ok() const { return failure.empty(); }
  void prove(const std::vector<Operation>& operations, const Scratch& scratch, const std::string& what);
};

enum class Coverage { full, light };  // light: the largest size only, for many ranks

/// Three times in a row, on rings from exactly one operation's need upward; all sizes, both placements.
void prove_matrix(const Team& team, Coverage coverage, Proofs& proofs);

/// `a` then `b` then `a`, sharing scratch.
void prove_pair(const Team& a, const Team& b, Proofs& proofs);

}  // namespace tutti::plan::testing
