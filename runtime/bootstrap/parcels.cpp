// How the parcels of a node go round: local rank 0 gathers them all and then gives all to everybody.
//
//     local rank r                  local rank 0
//     hello(secret)             ─▶ lets it in
//     parcel(bytes, fds) ...      ─▶ puts it together; waits for all, or says who is missing
//                            ◀─ parcel(bytes, fds) ... of all others
//     ready                     ─▶ waits for all
//                            ◀─ go            (or at any time: error, with the text everybody reports)
//
// As when the windows are exchanged (rendezvous.h), with a socket name for each round. Local rank 0 closes the door before it gives
// anything out, so that nobody who has received all of a round finds the door of that round again. All descriptors are on
// their way only in the queue of one socket at a time, since the kernel limits how many a user may have in flight.
#include "runtime/bootstrap/parcels.h"

#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"
#include "core/units.h"
#include "runtime/bootstrap/door.h"
#include "runtime/bootstrap/local_socket.h"
#include "runtime/bootstrap/message.h"
#include "runtime/bootstrap/parcel_pieces.h"
#include "runtime/bootstrap/rank_list.h"

namespace tutti {

namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kGraceNs = 2 * kSecondNs;  // local rank 0 says first who is missing
constexpr uint64_t kFarewellNs =
    5 * kSecondNs;  // how long those who are late are awaited to be told of a failure
constexpr uint64_t kTellNs =
    kSecondNs;  // how long one whose queue is full is given to make room for an error
constexpr long kRetryNs = 2'000'000;

/// One exchange, as seen by one rank.
struct Round {
  const UniqueId& id;
  std::string name;
  int place;
  int size;
  uint64_t limit_ns;

  std::string limit() const { return format_duration(limit_ns); }
};

/// False with errno, as send_within.
bool send_parcel(const Deadline& deadline, int socket, const Parcel& parcel, int place) {
  const int pieces = piece_count(parcel);
  for (int k = 0; k < pieces; ++k) {
    const Piece piece = piece_of(parcel, place, k);
    if (!send_within(deadline, socket, piece.header, piece.text, piece.descriptors)) return false;
  }
  return true;
}

// ---- local rank 0 ---------------------------------------------------------------------------------------------------

class Hub {
 public:
  explicit Hub(const Round& round)
      : round_(round), deadline_(round.limit_ns), guests_(static_cast<size_t>(round.size)) {}

  std::vector<Parcel> run(Parcel mine) {
    Descriptor listener = listen_locally(round_.name);
    if (!listener) {
      if (errno == EADDRINUSE) raise(Result::invalid_usage, "local rank 0 has come to this exchange twice");
      raise_errno(errno, "local rank 0: listening for the parcels of the other ranks");
    }
    try {
      gather(Door(std::move(listener), round_.id, 0, "parcels"), mine);
      std::vector<Parcel> all = take_all(std::move(mine));
      distribute(all);
      await_ready();
      tell_all(MessageType::go, Result::success, "");
      return all;
    } catch (const Error& e) {
      tell_all(MessageType::error, e.code(), e.what());
      throw;
    }
  }

 private:
  struct Guest {
    Descriptor socket;
    bool came = false;  // has said hello, whatever became of it
    ParcelAssembly assembly;
  };

  Guest& guest(int place) { return guests_[static_cast<size_t>(place)]; }

  /// Until everybody's parcel is whole. After a failure those who are still on their way are awaited for a while: they shall
  /// learn what it was, too. The door closes at the end.
  void gather(Door door, const Parcel& mine) {
    std::optional<Error> failure;
    Deadline farewell(0);
    const auto attempt = [&](auto&& step) {
      try {
        step();
      } catch (const Error& e) {
        if (!failure) {
          failure = e;
          farewell = Deadline(kFarewellNs);
        }
      }
      if (failure) part(*failure);
    };
    attempt([&] { check_parcel(mine, 0); });
    for (;;) {
      const std::vector<int> missing = places([](const Guest& g) { return !g.came; });
      const std::vector<int> unfinished = places([](const Guest& g) { return !g.assembly.whole(); });
      if (failure ? missing.empty() || farewell.passed() || deadline_.passed() : unfinished.empty()) break;
      if (deadline_.passed()) raise_late(missing, unfinished);
      attempt([&] { take_turn(door); });
    }
    if (failure) throw Error(failure->code(), failure->what());
  }

  template <typename Holds>
  std::vector<int> places(Holds&& holds) const {
    std::vector<int> result;
    for (int p = 1; p < round_.size; ++p) {
      if (holds(guests_[static_cast<size_t>(p)])) result.push_back(p);
    }
    return result;
  }

  [[noreturn]] void raise_late(const std::vector<int>& missing, const std::vector<int>& unfinished) const {
    if (!missing.empty()) {
      raise(Result::timeout, "parcels: local {} did not come within {} (of {} ranks of the node)",
            rank_list(missing), round_.limit(), round_.size);
    }
    raise(Result::timeout,
          "parcels: local {} came, but did not send everything within {} (of {} ranks of the node)",
          rank_list(unfinished), round_.limit(), round_.size);
  }

