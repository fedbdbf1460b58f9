#include "runtime/bootstrap/rendezvous.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <sstream>
#include <string_view>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"
#include "core/units.h"
#include "runtime/bootstrap/control_digest.h"
#include "runtime/bootstrap/message.h"
#include "runtime/bootstrap/rank_list.h"

namespace tutti {

namespace {

constexpr int kMostStrangers = 64;  // connections that have not said hello
constexpr int kMostComplaints = 10;
constexpr uint64_t kStrangerPatienceNs = 2'000'000'000;
constexpr int kRanksPerTable = static_cast<int>(kMaxMessageDescriptors / 2) - 1;
constexpr uint64_t kRetryNs = 2'000'000;
constexpr uint64_t kFarewellNs =
    5'000'000'000;  // how long ranks that are late are awaited to be told of a failure

class Deadline {
 public:
  explicit Deadline(uint64_t limit_ns) : limit_ns_(limit_ns), end_(now_ns() + limit_ns) {}
  bool passed() const { return now_ns() >= end_; }
  /// For poll(): milliseconds until the deadline, rounded up, at most `most`.
  int poll_ms(uint64_t most_ms = 1000) const {
    const uint64_t now = now_ns();
    return now >= end_ ? 0 : static_cast<int>(std::min(most_ms, (end_ - now + 999'999) / 1'000'000));
  }
  std::string text() const { return format_duration(limit_ns_); }

 private:
  uint64_t limit_ns_;
  uint64_t end_;
};

struct Address {
  sockaddr_un name{};
  socklen_t size = 0;
};

/// An abstract name: a zero byte, then text.
Address address_of(const UniqueId& id) {
  Address a;
  a.name.sun_family = AF_UNIX;
  const std::string text = fmt::format("tutti-{:02x}", fmt::join(id.name, ""));
  std::memcpy(a.name.sun_path + 1, text.data(), text.size());
  a.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  return a;
}

Descriptor make_socket() {
  Descriptor socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket) raise_errno(errno, "a local socket for set-up");
  return socket;
}

bool readable(int socket, int timeout_ms) {
  pollfd entry = {socket, POLLIN, 0};
  return poll(&entry, 1, timeout_ms) > 0;
}

pid_t peer_process(int socket) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0 ? credentials.pid : 0;
}

/// Empty where the kernel has no pidfd or the process is out of sight (another pid namespace): then only its silence tells.
Descriptor watch_process(pid_t pid) {
  return Descriptor(pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1);
}

/// This rank's own part of the node.
struct Own {
  Descriptor memory;
  Descriptor wake;
};

Own make_own(const Meeting& meeting, size_t window_size) {
  return {shm::create_memory(window_size, meeting.rank), Sleeper::make_wake_descriptor()};
}

// ---- rank 0 ---------------------------------------------------------------------------------------------------------

class Host {
 public:
  Host(const UniqueId& id, const Meeting& meeting, const shm::Layout& layout, Own own)
      : id_(id),
        meeting_(meeting),
        deadline_(meeting.limit_ns),
        members_(static_cast<size_t>(meeting.size())) {
    node_ = std::make_shared<Node>();
    node_->layout = layout;
    members_[0].memory = std::move(own.memory);
    members_[0].wake = std::move(own.wake);
    members_[0].pid = getpid();
  }

  std::shared_ptr<Node> run() {
    try {
      listen();
      gather();
      distribute();
      map();
      await_ready();
      tell_all(MessageType::go, Result::success, "");
      return node_;
    } catch (const Error& e) {
      tell_all(MessageType::error, e.code(), e.what());
      throw;
    }
  }

 private:
  struct Joining {
    Descriptor socket;
    Descriptor memory;
    Descriptor wake;
    pid_t pid = 0;
    bool came = false;  // has said hello, whatever became of it
  };
  struct Stranger {
    Descriptor socket;
    uint64_t since;
  };

  void listen() {
    const Address address = address_of(id_);
    listener_ = make_socket();
    if (bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address.name), address.size) != 0) {
      if (errno == EADDRINUSE) raise(Result::invalid_usage, "rank 0 has joined this communicator twice");
      raise_errno(errno, "rank 0: binding the set-up socket");
    }
    if (::listen(listener_.get(), SOMAXCONN) != 0)
      raise_errno(errno, "rank 0: listening for the other ranks");
  }

