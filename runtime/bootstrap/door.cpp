#include "runtime/bootstrap/door.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"
#include "runtime/bootstrap/local_socket.h"

namespace tutti {

namespace {

constexpr size_t kMostStrangers = 64;
constexpr int kMostComplaints = 10;
constexpr uint64_t kStrangerPatienceNs = 2'000'000'000;

}  // namespace

Door::Door(Descriptor listener, const UniqueId& id, size_t hello_descriptors, std::string occasion)
    : listener_(std::move(listener)),
      id_(id),
      hello_descriptors_(hello_descriptors),
      occasion_(std::move(occasion)) {}

std::optional<Door::Caller> Door::wait(std::vector<pollfd>& others, int timeout_ms) {
  const size_t known = strangers_.size();
  std::vector<pollfd> entries = {{listener_.get(), POLLIN, 0}};
  for (const Stranger& s : strangers_) entries.push_back({s.socket.get(), POLLIN, 0});
  entries.insert(entries.end(), others.begin(), others.end());
  const int happened = poll(entries.data(), entries.size(), timeout_ms);
  if (happened < 0 && errno != EINTR) raise_errno(errno, "poll");
  if (happened < 0) {
    for (pollfd& entry : entries) entry.revents = 0;
  }
  for (size_t i = 0; i < others.size(); ++i) others[i].revents = entries[1 + known + i].revents;

  std::optional<Caller> caller;
  for (size_t i = known; i-- > 0 && !caller;) {
    const bool spoke = entries[1 + i].revents != 0;
    if (!spoke && now_ns() - strangers_[i].since <= kStrangerPatienceNs) continue;
    Stranger stranger = std::move(strangers_[i]);
    strangers_.erase(strangers_.begin() + static_cast<ptrdiff_t>(i));
    if (spoke) {
      caller = hear(std::move(stranger));
    } else {
      complain("closed a connection that said nothing");
    }
  }
  if (entries[0].revents != 0) accept();
  return caller;
}

/// Takes a hello, or turns a stranger away.
std::optional<Door::Caller> Door::hear(Stranger stranger) {
  Parsed parsed = receive_message(stranger.socket.get());
  const MessageHeader& h = parsed.message.header;
  if (!parsed.problem.empty() || h.type != MessageType::hello ||
      parsed.message.descriptors.size() != hello_descriptors_ || !id_.has_secret(h.secret)) {
    complain(fmt::format("turned away a stranger (process {}): {}", peer_process(stranger.socket.get()).pid,
                         parsed.problem.empty() ? "wrong secret or no hello" : parsed.problem));
    return std::nullopt;
  }
  return Caller{std::move(stranger.socket), std::move(parsed.message)};
}

void Door::accept() {
  Descriptor socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket) return;
  if (strangers_.size() >= kMostStrangers) {
    complain("too many connections that say nothing; closed the oldest");
    strangers_.erase(strangers_.begin());
  }
  strangers_.push_back({std::move(socket), now_ns()});
}

/// A log line about strangers, unless there are too many of them.
void Door::complain(const std::string& what) {
  if (++complaints_ < kMostComplaints) log(Level::warn, "{}: {}", occasion_, what);
  if (complaints_ == kMostComplaints) log(Level::warn, "{}: {}; no more such lines follow", occasion_, what);
}

}  // namespace tutti
