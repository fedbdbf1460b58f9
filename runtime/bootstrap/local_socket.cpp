#include "runtime/bootstrap/local_socket.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "core/error.h"

namespace tutti {

namespace {

constexpr long kPauseNs = 2'000'000;

struct Address {
  sockaddr_un name{};
  socklen_t size = 0;
};

/// An abstract name: a zero byte, then text.
Address address_of(const std::string& text) {
  Address a;
  if (text.size() + 1 > sizeof(a.name.sun_path))
    raise(Result::internal_error, "a socket name of {} characters", text.size());
  a.name.sun_family = AF_UNIX;
  std::memcpy(a.name.sun_path + 1, text.data(), text.size());
  a.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  return a;
}

Descriptor make_socket() {
  Descriptor socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket) raise_errno(errno, "a local socket for set-up");
  return socket;
}

/// Closes the socket and keeps errno.
Descriptor failed(Descriptor socket) {
  const int error = errno;
  socket.reset();
  errno = error;
  return {};
}

}  // namespace

std::string local_name(const UniqueId& id, std::string_view purpose) {
  return fmt::format("tutti-{}{:02x}", purpose, fmt::join(id.name, ""));
}

Descriptor listen_locally(const std::string& name) {
  const Address address = address_of(name);
  Descriptor socket = make_socket();
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&address.name), address.size) != 0 ||
      listen(socket.get(), SOMAXCONN) != 0) {
    return failed(std::move(socket));
  }
  return socket;
}

Descriptor connect_locally(const std::string& name) {
  const Address address = address_of(name);
  Descriptor socket = make_socket();
  // A full queue of connections shall not hold this rank beyond its limit.
  const timeval longest = {.tv_sec = 1, .tv_usec = 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &longest, sizeof(longest));
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address.name), address.size) != 0)
    return failed(std::move(socket));
  return socket;
}

bool may_connect_later(int error) {
  return error == ECONNREFUSED || error == EAGAIN || error == EINTR || error == ENOENT;
}

bool readable(int socket, int timeout_ms) {
  pollfd entry = {socket, POLLIN, 0};
  return poll(&entry, 1, timeout_ms) > 0;
}

PeerProcess peer_process(int socket) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return {};
  return {credentials.pid, credentials.uid};
}

bool send_within(const Deadline& deadline, int socket, const MessageHeader& header, const std::string& text,
                 const std::vector<int>& descriptors) {
  for (;;) {
    if (send_message(socket, header, text, descriptors, MSG_DONTWAIT)) return true;
    const bool full = errno == EAGAIN || errno == EWOULDBLOCK;
    // ETOOMANYREFS: the descriptors that this user has on their way reach the limit of open files.
    if (!full && errno != ETOOMANYREFS && errno != ENOBUFS) return false;
    if (deadline.passed()) {
      errno = ETIMEDOUT;
      return false;
    }
    if (full) {
      pollfd entry = {socket, POLLOUT, 0};
      poll(&entry, 1, deadline.poll_ms());
    } else {
      const timespec pause = {0, kPauseNs};
      nanosleep(&pause, nullptr);
    }
  }
}

}  // namespace tutti