  /// Until everybody has said hello. After a failure those who are still on their way are awaited for a while: they shall
  /// learn what it was, too.
  void gather() {
    std::optional<Error> failure;
    Deadline farewell(0);
    for (;;) {
      const std::vector<int> missing = absent();
      if (missing.empty() || (failure && (farewell.passed() || deadline_.passed()))) break;
      if (deadline_.passed()) {
        raise(Result::timeout, "set-up: {} did not arrive within {} (of {} ranks)", rank_list(missing),
              deadline_.text(), meeting_.size());
      }
      try {
        take_turn();
      } catch (const Error& e) {
        if (!failure) {
          failure = e;
          farewell = Deadline(kFarewellNs);
        }
      }
      if (failure) part(*failure);
    }
    if (failure) throw Error(failure->code(), failure->what());
  }

  /// Handles what has come; waits a second at most.
  void take_turn() {
    std::vector<pollfd> entries = {{listener_.get(), POLLIN, 0}};
    for (const Stranger& s : strangers_) entries.push_back({s.socket.get(), POLLIN, 0});
    for (const Joining& m : members_) entries.push_back({m.socket ? m.socket.get() : -1, POLLIN, 0});
    if (poll(entries.data(), entries.size(), deadline_.poll_ms()) < 0 && errno != EINTR)
      raise_errno(errno, "poll");

    const size_t known = strangers_.size();
    for (size_t r = 1; r < members_.size(); ++r) {
      if (entries[1 + known + r].revents != 0) lost(static_cast<int>(r));
    }
    for (size_t i = known; i-- > 0;) {
      const bool silent = now_ns() - strangers_[i].since > kStrangerPatienceNs;
      if (entries[1 + i].revents == 0 && !silent) continue;
      Stranger stranger = std::move(strangers_[i]);
      strangers_.erase(strangers_.begin() + static_cast<ptrdiff_t>(i));
      if (entries[1 + i].revents != 0) {
        admit(stranger);
      } else {
        complain("closed a connection that said nothing");
      }
    }
    if (entries[0].revents != 0) accept();
  }

  /// Tells those who are there why this ends, and lets them go.
  void part(const Error& failure) {
    tell_all(MessageType::error, failure.code(), failure.what());
    for (Joining& m : members_) m.socket.reset();
  }

  std::vector<int> absent() const {
    std::vector<int> ranks;
    for (int r = 1; r < meeting_.size(); ++r) {
      if (!members_[static_cast<size_t>(r)].came) ranks.push_back(meeting_.name(r));
    }
    return ranks;
  }

  /// A log line about strangers, unless there are too many of them.
  void complain(const std::string& what) {
    if (++complaints_ < kMostComplaints) log(Level::warn, "set-up: {}", what);
    if (complaints_ == kMostComplaints) log(Level::warn, "set-up: {}; no more such lines follow", what);
  }

  void accept() {
    Descriptor socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) return;
    if (strangers_.size() >= kMostStrangers) {
      complain("too many connections that say nothing; closed the oldest");
      strangers_.erase(strangers_.begin());
    }
    strangers_.push_back({std::move(socket), now_ns()});
  }

  /// Takes a hello, or turns a stranger away.
  void admit(Stranger& stranger) {
    Parsed parsed = receive_message(stranger.socket.get());
    const MessageHeader& h = parsed.message.header;
    if (!parsed.problem.empty() || h.type != MessageType::hello || parsed.message.descriptors.size() != 2 ||
        !id_.has_secret(h.secret)) {
      complain(fmt::format("turned away a stranger (process {}): {}", peer_process(stranger.socket.get()),
                           parsed.problem.empty() ? "wrong secret or no hello" : parsed.problem));
      return;
    }
    if (h.size != meeting_.size() || h.rank <= 0 || h.rank >= meeting_.size()) {
      const std::string text =
          fmt::format("rank {} joined a communicator of {} ranks, but rank 0 of one of {} ranks", h.rank,
                      h.size, meeting_.size());
      send_message(stranger.socket.get(), error_header(Result::mismatch), text, {});
      if (h.rank > 0 && h.rank < meeting_.size()) members_[static_cast<size_t>(h.rank)].came = true;
      raise(Result::mismatch, "{}", text);
    }
    Joining& member = members_[static_cast<size_t>(h.rank)];
    if (member.came) {
      const std::string text =
          fmt::format("rank {} has joined this communicator twice", meeting_.name(h.rank));
      send_message(stranger.socket.get(), error_header(Result::invalid_usage), text, {});
      log(Level::error, "set-up: {}; the second one was turned away", text);
      return;
    }
    member.came = true;
    member.socket = std::move(stranger.socket);
    const std::string differs =
        digest_difference(meeting_.digest, meeting_.name(0), parsed.message.text, meeting_.name(h.rank));
    if (!differs.empty()) raise(Result::mismatch, "{}", differs);
    member.memory = std::move(parsed.message.descriptors[0]);
    member.wake = std::move(parsed.message.descriptors[1]);
    member.pid = peer_process(member.socket.get());
    shm::check_memory(member.memory.get(), node_->layout.total, meeting_.name(h.rank));
  }

