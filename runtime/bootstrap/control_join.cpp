#include "runtime/bootstrap/control_join.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>

#include "core/log.h"
#include "core/units.h"
#include "runtime/bootstrap/control_assembly.h"
#include "runtime/bootstrap/control_connector.h"
#include "runtime/bootstrap/control_digest.h"
#include "runtime/bootstrap/control_graph.h"
#include "runtime/bootstrap/control_reception.h"
#include "runtime/bootstrap/rank_list.h"

namespace tutti {

namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kFarewellNs =
    5000 * kMs;  // how long ranks that are late are awaited to be told of a failure
constexpr uint64_t kPartingNs = 500 * kMs;

// ---- rank 0 ---------------------------------------------------------------------------------------------------------

class Host {
 public:
  Host(const UniqueId& id, const ControlSettings& settings)
      : id_(id),
        settings_(settings),
        deadline_(Deadline(settings.limit_ns).earlier(margin_of(settings.limit_ns))),
        hash_(digest_hash(settings.digest)),
        reception_(id, settings.size, listen()),
        members_(static_cast<size_t>(settings.size)) {}

  Joined run() {
    try {
      gather();
      reception_.close();
      introduce();
    } catch (const Error& e) {
      tell_failure(links_, 0, e);
      throw;
    }
    return Assembly(id_, settings_, std::move(links_), {}, std::move(reception_), deadline_).run();
  }

 private:
  struct Joining {
    bool came = false;         // has said hello, whatever became of it
    bool owes_digest = false;  // its digest differs, and has not been seen yet
    Contact contact;
  };

  Descriptor listen() {
    Descriptor socket = take_listener(id_);
    const IpAddress address = !id_.derived ? id_.ip()
                              : settings_.interfaces.empty()
                                  ? IpAddress::any()
                                  : choose_address(network_interfaces(), settings_.interfaces);
    while (!socket) {
      socket = try_listen(address, id_.port_number());
      if (socket) break;
      if (errno != EADDRINUSE || deadline_.passed()) {
        raise_errno(errno,
                    "rank 0: listening at {}, the address in the unique id (was it made on another host, or "
                    "does the process that made it still run?)",
                    address.text_with(id_.port_number()));
      }
      poll(nullptr, 0, 20);
    }
    return socket;
  }

  /// Until everybody has said hello. After a failure those who are still on their way are awaited for a while: they shall
  /// learn what it was, too.
  void gather() {
    Deadline farewell(0);
    for (;;) {
      const std::vector<int> missing = absent();
      if (missing.empty() || (failure_ && (farewell.passed() || deadline_.passed()))) break;
      try {
        if (deadline_.passed()) raise_missing(missing);
        take_turn();
      } catch (const Error& e) {
        if (!failure_) {
          failure_ = e;
          farewell = Deadline(kFarewellNs);
          for (Joining& m : members_) m.owes_digest = false;
        }
      }
      if (failure_) tell_failure(links_, 0, *failure_);
    }
    if (failure_) throw Error(failure_->code(), failure_->what());
  }

  [[noreturn]] void raise_missing(const std::vector<int>& missing) {
    const std::string hint =
        reception_.last_refusal().empty() ? "" : fmt::format("; turned away: {}", reception_.last_refusal());
    raise(Result::timeout, "set-up: {} did not arrive within {} (of {} ranks, at {}){}", rank_list(missing),
          format_duration(settings_.limit_ns), settings_.size, id_.address_text(), hint);
  }

  std::vector<int> absent() const {
    std::vector<int> ranks;
    for (int r = 1; r < settings_.size; ++r) {
      const Joining& m = members_[static_cast<size_t>(r)];
      if (!m.came || m.owes_digest) ranks.push_back(r);
    }
    return ranks;
  }

  /// Handles what has come; waits a second at most.
  void take_turn() {
    std::vector<pollfd> entries;
    for (const Link& link : links_) entries.push_back({link.fd(), link.events(), 0});
    const size_t known = links_.size();
    reception_.watch(entries);
    if (poll(entries.data(), entries.size(), reception_.poll_ms(deadline_.poll_ms())) < 0) {
      if (errno == EINTR) return;
      raise_errno(errno, "poll");
    }
    for (size_t i = 0; i < known; ++i) {
      if (entries[i].revents != 0) listen_to(links_[i]);
    }
    for (Reception::Guest& guest : reception_.admit(entries)) take(std::move(guest));
  }

