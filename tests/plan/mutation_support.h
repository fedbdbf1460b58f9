// The mutation test: every small change to a plan is rejected by the verifier, or shown to be no fault.
//
// A mutant stands in for one rank's plan; the other ranks run the original. It is one of
//   killed       the verifier rejects it: in some size, placement or credits of the matrix three times in a row, or in a
//                sequence with another plan. (That plans do not belong together by their headers does not count.)
//   same trace   it does the same but for the order of waits in a row, resolved to numbers, in every size and with every number of credits tested
//   stricter     proven; the rank differs only in waiting for something that the same peer does later than what the
//                original awaits
//   proven       every sequence of the matrix is proven, and the rank makes exactly the same data accesses: only the order
//                changed, and the order that is left is enough
//   replica      every sequence of the matrix is proven; the rank reads something from another place that holds the same. That the
//                verifier is right about it is shown by another executor: the simulator moves the right numbers, under noise
// A proven mutant that may take order away (a wait or signal or claim dropped, redirected or made to wait for less) says
// that the step was not needed. Such steps stand in `not_needed`, each with the reason; any other is an error.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/plan/matrix_support.h"
#include "tests/plan/port_plans_support.h"

namespace tutti::plan::testing {

/// What became of the mutants of some ranks.
struct Totals {
  int killed = 0;
  int same_trace = 0;
  int stricter = 0;
  int proven = 0;
  int replicas = 0;
  std::map<std::string, int> reasons;
  std::vector<std::string> unexplained;
};

/// Changes the plans of the ranks in `which`, one after the other, in every way, and prints what became of it.
Totals mutate(Collective collective, Algorithm algorithm, int ranks, int root, const std::vector<int>& which,
              const Nodes& nodes = {});

}  // namespace tutti::plan::testing