  /// A joined rank's socket is readable before it should be: it has an error to tell, or is gone.
  [[noreturn]] void lost(int rank) {
    const Parsed parsed = receive_message(members_[static_cast<size_t>(rank)].socket.get());
    members_[static_cast<size_t>(rank)].socket.reset();
    if (parsed.problem.empty() && parsed.message.header.type == MessageType::error) {
      throw Error(static_cast<Result>(parsed.message.header.code), parsed.message.text);
    }
    raise(Result::peer_lost, "set-up: rank {} left before all ranks had joined ({})", meeting_.name(rank),
          parsed.problem.empty() ? "unexpected message" : parsed.problem);
  }

  void distribute() {
    for (int first = 0; first < meeting_.size(); first += kRanksPerTable) {
      const int end = std::min(first + kRanksPerTable, meeting_.size());
      MessageHeader header;
      header.type = MessageType::table;
      header.rank = first;
      header.size = end - first;
      std::string pids;
      std::vector<int> descriptors;
      for (int r = first; r < end; ++r) {
        const Joining& m = members_[static_cast<size_t>(r)];
        pids += fmt::format("{} ", m.pid);
        descriptors.push_back(m.memory.get());
        descriptors.push_back(m.wake.get());
      }
      for (int r = 1; r < meeting_.size(); ++r) {
        if (!send_message(members_[static_cast<size_t>(r)].socket.get(), header, pids, descriptors)) lost(r);
      }
    }
  }

  void map() {
    for (Joining& m : members_) {
      Member member;
      member.window = shm::Mapping(m.memory.get(), node_->layout.total);
      member.wake = std::move(m.wake);
      member.pid = m.pid;
      if (m.pid != getpid()) member.process = watch_process(m.pid);
      m.memory.reset();
      node_->members.push_back(std::move(member));
    }
  }

  void await_ready() {
    for (int r = 1; r < meeting_.size(); ++r) {
      Joining& m = members_[static_cast<size_t>(r)];
      while (!readable(m.socket.get(), deadline_.poll_ms())) {
        if (deadline_.passed()) {
          raise(Result::timeout, "set-up: rank {} did not map the windows within {}", meeting_.name(r),
                deadline_.text());
        }
      }
      const Parsed parsed = receive_message(m.socket.get());
      if (!parsed.problem.empty())
        raise(Result::peer_lost, "set-up: rank {} left: {}", meeting_.name(r), parsed.problem);
      if (parsed.message.header.type == MessageType::error) {
        throw Error(static_cast<Result>(parsed.message.header.code), parsed.message.text);
      }
    }
  }

  static MessageHeader error_header(Result code) {
    MessageHeader header;
    header.type = MessageType::error;
    header.code = static_cast<int32_t>(code);
    return header;
  }

  void tell_all(MessageType type, Result code, const std::string& text) {
    MessageHeader header = error_header(code);
    header.type = type;
    for (const Joining& m : members_) {
      if (m.socket) send_message(m.socket.get(), header, text, {});
    }
  }

  const UniqueId& id_;
  const Meeting& meeting_;
  Deadline deadline_;
  Descriptor listener_;
  std::vector<Joining> members_;
  std::vector<Stranger> strangers_;
  int complaints_ = 0;
  std::shared_ptr<Node> node_;
};

// ---- the other ranks --------------------------------------------------------------------------------------------------

class Guest {
 public:
  Guest(const UniqueId& id, const Meeting& meeting, const shm::Layout& layout, Own own)
      : id_(id), meeting_(meeting), deadline_(meeting.limit_ns), own_(std::move(own)) {
    node_ = std::make_shared<Node>();
    node_->layout = layout;
  }

  std::shared_ptr<Node> run() {
    connect();
    say_hello();
    try {
      while (node_->ranks() < meeting_.size()) take_table(receive_table());
    } catch (const Error& e) {
      MessageHeader header;
      header.type = MessageType::error;
      header.code = static_cast<int32_t>(e.code());
      send_message(socket_.get(), header, e.what(), {});
      throw;
    }
    MessageHeader header;
    header.type = MessageType::ready;
    header.rank = meeting_.rank;
    send_message(socket_.get(), header, "", {});
    receive(MessageType::go, "all ranks to be ready");
    return node_;
  }

