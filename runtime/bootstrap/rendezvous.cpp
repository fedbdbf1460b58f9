#include "runtime/bootstrap/rendezvous.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <sstream>
#include <string_view>

#include "core/error.h"
#include "core/log.h"
#include "core/units.h"
#include "runtime/bootstrap/control_digest.h"
#include "runtime/bootstrap/door.h"
#include "runtime/bootstrap/local_socket.h"
#include "runtime/bootstrap/message.h"
#include "runtime/bootstrap/rank_list.h"

namespace tutti {

namespace {

constexpr int kRanksPerTable = static_cast<int>(kMaxMessageDescriptors / 2) - 1;
constexpr long kRetryNs = 2'000'000;
constexpr uint64_t kFarewellNs =
    5'000'000'000;  // how long ranks that are late are awaited to be told of a failure

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
  Host(const UniqueId& id, const Meeting& meeting, std::shared_ptr<Node> node, Own own)
      : id_(id),
        meeting_(meeting),
        deadline_(meeting.limit_ns),
        members_(static_cast<size_t>(meeting.size())),
        node_(std::move(node)) {
    members_[0].memory = std::move(own.memory);
    members_[0].wake = std::move(own.wake);
    members_[0].pid = getpid();
  }

  std::shared_ptr<Node> run() {
    try {
      gather(Door(listen(), id_, 2, "set-up"));
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
  Descriptor listen() {
    Descriptor listener = listen_locally(local_name(id_));
    if (!listener && errno == EADDRINUSE)
      raise(Result::invalid_usage, "rank 0 has joined this communicator twice");
    if (!listener) raise_errno(errno, "rank 0: listening for the other ranks");
    return listener;
  }

  /// Until everybody has said hello. After a failure those who are still on their way are awaited for a while: they shall
  /// learn what it was, too. The door closes at the end.
  void gather(Door door) {
    std::optional<Error> failure;
    Deadline farewell(0);
    for (;;) {
      const std::vector<int> missing = absent();
      if (missing.empty() || (failure && (farewell.passed() || deadline_.passed()))) break;
      if (deadline_.passed()) {
        raise(Result::timeout, "set-up: {} did not arrive within {} (of {} ranks)", rank_list(missing),
              limit(), meeting_.size());
      }
      try {
        take_turn(door);
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
  void take_turn(Door& door) {
    std::vector<pollfd> entries;
    for (const Joining& m : members_) entries.push_back({m.socket ? m.socket.get() : -1, POLLIN, 0});
    if (std::optional<Door::Caller> caller = door.wait(entries, deadline_.poll_ms()))
      admit(std::move(*caller));
    for (size_t r = 1; r < members_.size(); ++r) {
      if (entries[r].revents != 0) lost(static_cast<int>(r));
    }
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

  /// Takes the hello of one who knows the secret.
  void admit(Door::Caller caller) {
    const MessageHeader& h = caller.hello.header;
    if (h.size != meeting_.size() || h.rank <= 0 || h.rank >= meeting_.size()) {
      const std::string text =
          fmt::format("rank {} joined a communicator of {} ranks, but rank 0 of one of {} ranks", h.rank,
                      h.size, meeting_.size());
      send_message(caller.socket.get(), error_header(Result::mismatch), text, {});
      if (h.rank > 0 && h.rank < meeting_.size()) members_[static_cast<size_t>(h.rank)].came = true;
      raise(Result::mismatch, "{}", text);
    }
    Joining& member = members_[static_cast<size_t>(h.rank)];
    if (member.came) {
      const std::string text =
          fmt::format("rank {} has joined this communicator twice", meeting_.name(h.rank));
      send_message(caller.socket.get(), error_header(Result::invalid_usage), text, {});
      log(Level::error, "set-up: {}; the second one was turned away", text);
      return;
    }
    member.came = true;
    member.socket = std::move(caller.socket);
    const std::string differs =
        digest_difference(meeting_.digest, meeting_.name(0), caller.hello.text, meeting_.name(h.rank));
    if (!differs.empty()) raise(Result::mismatch, "{}", differs);
    member.memory = std::move(caller.hello.descriptors[0]);
    member.wake = std::move(caller.hello.descriptors[1]);
    member.pid = peer_process(member.socket.get()).pid;
    shm::check_memory(member.memory.get(), node_->layout.total, meeting_.name(h.rank));
  }

  /// A joined rank's socket is readable before it should be: it has an error to tell, or is gone.
  [[noreturn]] void lost(int rank) {
    const Parsed parsed = receive_message(members_[static_cast<size_t>(rank)].socket.get());
    members_[static_cast<size_t>(rank)].socket.reset();
    if (parsed.problem.empty() && parsed.message.header.type == MessageType::error) {
      throw error_of(parsed.message);
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
                limit());
        }
      }
      const Parsed parsed = receive_message(m.socket.get());
      if (!parsed.problem.empty())
        raise(Result::peer_lost, "set-up: rank {} left: {}", meeting_.name(r), parsed.problem);
      if (parsed.message.header.type == MessageType::error) {
        throw error_of(parsed.message);
      }
    }
  }

  void tell_all(MessageType type, Result code, const std::string& text) {
    MessageHeader header = error_header(code);
    header.type = type;
    for (const Joining& m : members_) {
      if (m.socket) send_message(m.socket.get(), header, text, {});
    }
  }

  std::string limit() const { return format_duration(meeting_.limit_ns); }

  const UniqueId& id_;
  const Meeting& meeting_;
  Deadline deadline_;
  std::vector<Joining> members_;
  std::shared_ptr<Node> node_;
};

// ---- the other ranks --------------------------------------------------------------------------------------------------

class Guest {
 public:
  Guest(const UniqueId& id, const Meeting& meeting, std::shared_ptr<Node> node, Own own)
      : id_(id),
        meeting_(meeting),
        deadline_(meeting.limit_ns),
        own_(std::move(own)),
        node_(std::move(node)) {}

  std::shared_ptr<Node> run() {
    connect();
    say_hello();
    try {
      while (node_->ranks() < meeting_.size()) take_table(receive_table());
    } catch (const Error& e) {
      send_message(socket_.get(), error_header(e.code()), e.what(), {});
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
    socket_ = connect_locally(local_name(id_));
    return static_cast<bool>(socket_);
  }

  void connect() {
    while (!try_connect()) {
      if (!may_connect_later(errno)) {
        raise_errno(errno, "rank {}: connecting to rank {}", meeting_.name(meeting_.rank), meeting_.name(0));
      }
      if (deadline_.passed()) {
        raise(Result::timeout, "set-up: rank {} did not arrive within {} (this is rank {} of {})",
              meeting_.name(0), limit(), meeting_.name(meeting_.rank), meeting_.size());
      }
      const timespec pause = {0, kRetryNs};
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
              limit(), what, meeting_.name(0));
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
      throw error_of(parsed.message);
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
      if (rank == 0) member.pid = peer_process(socket_.get()).pid;
      if (rank != meeting_.rank) member.process = watch_process(member.pid);
      node_->members.push_back(std::move(member));
    }
  }

  std::string limit() const { return format_duration(meeting_.limit_ns); }

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
  std::shared_ptr<Node> node = make_node(meeting.most, meeting.scratch_bytes);
  Own own = make_own(meeting, node->layout.total);
  if (meeting.rank == 0) return Host(id, meeting, std::move(node), std::move(own)).run();
  return Guest(id, meeting, std::move(node), std::move(own)).run();
}

}  // namespace tutti
