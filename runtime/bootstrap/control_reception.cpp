#include "runtime/bootstrap/control_reception.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/log.h"

namespace tutti {

namespace {

constexpr int kMostComplaints = 10;
constexpr int kMostAccepted = 64;  // at once, so that a flood does not keep the ranks waiting

uint16_t port_of(const sockaddr_storage& address) {
  return ntohs(address.ss_family == AF_INET ? reinterpret_cast<const sockaddr_in*>(&address)->sin_port
                                            : reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port);
}

}  // namespace

Reception::Reception(const UniqueId& id, int size, Descriptor socket)
    : id_(id), size_(size), socket_(std::move(socket)) {}

Reception::~Reception() {
  close();
}

void Reception::watch(std::vector<pollfd>& entries) {
  first_entry_ = entries.size();
  entries.push_back({socket_.get(), POLLIN, 0});
  for (const Stranger& s : strangers_) entries.push_back({s.link.fd(), POLLIN, 0});
}

int Reception::poll_ms(int most) const {
  for (const Stranger& s : strangers_) most = std::min(most, s.patience.poll_ms());
  return most;
}

std::vector<Reception::Guest> Reception::admit(const std::vector<pollfd>& entries) {
  std::vector<Guest> guests;
  std::vector<Stranger> still;
  for (size_t i = 0; i < strangers_.size(); ++i) {
    Stranger& stranger = strangers_[i];
    if (entries[first_entry_ + 1 + i].revents != 0 && listen_to(stranger, guests)) continue;
    if (stranger.patience.passed()) {
      complain(fmt::format("closed the connection from {}: it did not say hello in time", stranger.from));
      continue;
    }
    still.push_back(std::move(stranger));
  }
  strangers_ = std::move(still);
  if (entries[first_entry_].revents != 0) accept_some(guests);
  return guests;
}

void Reception::accept_some(std::vector<Guest>& guests) {
  for (int i = 0; i < kMostAccepted; ++i) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    Descriptor socket(
        accept4(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket && (errno == EMFILE || errno == ENFILE)) {
      // Room for the ranks, by the only means there is.
      complain("no descriptors are left; closed all connections that had not said hello");
      strangers_.clear();
    }
    if (!socket) return;
    Stranger stranger{Link(std::move(socket), -1, Hello::kBytes),
                      IpAddress::from(address).text_with(port_of(address)), Deadline(kPatienceNs)};
    if (listen_to(stranger, guests)) continue;
    if (strangers_.size() >= kMostStrangers) {
      complain("too many connections that do not say hello; closed the oldest");
      strangers_.erase(strangers_.begin());
    }
    strangers_.push_back(std::move(stranger));
  }
}

bool Reception::listen_to(Stranger& stranger, std::vector<Guest>& guests) {
  Link& link = stranger.link;
  link.receive();
  const std::optional<Frame> frame = link.next();
  if (!frame && link.problem().empty()) return false;
  const std::string who = fmt::format("turned away a stranger from {}: ", stranger.from);
  if (!frame) {
    complain(who + link.problem());
    return true;
  }
  const std::optional<Hello> hello = read_hello(frame->payload);
  if (frame->header.type != FrameType::hello || !hello) {
    complain(
        fmt::format("{}a frame of type {}, expected a hello", who, static_cast<int>(frame->header.type)));
    return true;
  }
  if (!id_.has_secret(hello->secret.data())) {
    complain(who + "the wrong secret");
    return true;
  }
  const int rank = frame->header.rank;
  if (hello->size != size_ || rank <= 0 || rank >= size_) {
    turn_away(link, Result::mismatch,
              fmt::format("rank {} joined a communicator of {} ranks, but rank 0 of one of {} ranks", rank,
                          hello->size, size_));
    return true;
  }
  link.belongs_to(rank);
  guests.push_back({std::move(link), *hello});
  return true;
}

void Reception::turn_away(Link& link, Result code, const std::string& text) {
  link.send(FrameType::error, 0, write_error(code, text));
  link.finish();
  complain(fmt::format("turned away a connection with the secret: {}", text));
  last_refusal_ = text;
}

void Reception::complain(const std::string& what) {
  if (++complaints_ < kMostComplaints) log(Level::warn, "set-up: {}", what);
  if (complaints_ == kMostComplaints) log(Level::warn, "set-up: {}; no more such lines follow", what);
}

void Reception::close() {
  // A process that was forked from the one that made the id has a copy of the socket: nobody shall be heard there either.
  if (socket_) shutdown(socket_.get(), SHUT_RDWR);
  socket_.reset();
  strangers_.clear();
}

}  // namespace tutti