 private:
  /// False with errno when rank 0 does not listen.
  bool try_connect() {
    const Address address = address_of(id_);
    socket_ = make_socket();
    // A full queue of connections shall not hold this rank beyond its limit.
    const timeval longest = {.tv_sec = 1, .tv_usec = 0};
    setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &longest, sizeof(longest));
    return ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address.name), address.size) == 0;
  }

  void connect() {
    while (!try_connect()) {
      if (errno != ECONNREFUSED && errno != EAGAIN && errno != EINTR && errno != ENOENT) {
        raise_errno(errno, "rank {}: connecting to rank {}", meeting_.name(meeting_.rank), meeting_.name(0));
      }
      if (deadline_.passed()) {
        raise(Result::timeout, "set-up: rank {} did not arrive within {} (this is rank {} of {})",
              meeting_.name(0), deadline_.text(), meeting_.name(meeting_.rank), meeting_.size());
      }
      const timespec pause = {0, static_cast<long>(kRetryNs)};
      nanosleep(&pause, nullptr);
    }
  }

  void say_hello() {
    MessageHeader header;
    header.type = MessageType::hello;
    header.rank = meeting_.rank;
    header.size = meeting_.size();
    std::memcpy(header.secret, id_.secret, sizeof(header.secret));
    // A failure shows when the answer is awaited: rank 0 may have said why before it closed.
    send_message(socket_.get(), header, meeting_.digest, {own_.memory.get(), own_.wake.get()});
  }

  /// Rank 0 closes connections that are slow to say hello when it is flooded with them: then this one comes again.
  Message receive_table() {
    for (;;) {
      try {
        return receive(MessageType::table, "the table of ranks");
      } catch (const Error&) {
        if (!closed_ || node_->ranks() != 0 || deadline_.passed() || !try_connect()) throw;
      }
      say_hello();
    }
  }

  Message receive(MessageType type, const char* what) {
    // Rank 0 says within the limit who is missing; a little longer, so that its text comes first.
    const Deadline grace(meeting_.limit_ns + 2'000'000'000);
    while (!readable(socket_.get(), grace.poll_ms())) {
      if (grace.passed()) {
        raise(Result::timeout, "set-up: rank {} waited {} for {} from rank {}", meeting_.name(meeting_.rank),
              deadline_.text(), what, meeting_.name(0));
      }
    }
    Parsed parsed = receive_message(socket_.get());
    closed_ = !parsed.problem.empty();
    if (closed_) {
      raise(Result::peer_lost, "set-up: rank {} lost rank {} while waiting for {}: {}",
            meeting_.name(meeting_.rank), meeting_.name(0), what, parsed.problem);
    }
    const MessageHeader& header = parsed.message.header;
    if (header.type == MessageType::error) {
      throw Error(static_cast<Result>(header.code), parsed.message.text);
    }
    if (header.type != type) raise(Result::internal_error, "set-up: unexpected message from rank 0");
    return std::move(parsed.message);
  }

  void take_table(Message message) {
    const auto count = static_cast<size_t>(std::max(message.header.size, 0));
    if (message.header.rank != node_->ranks() || count == 0 || message.descriptors.size() != 2 * count ||
        node_->ranks() + static_cast<int>(count) > meeting_.size()) {
      raise(Result::internal_error, "set-up: rank 0 sent {} ranks from {} with {} descriptors", count,
            message.header.rank, message.descriptors.size());
    }
    std::istringstream pids(message.text);
    for (size_t i = 0; i < count; ++i) {
      const int rank = node_->ranks();
      Member member;
      pids >> member.pid;
      const int memory = message.descriptors[2 * i].get();
      shm::check_memory(memory, node_->layout.total, rank);
      member.window = shm::Mapping(memory, node_->layout.total);
      member.wake = std::move(message.descriptors[2 * i + 1]);
      if (rank == 0) member.pid = peer_process(socket_.get());
      if (rank != meeting_.rank) member.process = watch_process(member.pid);
      node_->members.push_back(std::move(member));
    }
  }

  const UniqueId& id_;
  const Meeting& meeting_;
  Deadline deadline_;
  Own own_;
  Descriptor socket_;
  bool closed_ = false;  // by rank 0, without a word
  std::shared_ptr<Node> node_;
};

}  // namespace

std::shared_ptr<Node> meet(const UniqueId& id, const Meeting& meeting) {
  id.check();
  const shm::Layout layout = shm::layout(meeting.most, meeting.scratch_bytes);
  Own own = make_own(meeting, layout.total);
  if (meeting.rank == 0) return Host(id, meeting, layout, std::move(own)).run();
  return Guest(id, meeting, layout, std::move(own)).run();
}

}  // namespace tutti
