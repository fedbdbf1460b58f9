// Connects to one address, again and again, without blocking: whoever is called may not listen yet, or be flooded.
#pragma once

#include <poll.h>

#include <cstdint>
#include <string>

#include "core/descriptor.h"
#include "runtime/bootstrap/control_link.h"
#include "runtime/bootstrap/interfaces.h"

namespace tutti {

class Connector {
 public:
  Connector(const IpAddress& address, uint16_t port) : address_(address), port_(port) {}

  /// What poll() shall look at; nothing (-1) while it waits for the next try.
  pollfd entry() const { return {socket_.get(), POLLOUT, 0}; }
  /// For poll(): milliseconds until the next try, at most `most`.
  int poll_ms(int most) const;
  /// Goes on; the connected, non-blocking socket once there is one.
  Descriptor advance();
  /// Why there is none yet. Also set by those who lost a connection that was made.
  const std::string& reason() const { return reason_; }
  void try_again(const std::string& reason);

  std::string address_text() const { return address_.text_with(port_); }

 private:
  bool start();
  bool is_own_end() const;

  IpAddress address_;
  uint16_t port_;
  Descriptor socket_;
  Deadline next_try_{0};
  Deadline patience_{0};  // of the try in progress
  uint64_t pause_ns_ = 0;
  std::string reason_ = "it was not tried";
};

/// The address of this end of a connection.
IpAddress own_address(int socket);

}  // namespace tutti
