// What a port transport gives to the wait loop: something to advance while a rank waits, and a descriptor that
// becomes readable when there is something to advance. Memory channels need none: their peers store into memory.
#pragma once

namespace tutti {

class Poller {
 public:
  virtual ~Poller() = default;
  /// Moves the transport on without blocking; called by one thread at a time: the rank's own, but for PortTransport::look_after().
  virtual void advance() = 0;
  /// Readable when advance() has work to do, once arm() has said so; waited for while the rank sleeps.
  virtual int descriptor() const = 0;
  /// Asked before each sleep: false when there is something to advance now.
  virtual bool arm() = 0;
};

}  // namespace tutti
