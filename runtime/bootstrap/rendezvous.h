// How the ranks of one host find each other and exchange their windows.
//
// The unique id holds two random values: a *name* and a *secret*. Rank 0 opens a local socket under the name; the others
// connect and say hello with the secret and with the descriptors of their window and eventfd. When all have said hello, rank
// 0 sends everybody the table of all descriptors; each maps the windows and answers ready; when all are ready, rank 0
// says go. So nobody starts before everybody can be reached, and rank 0 knows at any time who is missing.
//
//     rank r                      rank 0
//     hello(secret, digest, fds) ─▶ checks; waits for all, or says who is missing
//                         ◀─ table(fds) of all ranks, in batches
//     maps; ready            ─▶ waits for all
//                         ◀─ go            (or at any time: error, with the text everybody reports)
//
// The socket has a name outside the file system ("abstract"): nothing is left behind, and ranks in other network
// namespaces do not find it. Strangers (wrong secret, malformed or oversized message, silence) are turned away with a log line,
// without harm to the job. Every step is bounded by the set-up limit.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/bootstrap/node.h"
#include "runtime/bootstrap/unique_id.h"

namespace tutti {

/// Who meets, what they must agree on, and how long they may take. A rank's *place* is its number among the ranks of its node.
struct Meeting {
  int rank = 0;            // this one's place
  std::vector<int> ranks;  // of the communicator, by place
  int most = 0;            // ranks on any node of the communicator: windows are alike on all
  uint64_t limit_ns = 0;
  size_t scratch_bytes = 0;
  std::string digest;  // lines "name=value"; a difference is an error that names the line and both values

  int size() const { return static_cast<int>(ranks.size()); }
  /// The rank in the communicator, for messages.
  int name(int place) const { return ranks[static_cast<size_t>(place)]; }
};

/// Collective over `meeting.size()` processes of one host. Throws Error: timeout naming the missing ranks, mismatch naming both values.
std::shared_ptr<Node> meet(const UniqueId& id, const Meeting& meeting);

}  // namespace tutti
