#include "runtime/bootstrap/control_connector.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace tutti {

namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kFirstPauseNs = 2 * kMs;
constexpr uint64_t kLongestPauseNs = 100 * kMs;
constexpr uint64_t kPatienceNs = 3000 * kMs;

}  // namespace

IpAddress own_address(int socket) {
  sockaddr_storage name{};
  socklen_t size = sizeof(name);
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    raise_errno(errno, "the address of a connection's own end");
  }
  return IpAddress::from(name);
}

int Connector::poll_ms(int most) const {
  return std::min(most, (socket_ ? patience_ : next_try_).poll_ms());
}

void Connector::try_again(const std::string& reason) {
  socket_.reset();
  reason_ = reason;
  pause_ns_ = std::clamp(2 * pause_ns_, kFirstPauseNs, kLongestPauseNs);
  next_try_ = Deadline(pause_ns_);
}

bool Connector::start() {
  const SocketAddress name(address_, port_);
  socket_ = Descriptor(::socket(name.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_) raise_errno(errno, "a socket for set-up");
  patience_ = Deadline(kPatienceNs);
  if (connect(socket_.get(), name.get(), name.size) == 0) return true;
  if (errno != EINPROGRESS && errno != EINTR) try_again(std::system_category().message(errno));
  return false;
}

/// A connection to a port of this host at which nobody listens may get that very port for its own end, and then is connected
/// with itself.
bool Connector::is_own_end() const {
  sockaddr_storage ends[2] = {};
  socklen_t size = sizeof(ends[0]);
  if (getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&ends[0]), &size) != 0) return false;
  size = sizeof(ends[1]);
  if (getpeername(socket_.get(), reinterpret_cast<sockaddr*>(&ends[1]), &size) != 0) return false;
  return std::memcmp(&ends[0], &ends[1], sizeof(ends[0])) == 0;
}

Descriptor Connector::advance() {
  if (!socket_) {
    if (!next_try_.passed() || !start()) return {};
  } else {
    pollfd state = entry();
    if (poll(&state, 1, 0) <= 0) {
      if (patience_.passed()) try_again("it does not answer");
      return {};
    }
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      try_again(std::system_category().message(error));
      return {};
    }
  }
  if (is_own_end()) {
    try_again("nobody listens there");
    return {};
  }
  return std::move(socket_);
}

}  // namespace tutti
