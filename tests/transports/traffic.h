// What ranks say to each other to try a port transport, whichever it is: every size, and random bursts.
#pragma once

#include <cstddef>

#include "tests/transports/ranks.h"

namespace port_test {

/// Everybody sends every size to everybody; the source is overwritten as soon as it may be, the slot after an answer.
void send_sizes(Rank& me);
size_t slots_for_sizes(int ranks);

/// Puts of several slices and signals on two counters, within the peer's grants; whatever overtakes is found.
void exchange_bursts(Rank& me, size_t bursts = 400);
size_t slots_for_bursts(int ranks);

}  // namespace port_test