  void take(Reception::Guest guest) {
    Joining& member = members_[static_cast<size_t>(guest.link.rank())];
    if (member.came) {
      reception_.turn_away(guest.link, Result::invalid_usage,
                           fmt::format("rank {} has joined this communicator twice", guest.link.rank()));
      return;
    }
    member.came = true;
    member.contact = {guest.link.rank(), guest.hello.port, guest.hello.address};
    guest.link.send(FrameType::welcome, 0, {reinterpret_cast<const char*>(id_.secret), sizeof(id_.secret)});
    if (guest.hello.digest != hash_ && !failure_) {
      member.owes_digest = true;
      guest.link.send(FrameType::show_digest, 0);
    }
    links_.push_back(std::move(guest.link));
  }

  /// A rank that waits has nothing to say but its limit, its digest, or why it gives up.
  void listen_to(Link& link) {
    link.flush();
    link.receive();
    while (const std::optional<Frame> frame = link.next()) {
      if (frame->header.type == FrameType::error) {
        const std::optional<ErrorReport> report = read_error(frame->payload);
        if (report) throw Error(report->code, report->text);
      }
      const std::optional<std::array<uint64_t, 2>> limit = read_numbers(frame->payload);
      if (frame->header.type == FrameType::limit && limit) {
        deadline_ = std::min(deadline_, Deadline((*limit)[0]).earlier(margin_of(settings_.limit_ns)));
        continue;
      }
      Joining& member = members_[static_cast<size_t>(link.rank())];
      if (frame->header.type != FrameType::digest || !member.owes_digest) {
        raise(Result::internal_error,
              "set-up: rank {} sent a frame of type {} while rank 0 waits for other ranks", link.rank(),
              static_cast<int>(frame->header.type));
      }
      member.owes_digest = false;
      raise(Result::mismatch, "{}",
            digest_difference(settings_.digest, 0, printable_lines(frame->payload), link.rank()));
    }
    if (!link.problem().empty()) {
      raise(Result::peer_lost, "set-up: rank {} left before all ranks had joined: {}", link.rank(),
            link.problem());
    }
  }

  static std::string printable_lines(std::string text) {
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c != '\n' && (c < ' ' || c > '~'); }, '?');
    return text;
  }

  void introduce() {
    for (Link& link : links_) {
      Neighbours neighbours;
      neighbours.remaining = deadline_.remaining_ns();
      for (const int upper : upwards_of(link.rank())) {
        if (upper != 0) neighbours.contacts.push_back(members_[static_cast<size_t>(upper)].contact);
      }
      link.send(FrameType::neighbours, 0, write_neighbours(neighbours));
    }
  }

  const UniqueId& id_;
  const ControlSettings& settings_;
  Deadline deadline_;
  uint64_t hash_;
  Reception reception_;
  std::vector<Joining> members_;
  std::vector<Link> links_;  // to those who came
  std::optional<Error> failure_;
};

// ---- the other ranks --------------------------------------------------------------------------------------------------

class Guest {
 public:
  Guest(const UniqueId& id, const ControlSettings& settings)
      : id_(id),
        settings_(settings),
        limit_(settings.limit_ns),
        patience_(settings.limit_ns + margin_of(settings.limit_ns)),
        to_root_(root_address(), id.port_number()) {}

  Joined run() {
    std::vector<Link> links;
    while (!neighbours_) {
      links.clear();
      links.push_back(connect());
      try {
        converse(links[0]);
      } catch (const Error& e) {
        tell_failure(links, settings_.rank, e);
        throw;
      }
    }
    const Deadline until(std::min(neighbours_->remaining, limit_.remaining_ns()));
    return Assembly(id_, settings_, std::move(links), std::move(neighbours_->contacts),
                    Reception(id_, settings_.size, std::move(listener_.socket)), until)
        .run();
  }

 private:
  /// A link-local address is reached through an interface of this host, whose number need not be the one on rank 0's host.
  IpAddress root_address() const {
    IpAddress address = id_.ip();
    if (!address.is_link_local() || settings_.interfaces.empty()) return address;
    std::vector<NetworkInterface> interfaces = network_interfaces();
    for (NetworkInterface& interface : interfaces) {
      std::erase_if(interface.addresses, [](const IpAddress& own) { return !own.is_link_local(); });
    }
    address.scope = choose_address(interfaces, settings_.interfaces).scope;
    return address;
  }

  Link connect() {
    for (;;) {
      Descriptor socket = to_root_.advance();
      if (socket) {
        listen_beside(socket.get());
        Link link(std::move(socket), 0);
        link.send(FrameType::hello, settings_.rank, write_hello(hello()));
        return link;
      }
      if (limit_.passed()) raise_unreached();
      pollfd entry = to_root_.entry();
      poll(&entry, 1, to_root_.poll_ms(limit_.poll_ms()));
    }
  }

