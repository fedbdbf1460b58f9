// What one rank does with the frames of one peer: bytes to slots at once, counters in the order of the frames' numbers.
//
// Invariants:
//  - `next_` is the number of the next frame to be applied; all before it have been.
//  - A frame that comes early has its data stored at once and the rest kept, of kMostEarly frames at most; it is applied when
//    all before it have come. So a counter's value is visible only after the data of every earlier put of the port.
//  - Order of stores when a signal is applied: data, announcement, tag, then publish(counter).
//  - Before attach() the same is done to an inbox of its own, whose contents attach() hands over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "transports/port.h"
#include "transports/port_frame.h"

namespace tutti {

class PortReceiver {
 public:
  static constexpr size_t kMostEarly = 1024;

  explicit PortReceiver(std::span<std::byte> slots);

  /// From now on counters are raised in `inbox`.
  void attach(Inbox& inbox);

  /// Takes a frame that why_broken() has found good, or a bare signal on a counter that there is. Empty, or why the peer is broken.
  std::string take(const PortFrame& frame, const void* data);

  /// How many frames have been applied.
  uint64_t applied() const { return next_; }
  /// Which of the next kEarlyBits frames have come early: bit i for frame applied() + i.
  static constexpr uint64_t kEarlyBits = 64;
  uint64_t early() const;
  /// Bytes of slices that have come.
  uint64_t bytes() const { return bytes_; }
  /// True once the peer has said that nothing follows.
  bool has_left() const { return has_left_; }

 private:
  std::string keep(const PortFrame& frame);
  std::string apply(const PortFrame& frame);

  std::span<std::byte> slots_;
  std::unique_ptr<Inbox> early_;  // until attach()
  Inbox* inbox_;
  uint64_t next_ = 0;
  size_t kept_ = 0;
  /// Those that are kept, by number modulo kMostEarly; kind 0: not here. Empty until a frame comes early.
  std::vector<PortFrame> waiting_;
  uint64_t bytes_ = 0;
  bool has_left_ = false;
};

}  // namespace tutti
