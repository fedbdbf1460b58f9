// How a kernel that waits gives up, and why it did.
//
// Everybody who polls looks at the clock every kPollsPerLook polls, and then at the rank's abort word (device memory; set by any rank that
// gives up), at what the awaited peer was asked to do, at the deadline, and rarely at the host's abort word, which is far away. The first block
// of a rank that gives up writes the fault to pinned memory and leaves it with the other ranks of the node, which end for the same reason and
// report it as theirs; kernels started later find the abort word set and end at once.
#pragma once

#include "collectives/executors/cuda/block_state.h"
#include "collectives/executors/cuda/sync.h"
#include "transports/tag.h"

namespace tutti::cuda {

/// The words of a fault behind its state.
inline constexpr int kFaultWords = sizeof(DeviceFault) / sizeof(uint64_t);

/// Leaves the fault with every rank of the node, which then gives up for the same reason.
TUTTI_DEVICE inline void tell_all(Shared& shared, const DeviceFault& fault) {
  const auto me = static_cast<uint32_t>(shared.rank.rank);
  const auto* words = reinterpret_cast<const uint64_t*>(&fault);
  for (int r = 0; r < shared.rank.ranks; ++r) {
    if (!shared.maps(r)) continue;
    auto* room = reinterpret_cast<uint64_t*>(shared.rank.layout.fault(shared.window(r), me));
    for (int i = 1; i < kFaultWords; ++i) store(room + i, load(words + i));
    publish(&shared.rank.layout.control(shared.window(r))->abort, 1 + uint64_t{me}, shared.rank.scope);
  }
}

/// Takes over what another rank has given up for. False where it was its host that said so, without a reason.
TUTTI_DEVICE inline bool adopt_fault(Shared& shared, int from) {
  const DeviceLayout& layout = shared.rank.layout;
  observe(&layout.control(shared.own_window())->abort, shared.rank.scope);
  const auto* room =
      reinterpret_cast<const uint64_t*>(layout.fault(shared.own_window(), static_cast<uint32_t>(from)));
  if (load(room + 1) == 0) return false;
  DeviceFault& fault = shared.rank.words->fault;
  auto* words = reinterpret_cast<uint64_t*>(&fault);
  for (int i = 1; i < kFaultWords; ++i) store(words + i, load(room + i));
  publish(&fault.state, 1, Scope::system);
  return true;
}

/// Writes why this rank gives up, unless another block was first, and tells the others.
TUTTI_DEVICE_CALL inline void report_fault(Shared& shared, FaultKind kind, int peer) {
  raise_flag(&shared.failed);
  if (!claim_first(&shared.rank.layout.control(shared.own_window())->claim)) return;
  if (kind == FaultKind::aborted && peer >= 0 && adopt_fault(shared, peer)) return;
  DeviceFault& fault = shared.rank.words->fault;
  fault.reporter = shared.rank.rank;
  const plan::Cursor& cursor = shared.lanes[shared.current_lane].cursor;
  fault.kind = kind;
  fault.peer = peer;
  fault.part = shared.part;
  fault.step = cursor.step_index();
  fault.slice = static_cast<uint32_t>(cursor.slice());
  fault.epoch = shared.state.epoch;
  fault.call = shared.arguments->call;
  fault.count = shared.arguments->count;
  if (kind == FaultKind::mismatch && !shared.maps(peer)) {
    const DeviceInbox& theirs = shared.rank.network.inboxes[peer];
    fault.peer_epoch = load(&theirs.latest_epoch);
    fault.peer_call = load(&theirs.latest_call);
    fault.peer_count = load(&theirs.latest_count);
  } else if (kind == FaultKind::mismatch) {
    const DeviceRetired* theirs = shared.rank.layout.retired_line(shared.window(peer), shared.part);
    fault.peer_epoch = load(&theirs->epoch);
    fault.peer_call = load(&theirs->call);
    fault.peer_count = load(&theirs->count);
  }
  publish(&fault.state, 1, Scope::system);
  tell_all(shared, fault);
}

/// The patience of one thread in one wait: looks up from polling at a gated rate.
class Patience {
 public:
  TUTTI_DEVICE_INLINE explicit Patience(Shared& shared) : shared_(shared) {}

  /// After each poll in vain. False: give up.
  TUTTI_DEVICE_INLINE bool keep_waiting(int peer) {
    relax();
    if (++polls_ % kPollsPerLook != 0) return true;
    return look_around(peer);
  }

 private:
  static constexpr uint32_t kPollsPerLook = 64;
  static constexpr uint64_t kHostLookNs = 100'000;

  TUTTI_DEVICE_CALL bool look_around(int peer) {
    if (is_raised(&shared_.failed)) return false;
    const uint64_t told = load(&shared_.rank.layout.control(shared_.own_window())->abort);
    if (told != 0) {
      report_fault(shared_, FaultKind::aborted, static_cast<int>(told) - 1);
      return false;
    }
    if (differs(peer)) {
      report_fault(shared_, FaultKind::mismatch, peer);
      return false;
    }
    const uint64_t waited = device_now_ns() - shared_.arrival;
    if (waited > shared_.arguments->timeout_ns) {
      report_fault(shared_, FaultKind::timeout, peer);
      return false;
    }
    if (waited < next_host_look_) return true;
    next_host_look_ = waited + kHostLookNs;
    if (load(&shared_.rank.words->abort) == 0) return true;
    report_fault(shared_, FaultKind::aborted, -1);
    return false;
  }

  /// True where the peer's operation of the same epoch is another one: then what is awaited may never come.
  TUTTI_DEVICE_INLINE bool differs(int peer) const {
    if (!shared_.maps(peer)) return false;
    const uint64_t theirs = load(&shared_.rank.layout.retired_line(shared_.window(peer), shared_.part)->tag);
    return theirs != shared_.tag && is_same_epoch(theirs, shared_.tag);
  }

  Shared& shared_;
  uint64_t next_host_look_ = 0;
  uint32_t polls_ = 0;
};

/// How threads that poll packets wait (moves.h).
class PacketSpin {
 public:
  TUTTI_DEVICE_INLINE PacketSpin(Shared& shared, const plan::Location* sources)
      : shared_(shared), sources_(sources), patience_(shared) {}

  /// `flag` is what the packet of operand `source` carries so far.
  TUTTI_DEVICE_INLINE bool keep_waiting(uint64_t flag, int source) {
    const int peer = sources_[source].rank;
    if (flag != 0 && is_same_epoch(flag, shared_.tag)) {
      report_fault(shared_, FaultKind::mismatch, peer);
      return false;
    }
    return patience_.keep_waiting(peer);
  }

 private:
  Shared& shared_;
  const plan::Location* sources_;
  Patience patience_;
};
}  // namespace tutti::cuda