  /// Handles what has come; waits a second at most.
  void take_turn(Door& door) {
    std::vector<pollfd> entries;
    for (const Guest& g : guests_) entries.push_back({g.socket ? g.socket.get() : -1, POLLIN, 0});
    if (std::optional<Door::Caller> caller = door.wait(entries, deadline_.poll_ms()))
      admit(std::move(*caller));
    for (int p = 1; p < round_.size; ++p) {
      if (entries[static_cast<size_t>(p)].revents == 0) continue;
      guest(p).assembly.take(receive(p, "before all had come"), p, p);
    }
  }

  /// Tells those who are there why this ends, and lets them go.
  void part(const Error& failure) {
    tell_all(MessageType::error, failure.code(), failure.what());
    for (Guest& g : guests_) g.socket.reset();
  }

  void admit(Door::Caller caller) {
    const MessageHeader& h = caller.hello.header;
    const bool possible = h.rank > 0 && h.rank < round_.size;
    if (!possible || h.size != round_.size) {
      if (possible) guest(h.rank).came = true;
      const Error error(
          Result::mismatch,
          fmt::format("parcels: local rank {} says that its node has {} ranks; local rank 0 says {}", h.rank,
                      h.size, round_.size));
      turn_away(caller, error);
      throw Error(error);
    }
    Guest& g = guest(h.rank);
    if (g.came) {
      const Error error(Result::invalid_usage,
                        fmt::format("local rank {} has come to this exchange twice", h.rank));
      turn_away(caller, error);
      log(Level::error, "parcels: {}; the second one was turned away", error.what());
      return;
    }
    g.came = true;
    g.socket = std::move(caller.socket);
  }

  static void turn_away(const Door::Caller& caller, const Error& error) {
    send_within(Deadline(kTellNs), caller.socket.get(), error_header(error.code()), error.what(), {});
  }

  /// What a guest whose socket is readable says. Throws what it says went wrong, or that it is gone; nobody speaks to it then.
  Message receive(int place, const char* when) {
    Parsed parsed = receive_message(guest(place).socket.get());
    if (!parsed.problem.empty() && parsed.problem != kClosed) {
      raise(Result::system_error, "parcels: local rank 0 cannot take what local rank {} sent: {}", place,
            parsed.problem);
    }
    if (parsed.problem.empty() && parsed.message.header.type != MessageType::error)
      return std::move(parsed.message);
    guest(place).socket.reset();
    if (parsed.problem.empty()) throw error_of(parsed.message);
    raise(Result::peer_lost, "parcels: local rank {} ended {}", place, when);
  }

  std::vector<Parcel> take_all(Parcel mine) {
    std::vector<Parcel> all;
    for (Guest& g : guests_) all.push_back(std::move(g.assembly.parcel()));
    all[0] = std::move(mine);
    return all;
  }

  void distribute(const std::vector<Parcel>& all) {
    for (int to = 1; to < round_.size; ++to) {
      for (int p = 0; p < round_.size; ++p) {
        if (p == to || send_parcel(deadline_, guest(to).socket.get(), all[static_cast<size_t>(p)], p))
          continue;
        const int error = errno;
        if (error == ETIMEDOUT) {
          raise(Result::timeout, "parcels: local rank {} did not take the parcels within {}", to,
                round_.limit());
        }
        receive(to, "before it had everything");
        raise_errno(error, "parcels: sending the parcel of local rank {} to local rank {}", p, to);
      }
    }
  }

  void await_ready() {
    for (int p = 1; p < round_.size; ++p) {
      while (!readable(guest(p).socket.get(), deadline_.poll_ms())) {
        if (deadline_.passed()) {
          raise(Result::timeout, "parcels: local rank {} did not take the parcels within {}", p,
                round_.limit());
        }
      }
      const Message message = receive(p, "before it had everything");
      if (message.header.type != MessageType::ready) {
        raise(Result::internal_error, "parcels: local rank {} sent a message of type {}, expected ready", p,
              static_cast<int>(message.header.type));
      }
    }
  }

  void tell_all(MessageType type, Result code, const std::string& text) {
    MessageHeader header = error_header(code);
    header.type = type;
    const Deadline patience(kTellNs);
    for (const Guest& g : guests_) {
      if (g.socket) send_within(patience, g.socket.get(), header, text, {});
    }
  }

  const Round& round_;
  Deadline deadline_;
  std::vector<Guest> guests_;  // by place; the first is not used
};

// ---- the other ranks ------------------------------------------------------------------------------------------------

class Visitor {
 public:
  explicit Visitor(const Round& round)
      : round_(round), deadline_(round.limit_ns), grace_(round.limit_ns + kGraceNs) {}

  std::vector<Parcel> run(Parcel mine) {
    connect();
    for (;;) {
      try {
        return trade(mine);
      } catch (const Error&) {
        // Local rank 0 closes connections that are slow to say hello when it is flooded with them: then this one comes again.
        if (!closed_ || heard_ || !reconnect()) throw;
      }
    }
  }