  [[noreturn]] void raise_unreached() const {
    raise(Result::timeout, "set-up: rank {} of {} did not reach rank 0 at {} within {}: {}", settings_.rank,
          settings_.size, to_root_.address_text(), format_duration(settings_.limit_ns), to_root_.reason());
  }

  /// Others reach this rank by the address from which it reaches rank 0, unless the user said otherwise.
  void listen_beside(int socket) {
    if (listener_.socket || downwards_of(settings_.rank, settings_.size).empty()) return;
    const IpAddress address = settings_.interfaces.empty()
                                  ? own_address(socket)
                                  : choose_address(network_interfaces(), settings_.interfaces);
    listener_ = listen_at(address, parse_port_range(settings_.ports));
  }

  Hello hello() const {
    Hello hello;
    std::copy(std::begin(id_.secret), std::end(id_.secret), hello.secret.begin());
    hello.size = settings_.size;
    hello.port = listener_.port;
    hello.address = listener_.address;
    hello.digest = digest_hash(settings_.digest);
    return hello;
  }

  /// Until rank 0 has named the neighbours, or the connection is lost before rank 0 has said a word.
  void converse(Link& link) {
    bool welcome = false;
    while (!neighbours_) {
      pollfd entry = {link.fd(), link.events(), 0};
      poll(&entry, 1, patience_.poll_ms());
      link.flush();
      link.receive();
      while (const std::optional<Frame> frame = link.next()) {
        if (!answer(link, *frame, welcome)) break;
      }
      if (neighbours_) return;
      if (!link.problem().empty() && !welcome) {
        to_root_.try_again(fmt::format("it was reached, but {}", link.problem()));
        if (limit_.passed()) raise_unreached();
        return;
      }
      if (!link.problem().empty()) {
        raise(Result::peer_lost, "set-up: rank {} lost rank 0 while waiting for all ranks to arrive: {}",
              settings_.rank, link.problem());
      }
      if (patience_.passed() && !welcome) {
        to_root_.try_again("somebody listens there, but does not answer");
        raise_unreached();
      }
      if (patience_.passed()) {
        raise(Result::timeout,
              "set-up: rank {} waited {} for rank 0 at {} to say that all ranks have arrived", settings_.rank,
              format_duration(settings_.limit_ns), id_.address_text());
      }
    }
  }

  /// False when the rest of what comes is for later.
  bool answer(Link& link, const Frame& frame, bool& welcome) {
    switch (frame.header.type) {
      case FrameType::welcome:
        if (!id_.has_secret(frame.payload)) {
          raise(Result::system_error,
                "set-up: whoever listens at {} does not know the secret of the unique id",
                id_.address_text());
        }
        welcome = true;
        link.send(FrameType::limit, settings_.rank, write_numbers(limit_.remaining_ns()));
        return true;
      case FrameType::error:
        if (const std::optional<ErrorReport> report = read_error(frame.payload))
          throw Error(report->code, report->text);
        break;
      case FrameType::show_digest:
        if (welcome) link.send(FrameType::digest, settings_.rank, settings_.digest);
        return true;
      case FrameType::neighbours:
        if (welcome) neighbours_ = read_neighbours(frame.payload);
        if (neighbours_) return false;
        break;
      default:
        break;
    }
    raise(Result::internal_error, "set-up: rank 0 sent an unexpected frame of type {} to rank {}",
          static_cast<int>(frame.header.type), settings_.rank);
  }

  const UniqueId& id_;
  const ControlSettings& settings_;
  Deadline limit_;
  Deadline patience_;  // a little longer: rank 0's text says more
  Connector to_root_;
  Listener listener_;
  std::optional<Neighbours> neighbours_;
};

}  // namespace

uint64_t margin_of(uint64_t limit_ns) {
  return std::clamp(limit_ns / 20, std::min(20 * kMs, limit_ns / 2), 1000 * kMs);
}

void tell_failure(std::vector<Link>& links, int rank, const Error& failure) noexcept {
  for (Link& link : links) link.send(FrameType::error, rank, write_error(failure.code(), failure.what()));
  part_from(links, kPartingNs);
}

Joined join_control(const UniqueId& id, const ControlSettings& settings) {
  if (settings.size == 1) {
    take_listener(id);
    return {};
  }
  return settings.rank == 0 ? Host(id, settings).run() : Guest(id, settings).run();
}

}  // namespace tutti
