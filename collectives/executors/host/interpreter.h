// The host executor: runs one rank's plan on host memory, step by step, never blocking.
//
// advance() goes as far as it can and returns; whoever waits (core/wait_loop.h) calls it again. So one thread can run
// several lanes and, between calls, do other things; an asynchronous operation is simply one that nobody waits for yet.
// Nothing here allocates after construction, locks or enters the kernel, except to wake a peer that sleeps.
//
// Protocol. Counters are raised and awaited as collectives/plan/plan.h says: the value of raise k is base + k + 1. Before
// the first raise of a line in an operation, and at each later one, its tag is set to the operation's; a reader that
// finds the counter satisfied but the tag of an *older* operation knows that its peer raised it for something else.
// (A newer one is a peer that is ahead; its signature covers this operation too, see runtime/communicator/signature.h.)
//
// Direct plans. A rank lends its buffers with a raise of its board and, where all goes well, ends the operation only when nobody
// uses them any more. A rank that gives up in the middle (an error, the end of the communicator) withdraws them: it takes the loan back
// and waits until no peer is inside a step that touches lent buffers. Such a step says so first and looks at the loan then, both
// sequentially consistent: so either the step finds the loan withdrawn, or the rank that gives up waits for the step.
//
// Other nodes. What a port delivers looks like what a mapped peer has written, so waiting is the same. Puts and signals are posted;
// the operation ends when its ports are drained, so that a rank may leave for any time afterwards.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "collectives/executors/host/endpoint.h"
#include "collectives/plan/binding.h"
#include "collectives/plan/cursor.h"
#include "collectives/plan/pool.h"
#include "collectives/reduce/kernels.h"

namespace tutti::host {

inline constexpr int kMaxLanes = 8;

/// A plan bound to buffers, a place in scratch and an epoch.
struct Operation {
  const plan::Plan* plan = nullptr;
  plan::Binding binding;
  plan::Extent slots;
  plan::Extent packets;
  uint64_t base = 0;     // ticks before this operation: what its counters start from
  uint64_t tag = 0;      // epoch (high 32 bits) and signature (low 32 bits)
  SignalInfo info;       // the same and more, for ranks of other nodes
  uint64_t renewal = 0;  // not 0: the epoch's low half has wrapped that many times; renew the packets first
  const std::byte* input = nullptr;
  std::byte* output = nullptr;
  reduce::ReduceFn reduce = nullptr;
  reduce::ReducePacketsFn reduce_packets = nullptr;
  uint32_t divisor = 0;                         // avg: ranks
  reduce::Store store = reduce::Store::cached;  // for output
};

class Interpreter {
 public:
  enum class Progress : uint8_t {
    done,
    blocked,
    mismatch,  // a peer has raised a counter for another operation: mismatched_peer()
  };

  Interpreter(const Endpoint& endpoint, const reduce::Kernels& kernels);

  /// Begins an operation; the one before must be done. `operation` must stay until this one is.
  void start(const Operation& operation);

  Progress advance();

  int mismatched_peer() const { return mismatched_peer_; }

  /// Gives the current operation up: when this returns, no peer touches its buffers, now or later. (A step of a peer that is inside is
  /// waited for; it only moves memory.)
  void withdraw();

  // Where it stands, for messages. Only between start() and done.
  /// The ranks that the blocked lanes wait for, ascending; valid until the next call. Asked again and again while a peer is
  /// late, so it does not allocate.
  const std::vector<int>& awaited() const;
  /// All steps are done, and what was sent has not left its sources.
  bool is_draining() const;
  /// "step 3 (wait), slice 2 of 8".
  std::string position() const;

 private:
  struct LaneState {
    plan::Cursor cursor;
    size_t next_packet = 0;  // in a packet step: the line to go on with
    bool prepared = false;   // in a packet step: sources are resolved
    bool at_barrier = false;
    std::vector<reduce::PacketSource> packet_sources;
  };

  /// What a direct plan's reduce keeps in cache on the way to several destinations.
  static constexpr size_t kPieceBytes = size_t{16} << 10;

  bool execute(LaneState& lane);
  bool claim();
  bool move(const plan::Step& step, int64_t round, int64_t slice);
  void copy(const plan::Step& step, int64_t round, int64_t slice);
  void reduce(const plan::Step& step, int64_t round, int64_t slice);
  void reduce_to_all(const plan::Step& step, int64_t round, int64_t slice, reduce::ReduceJob job);
  bool is_lent(const plan::Location& place) const;
  bool enter_lent(const plan::Step& step);
  void signal(const plan::Step& step, int64_t round, int64_t slice);
  bool wait(const plan::Step& step, int64_t round, int64_t slice);
  void put_packets(const plan::Step& step);
  bool take_packets(LaneState& lane, const plan::Step& step);
  bool last_packets_arrived(const LaneState& lane, size_t sources) const;
  bool barrier(LaneState& lane);
  bool renew_packets();
  bool is_done_with(int peer) const;
  bool drained() const;
  void retire();

  std::byte* user_buffer(const plan::Location& location) const;
  std::byte* address(const plan::Location& location, int64_t round, int64_t slice) const;
  uint64_t awaited_value(const plan::Step& step, int64_t round, int64_t slice) const;
  bool node_has_retired();
  void grant();
  bool is_granted(int peer) const;
  bool claimed(const Peer& peer) const;
  void add_awaited(const LaneState& lane, std::vector<int>& ranks) const;
  void add_undrained(std::vector<int>& ranks) const;

  const Endpoint& endpoint_;
  const reduce::Kernels& kernels_;
  const Operation* op_ = nullptr;
  std::array<LaneState, kMaxLanes> lanes_;
  size_t lane_count_ = 0;
  uint8_t renewal_stage_ = 0;
  int mismatched_peer_ = -1;
  uint64_t known_slots_ = 0;  // what every rank of this node is known to have retired
  uint64_t known_packets_ = 0;
  std::vector<uint64_t> granted_;  // by rank: what this one has granted to it
  std::vector<const void*> sources_;
  alignas(kCacheLine) std::array<std::byte, kPieceBytes> piece_;
  mutable std::vector<int> awaited_;  // kept for its memory
};

}  // namespace tutti::host