 private:
  void connect() {
    while (!try_connect()) {
      if (!may_connect_later(errno))
        raise_errno(errno, "local rank {}: connecting to local rank 0", round_.place);
      if (deadline_.passed()) {
        raise(Result::timeout,
              "parcels: local rank 0 did not come within {} (this is local rank {} of {} ranks of the node)",
              round_.limit(), round_.place, round_.size);
      }
      const timespec pause = {0, kRetryNs};
      nanosleep(&pause, nullptr);
    }
  }

  /// False when nobody listens there any more.
  bool reconnect() {
    while (!deadline_.passed()) {
      if (try_connect()) return true;
      if (errno != EAGAIN && errno != EINTR) return false;
    }
    return false;
  }

  /// False with errno. The name can be seen by everybody: it is told the secret only if this user listens there.
  bool try_connect() {
    socket_ = connect_locally(round_.name);
    if (!socket_) return false;
    const PeerProcess peer = peer_process(socket_.get());
    if (peer.user != geteuid()) {
      raise(Result::system_error,
            "parcels: local rank {} belongs to user {}, but in place of local rank 0 process {} of user {} "
            "listens",
            round_.place, geteuid(), peer.pid, peer.user);
    }
    closed_ = false;
    return true;
  }

  std::vector<Parcel> trade(Parcel& mine) {
    MessageHeader header;
    header.rank = round_.place;
    header.size = round_.size;
    std::memcpy(header.secret, round_.id.secret, sizeof(header.secret));
    send(header);
    try {
      check_parcel(mine, round_.place);
      if (!send_parcel(deadline_, socket_.get(), mine, round_.place) && errno == ETIMEDOUT) {
        raise(Result::timeout, "parcels: local rank 0 did not take the parcel of local rank {} within {}",
              round_.place, round_.limit());
      }
      // Any other failure shows when the answer is awaited: local rank 0 may have said why before it closed.
      std::vector<Parcel> all = receive_all();
      header.type = MessageType::ready;
      send(header);
      receive(MessageType::go, "all ranks to be ready");
      all[static_cast<size_t>(round_.place)] = std::move(mine);
      return all;
    } catch (const Error& e) {
      if (!closed_ && !told_) send(error_header(e.code()), e.what());
      throw;
    }
  }

  void send(const MessageHeader& header, const std::string& text = {}) {
    send_within(Deadline(kTellNs), socket_.get(), header, text, {});
  }

  std::vector<Parcel> receive_all() {
    std::vector<Parcel> all(static_cast<size_t>(round_.size));
    for (int p = 0; p < round_.size; ++p) {
      if (p == round_.place) continue;
      ParcelAssembly assembly;
      while (!assembly.whole()) assembly.take(receive(MessageType::parcel, "the parcels"), p, 0);
      all[static_cast<size_t>(p)] = std::move(assembly.parcel());
    }
    return all;
  }

  Message receive(MessageType type, const char* what) {
    while (!readable(socket_.get(), grace_.poll_ms())) {
      if (grace_.passed()) {
        raise(Result::timeout, "parcels: local rank {} waited {} for {} from local rank 0", round_.place,
              round_.limit(), what);
      }
    }
    Parsed parsed = receive_message(socket_.get());
    closed_ = parsed.problem == kClosed;
    if (closed_) {
      raise(Result::peer_lost, "parcels: local rank {} lost local rank 0 while waiting for {}", round_.place,
            what);
    }
    if (!parsed.problem.empty()) {
      raise(Result::system_error, "parcels: local rank {} cannot take what local rank 0 sent: {}",
            round_.place, parsed.problem);
    }
    heard_ = true;
    const MessageHeader& header = parsed.message.header;
    if (header.type == MessageType::error) {
      told_ = true;
      throw error_of(parsed.message);
    }
    if (header.type != type) {
      raise(Result::internal_error, "parcels: local rank 0 sent a message of type {} in place of {}",
            static_cast<int>(header.type), what);
    }
    return std::move(parsed.message);
  }

  const Round& round_;
  Deadline deadline_;
  Deadline grace_;
  Descriptor socket_;
  bool closed_ = false;  // by local rank 0
  bool heard_ = false;   // anything from local rank 0
  bool told_ = false;    // by local rank 0 why this ends
};

}  // namespace

ParcelExchange::ParcelExchange(const UniqueId& id, int place, int size, uint64_t limit_ns)
    : id_(id), place_(place), size_(size), limit_ns_(limit_ns) {
  id.check();
  if (size < 1 || place < 0 || place >= size)
    raise(Result::invalid_argument, "an exchange of parcels by local rank {} of {}", place, size);
}

std::vector<Parcel> ParcelExchange::exchange(Parcel mine) {
  const uint64_t number = round_++;
  if (size_ == 1) {
    check_parcel(mine, place_);
    std::vector<Parcel> all;
    all.push_back(std::move(mine));
    return all;
  }
  const Round round = {id_, local_name(id_, "parcels-") + fmt::format("-{}", number), place_, size_,
                       limit_ns_};
  if (place_ == 0) return Hub(round).run(std::move(mine));
  return Visitor(round).run(std::move(mine));
}

}  // namespace tutti
