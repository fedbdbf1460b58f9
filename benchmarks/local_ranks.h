// Ranks as processes of this machine, started and watched by the process that the user started.
//
// The parent does nothing but watch. When a rank fails, the others get a grace period to notice and say so by
// themselves, then are killed: the run always ends. Should the parent die, the kernel kills its ranks.
// Ctrl-C asks the ranks to stop: the row they are in ends early and is kept; a second one kills them.
#pragma once

#include <cstdint>

namespace tutti::bench {

/// In a rank: its number, and the caller goes on as that rank. In the parent: no rank, when all ranks have ended.
struct LocalRank {
  bool is_parent = false;
  int rank = 0;
  int exit_code = 0;  // the parent's
};

/// `program` begins the parent's messages.
LocalRank start_local_ranks(const char* program, int ranks);

/// True from the first SIGINT or SIGTERM on, once handle_interrupts() was called.
bool interrupted();
/// A process that is alone, that is without a parent or launcher that watches it, is ended by the second SIGINT.
void handle_interrupts(bool is_alone);

}  // namespace tutti::bench
