// How the control tree comes into being.
//
//     rank r                                   rank 0
//     connects; hello(secret, size, where it listens, hash of its digest)
//                         ◀─ welcome(secret)
//     limit(how long it will wait)             ─▶
//                         ◀─ show_digest           only where the hash differs; digest(text) is the answer, and ends set-up
//                                                 waits for all, or tells all who is missing
//                         ◀─ neighbours(addresses of the ranks upwards)
//
//     rank r                                   each rank upwards (control_graph.h)
//     connects; hello                         ─▶
//                         ◀─ welcome(secret)
//     ping, 8 times, to the parent              ─▶
//                         ◀─ pong(time)
//                         ◀─ clock(the parent's offset from rank 0)
//
//     ready                                   ─▶ rank 0 waits for all
//                         ◀─ go
//
// A rank without welcome that loses its connection comes again: a flood may have pushed it out. With welcome, a lost connection is a
// rank that has ended. Any rank's failure goes to rank 0 and from there to all, so that all report the same error.
// Rank 0's connections to ranks other than its neighbours end with `go`.
//
// Time. Each rank says how long it will wait (after the welcome: its hello may have lain there for long); rank 0 gives up a little before the first of those limits ends, so that everybody
// learns within its own limit who is missing. Then ranks that cannot reach a neighbour speak first, those not reached by
// one next, and rank 0, which knows least, last.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/bootstrap/control.h"
#include "runtime/bootstrap/control_link.h"

namespace tutti {

struct Joined {
  std::vector<Link> links;      // to all neighbours
  int64_t clock_offset_ns = 0;  // of this rank's clock from rank 0's
  uint64_t clock_error_ns = 0;
  uint64_t bytes = 0;  // over connections that have ended
};

/// Collective. Throws Error, on all ranks.
Joined join_control(const UniqueId& id, const ControlSettings& settings);

/// Tells the peers of these links that set-up ends, and closes them.
void tell_failure(std::vector<Link>& links, int rank, const Error& failure) noexcept;

/// How much earlier than at its limit a rank speaks, so that others hear it within theirs.
uint64_t margin_of(uint64_t limit_ns);

}  // namespace tutti
