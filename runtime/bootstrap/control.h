// The control tree: how the ranks of any number of hosts find each other, agree, and stay in touch.
//
// Set-up. The unique id names the address of rank 0 and a secret. Every rank opens a listening socket of its own and says hello
// to rank 0; when all have come (or the limit has passed: then every rank learns who is missing), rank 0 tells each the address
// of its parent in a binary tree of ranks, to which it connects. From then on everything goes over the tree: O(log n) rounds, and
// a rank holds one connection to its parent and one to each child.
//
// Afterwards the tree stays, served by one thread that sleeps until something comes: it spreads the first error of the job, answers
// surveys, and notices connections that close.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "runtime/bootstrap/clock_map.h"
#include "runtime/bootstrap/stamp_batch.h"
#include "runtime/bootstrap/unique_id.h"

namespace tutti {

/// What the ranks must agree on, and how long they may take.
struct ControlSettings {
  int rank = 0;
  int size = 1;
  uint64_t limit_ns = 0;   // for each collective call of set-up
  std::string digest;      // lines "name=value"; a difference is an error that names the line and both values
  std::string interfaces;  // TUTTI_IFNAME
  std::string ports;       // TUTTI_PORT_RANGE
};

/// Where a rank stands, as it answers a survey. Filled in by the communicator from memory, on the control thread.
struct RankStatus {
  int32_t rank = 0;
  uint32_t flags = 0;             // bits below
  uint64_t epoch = 0;             // of the operation it began last
  uint64_t since_waiting_ns = 0;  // age of its latest look around while waiting; UINT64_MAX: it does not wait
  static constexpr uint32_t kInOperation = 1;
};

/// What the control thread tells the communicator. Called on that thread; they must not block.
struct ControlEvents {
  std::function<void(Result, int rank, const std::string& text)> failed;  // the first error of another rank
  std::function<RankStatus()> status;
  /// Called from time to time. Returns after how many ns it wants to be called again; UINT64_MAX: never.
  std::function<uint64_t()> look_after;

  // Statistics between nodes; where all of them are empty, the tree keeps no clock.
  std::vector<int> nodes;  // by rank: ranks of one node share a counter
  /// Adds what this node has to tell of its operations to `batches`; the map is from stamp_clock_ns() to that of rank 0. On one rank of
  /// each node. Returns after how many ns it wants to be asked again.
  std::function<uint64_t(const ClockMap& to_root, std::vector<StampBatch>& batches)> stamps;
  std::function<void(const StampBatch&)> heard_stamps;  // rank 0: of any node, its own too
};

enum class PeerState : uint8_t {
  alive,
  closed,
  ended
};  // closed: has destroyed its communicator. ended: its process is gone

struct SurveyResult {
  std::vector<RankStatus> answers;  // by rank, those that came
  std::vector<int>
      silent;  // ranks that did not answer, without those that are only behind a silent one in the tree
};

class Control {
 public:
  /// Collective over all ranks. Throws Error: timeout naming the missing ranks, mismatch naming variable and both values.
  static std::unique_ptr<Control> join(const UniqueId& id, const ControlSettings& settings);
  virtual ~Control() = default;

  // ---- set-up: collective, in the same order on all ranks; throw Error. When one rank throws, all do (fail()).

  /// Everybody's bytes, by rank.
  virtual std::vector<std::string> all_gather(const std::string& mine) = 0;
  /// Ends set-up on all ranks with this error, which the others get from the call they are in.
  virtual void fail(Result code, const std::string& text) noexcept = 0;
  /// This rank's monotonic clock minus rank 0's, in ns, and the bound of its error; measured while joining.
  virtual int64_t clock_offset_ns() const = 0;
  virtual uint64_t clock_error_ns() const = 0;

  // ---- afterwards. Any thread.

  /// Starts the control thread. `names` are texts for ranks in messages: "rank 3 (node b)".
  virtual void serve(ControlEvents events, std::vector<std::string> names) = 0;
  /// Tells all ranks of an error of this one. Does not wait for them.
  virtual void spread(Result code, const std::string& text) = 0;
  virtual PeerState state(int rank) const = 0;
  /// Asks all ranks where they stand, waiting `limit_ns` at most.
  virtual SurveyResult survey(uint64_t limit_ns) = 0;
  /// Rank 0: asks all nodes for the stamps they have; does not wait for them.
  virtual void ask_stamps() = 0;
  /// Bytes that this rank has sent and received over control connections.
  virtual uint64_t bytes() const = 0;
};

}  // namespace tutti
