// Which order between ranks a plan would have without some of its waits: for showing that a wait, or a claim, adds nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "collectives/plan/binding.h"
#include "collectives/plan/plan.h"

namespace tutti::plan::testing {

/// True if `rank` knows all that the given waits of its plan tell before it next does anything, from the waits that are left. What a
/// raise tells is everything its lane did before it but raise other channels. By way of third ranks it tells everything about
/// a rank of the same node; about a rank of another node, whose puts only its own signals carry, those must tell it.
bool waits_add_nothing(const std::vector<Plan>& plans, int rank, const std::vector<uint32_t>& waits,
                       const Binding& binding);

/// True if every lane of `rank` hears in this operation from a rank of its node that begins with a claim before it writes to scratch,
/// and the rank puts to no other node: that rank has then claimed for both.
bool claim_adds_nothing(const std::vector<Plan>& plans, int rank, const Binding& binding);

}  // namespace tutti::plan::testing
