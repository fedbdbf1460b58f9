// Port channels: what a rank uses to reach a rank whose memory it cannot map.
//
// A *port* leads to one remote rank. A put is posted and completes later; a signal arrives after the puts that were posted
// before it on the same port, and raises a counter in the receiver's own memory: the receiver's transport does that, so a
// rank waits for a remote peer by reading the same kind of line as for a mapped one. Counters are raised in the order
// in which they were signalled, whatever path the slices took.
//
// Nothing here blocks. What was posted moves while the transport is advanced (core/poller.h), on both sides.
//
// The memory that remote ranks write is this rank's slots, and nothing else; a frame that names other bytes is
// refused and fails its peer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/poller.h"
#include "transports/channel.h"
#include "transports/rail_statistics.h"

namespace tutti {

/// What arrives from one remote rank, in memory of the receiving rank. Written by the transport while it is advanced: by
/// whichever thread does that.
struct Inbox {
  PairLine line;  // counters and tag, as a mapped peer would write them
  Counter
      granted;  // up to which position of the ring of slots this rank may write there (collectives/plan/pool.h)
  Announcement latest;  // what the peer was doing when it last signalled; for error messages
};

/// What a signal carries beside the counter's value.
struct SignalInfo {
  uint64_t tag = 0;    // epoch and signature
  uint64_t epoch = 0;  // whole
  uint64_t call = 0;   // as in an Announcement
  uint64_t count = 0;

  bool operator==(const SignalInfo&) const = default;
};

/// What went through one port since it was opened.
struct PortStatistics {
  uint64_t puts = 0;
  uint64_t signals = 0;
  uint64_t bytes_sent = 0;      // of slices
  uint64_t bytes_copied = 0;    // of these, by the transport before it sent them, as far as it knows
  uint64_t bytes_received = 0;  // of slices
  uint64_t in_flight_most =
      0;  // largest number of bytes in puts that were not known to have arrived, as far as the transport can know that
};

class Port {
 public:
  virtual ~Port() = default;

  /// Posts a write of `bytes` bytes from `source` to `offset` in the peer's slots. The source must stay unchanged until
  /// flushed(). No bytes: nothing happens.
  virtual void put(const std::byte* source, size_t bytes, uint64_t offset) = 0;

  /// Raises the peer's counter `index` of its line for this rank to `value`, after all earlier puts of this port have arrived.
  virtual void signal(uint8_t index, uint64_t value, const SignalInfo& info) = 0;

  /// Tells the peer up to which position it may write this rank's slots.
  virtual void grant(uint64_t position) = 0;

  /// True once the sources of all puts so far may be reused.
  virtual bool flushed() const = 0;

  /// True once all that was posted reaches the peer without this rank being advanced again, unless something fails (look_after()).
  virtual bool drained() = 0;

  virtual PortStatistics statistics() const = 0;
};

/// One rank's end of a network.
class PortTransport : public Poller {
 public:
  struct Failure {
    int rank = -1;  // the peer; -1: none
    std::string text;
  };

  /// "ucx".
  virtual std::string_view name() const = 0;

  /// Opaque bytes by which peers reach this rank.
  virtual std::string address() const = 0;

  /// The port to rank `peer`. What arrives from it goes to this rank's slots and to `inbox`, which must outlive the transport.
  /// Called once for each peer, in any order on the two sides: what arrives before is kept. Throws Error naming the peer.
  virtual Port& open(int peer, const std::string& address, Inbox& inbox) = 0;

  /// Who cannot be reached any more, in the order in which that was found. May grow in every call of this transport or its ports; what is in it
  /// stays where it is.
  virtual const std::deque<Failure>& failures() const = 0;
  /// The first of them.
  const Failure& failure() const {
    static const Failure nobody;
    return failures().empty() ? nobody : failures().front();
  }

  /// True once the peer has destroyed its end in good order, after everything that it had sent. That is no failure; but whoever
  /// still waits for it waits in vain.
  virtual bool has_left(int peer) const = 0;

  /// Says goodbye, and waits up to `patience_ns` until all peers have done so too. A peer to which this rank's end closes earlier may lose
  /// what it has not read yet. Nothing may be posted afterwards.
  virtual void close(uint64_t patience_ns) = 0;

  /// After an error: this rank reads no source of a put any more. A port that would still have to reaches its peer no more, and tells it nothing; the
  /// others can still say goodbye. Nothing else may be posted.
  virtual void abandon() noexcept = 0;

  /// A transport that repairs what fails may need this rank again for what is drained(). Instead of advance(), now and then while the rank is in
  /// no call. When it wants to be called next, in ns from now; UINT64_MAX: never.
  virtual uint64_t look_after() { return UINT64_MAX; }

  /// Somebody waits for `peer`, and has for long: where nothing is under way to it whose failure would tell, something is sent that tells
  /// whether it is still there.
  virtual void probe(int /*peer*/) {}

  /// Memory of this rank that puts may leave from without a copy, if the transport can do that: why it cannot, for people; empty: it can, or has no
  /// use for it. The memory stays until forget_source(), and nothing may be in flight from it then.
  virtual std::string register_source(uint64_t /*id*/, std::span<const std::byte> /*memory*/) { return {}; }
  virtual void forget_source(uint64_t /*id*/) {}

  /// How `peer` is reached, for people: "tcp/eth0". Empty before anything was sent.
  virtual std::string route(int peer) const = 0;

  /// What went over each of this rank's rails, where the transport knows rails. Any thread.
  virtual std::vector<RailStatistics> rail_statistics() const { return {}; }
};

}  // namespace tutti
