#include "runtime/bootstrap/control_assembly.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/clock.h"
#include "core/units.h"
#include "runtime/bootstrap/control_graph.h"
#include "runtime/bootstrap/rank_list.h"

namespace tutti {

namespace {

/// Sums of offsets and errors that others have told: they wrap instead of overflowing.
uint64_t sum(uint64_t a, uint64_t b) {
  return a + b;
}

}  // namespace

Assembly::Assembly(const UniqueId& id, const ControlSettings& settings, std::vector<Link> links,
                   std::vector<Contact> upwards, Reception reception, Deadline deadline)
    : id_(id),
      settings_(settings),
      links_(std::move(links)),
      reception_(std::move(reception)),
      deadline_(deadline),
      patience_(deadline.remaining_ns() + margin_of(deadline.remaining_ns())),
      margin_(margin_of(deadline.remaining_ns())) {
  const int rank = settings.rank;
  for (Contact& contact : upwards) {
    // Every rank's link-local addresses are meant as seen from where this rank is.
    if (contact.address.is_link_local()) contact.address.scope = own_address(links_[0].fd()).scope;
    uppers_.push_back({contact, Connector(contact.address, contact.port), std::nullopt, false});
  }
  if (rank == 0) {
    for (int r = 1; r < settings.size; ++r) not_ready_.push_back(r);
  } else {
    awaited_ = downwards_of(rank, settings.size);
  }
}

Joined Assembly::run() {
  try {
    if (settings_.rank == 0) know_clock();
    if (settings_.rank != 0 && parent_of(settings_.rank) == 0) ping();
    while (!go_) {
      check_time();
      take_turn();
    }
    return result();
  } catch (const Error& e) {
    reception_.close();
    tell_failure(links_, settings_.rank, e);
    throw;
  }
}

int Assembly::poll_ms() const {
  int ms = reception_.poll_ms(1000);
  for (const Deadline& moment :
       {deadline_.earlier(margin_), deadline_.earlier(margin_ / 2), deadline_, patience_}) {
    if (!moment.passed()) ms = std::min(ms, moment.poll_ms());
  }
  for (const Upper& upper : uppers_) {
    if (!upper.joined && !upper.link) ms = std::min(ms, upper.connector.poll_ms(ms));
  }
  return ms;
}

void Assembly::take_turn() {
  // What came together with an earlier frame has already been read.
  for (size_t i = 0; i < links_.size() && !go_; ++i) {
    if (links_[i].peek()) listen_to(links_[i]);
  }
  become_ready();
  if (go_) return;
  std::vector<pollfd> entries;
  for (Link& link : links_) {
    // What belongs to the time after `go` stays where it is.
    const std::optional<FrameType> next = link.peek();
    const bool early = next && *next > FrameType::clock;
    entries.push_back({early ? -1 : link.fd(), link.events(), 0});
  }
  const size_t known = links_.size();
  for (const Upper& upper : uppers_) {
    if (upper.link) {
      entries.push_back({upper.link->fd(), upper.link->events(), 0});
    } else {
      entries.push_back(upper.joined ? pollfd{-1, 0, 0} : upper.connector.entry());
    }
  }
  reception_.watch(entries);
  if (poll(entries.data(), entries.size(), poll_ms()) < 0) {
    if (errno == EINTR) return;
    raise_errno(errno, "poll");
  }
  for (size_t i = 0; i < known && !go_; ++i) {
    if (entries[i].revents != 0) listen_to(links_[i]);
  }
  if (go_) return;
  for (Upper& upper : uppers_) advance(upper);
  for (Reception::Guest& guest : reception_.admit(entries)) take(std::move(guest));
}

void Assembly::advance(Upper& upper) {
  if (upper.joined) return;
  if (upper.link) {
    await_welcome(upper);
    return;
  }
  Descriptor socket = upper.connector.advance();
  if (!socket) return;
  Hello hello;
  std::copy(std::begin(id_.secret), std::end(id_.secret), hello.secret.begin());
  hello.size = settings_.size;
  upper.link.emplace(std::move(socket), upper.contact.rank);
  upper.link->send(FrameType::hello, settings_.rank, write_hello(hello));
}

void Assembly::await_welcome(Upper& upper) {
  Link& link = *upper.link;
  link.flush();
  link.receive();
  const std::optional<Frame> frame = link.next();
  if (!frame) {
    if (link.problem().empty()) return;
    upper.connector.try_again(fmt::format("it was reached, but {}", link.problem()));
    upper.link.reset();
    return;
  }
  if (frame->header.type != FrameType::welcome) unexpected(upper.contact.rank, *frame);
  if (!id_.has_secret(frame->payload)) {
    raise(Result::system_error,
          "set-up: whoever listens at {}, the address of rank {}, does not know the secret of the unique id",
          upper.connector.address_text(), upper.contact.rank);
  }
  upper.joined = true;
  links_.push_back(std::move(link));
  upper.link.reset();
  if (upper.contact.rank == parent_of(settings_.rank)) ping();
}

void Assembly::take(Reception::Guest guest) {
  const auto place = std::find(awaited_.begin(), awaited_.end(), guest.link.rank());
  if (place == awaited_.end()) {
    reception_.turn_away(guest.link, Result::invalid_usage,
                         fmt::format("rank {} has connected to rank {}, which does not await it (any more)",
                                     guest.link.rank(), settings_.rank));
    return;
  }
  awaited_.erase(place);
  links_.push_back(std::move(guest.link));
  Link& link = links_.back();
  link.send(FrameType::welcome, settings_.rank,
            {reinterpret_cast<const char*>(id_.secret), sizeof(id_.secret)});
  if (clock_known_ && is_parent(settings_.rank, link.rank())) {
    link.send(FrameType::clock, settings_.rank,
              write_numbers(static_cast<uint64_t>(clock_offset_), clock_error_));
  }
  if (awaited_.empty()) reception_.close();
}

void Assembly::listen_to(Link& link) {
  link.flush();
  for (;;) {
    link.receive();
    const std::optional<FrameType> type = link.peek();
    if (go_ || (type && *type > FrameType::clock)) return;
    const std::optional<Frame> frame = link.next();
    if (!frame) break;
    handle(link, *frame);
  }
  if (link.problem().empty()) return;
  raise(Result::peer_lost, "set-up: rank {} left before all ranks were ready: {} (seen by rank {})",
        link.rank(), link.problem(), settings_.rank);
}

void Assembly::handle(Link& link, const Frame& frame) {
  const bool from_parent = is_parent(link.rank(), settings_.rank);
  const std::optional<std::array<uint64_t, 2>> numbers = read_numbers(frame.payload);
  switch (frame.header.type) {
    case FrameType::error:
      if (const std::optional<ErrorReport> report = read_error(frame.payload))
        throw Error(report->code, report->text);
      break;
    case FrameType::ping:
      if (!numbers || !is_parent(settings_.rank, link.rank())) break;
      link.send(FrameType::pong, settings_.rank, write_numbers((*numbers)[0], now_ns()));
      return;
    case FrameType::pong:
      if (!numbers || !from_parent) break;
      pong(frame);
      return;
    case FrameType::clock:
      if (!numbers || !from_parent) break;
      parents_clock_ = numbers;
      know_clock();
      return;
    case FrameType::limit:  // said while all were still awaited
      if (settings_.rank != 0) break;
      return;
    case FrameType::ready:
      if (settings_.rank != 0) break;
      std::erase(not_ready_, link.rank());
      return;
    case FrameType::go:
      if (settings_.rank == 0 || link.rank() != 0 || !ready_) break;
      go_ = true;
      return;
    default:
      break;
  }
  unexpected(link.rank(), frame);
}

void Assembly::ping() {
  if (Link* parent = link_to(parent_of(settings_.rank)))
    parent->send(FrameType::ping, settings_.rank, write_numbers(now_ns()));
}

void Assembly::pong(const Frame& frame) {
  const uint64_t now = now_ns();
  const std::array<uint64_t, 2> times = *read_numbers(frame.payload);
  const uint64_t half = (now - times[0] + 1) / 2;
  if (times[0] <= now && half < shortest_) {
    shortest_ = half;
    offset_from_parent_ = static_cast<int64_t>(times[0] + half - times[1]);
  }
  if (++pongs_ < kPings) {
    ping();
  } else {
    know_clock();
  }
}

void Assembly::know_clock() {
  if (clock_known_) return;
  if (settings_.rank != 0) {
    if (pongs_ < kPings || !parents_clock_) return;
    clock_offset_ =
        static_cast<int64_t>(sum(static_cast<uint64_t>(offset_from_parent_), (*parents_clock_)[0]));
    clock_error_ = sum(shortest_, (*parents_clock_)[1]);
  }
  clock_known_ = true;
  for (Link& link : links_) {
    if (is_parent(settings_.rank, link.rank())) {
      link.send(FrameType::clock, settings_.rank,
                write_numbers(static_cast<uint64_t>(clock_offset_), clock_error_));
    }
  }
}

void Assembly::become_ready() {
  if (settings_.rank == 0) {
    if (!not_ready_.empty()) return;
    for (Link& link : links_) link.send(FrameType::go, 0);
    go_ = true;
    return;
  }
  const bool connected = awaited_.empty() &&
                         std::all_of(uppers_.begin(), uppers_.end(), [](const Upper& u) { return u.joined; });
  if (ready_ || !connected || !clock_known_) return;
  ready_ = true;
  links_[0].send(FrameType::ready, settings_.rank);
}

void Assembly::check_time() const {
  if (go_) return;
  if (deadline_.passed() && settings_.rank == 0) {
    raise(Result::timeout, "set-up: {} arrived, but did not connect to all neighbours in time",
          rank_list(not_ready_));
  }
  if (deadline_.earlier(margin_).passed()) {
    for (const Upper& upper : uppers_) {
      if (upper.joined) continue;
      raise(Result::timeout, "set-up: rank {} could not connect to rank {} at {} in time: {}", settings_.rank,
            upper.contact.rank, upper.connector.address_text(), upper.connector.reason());
    }
  }
  if (deadline_.earlier(margin_ / 2).passed() && !awaited_.empty()) {
    raise(Result::timeout, "set-up: {} did not connect to rank {} in time", rank_list(awaited_),
          settings_.rank);
  }
  if (patience_.passed()) {
    raise(Result::timeout, "set-up: rank {} waited for all ranks to be ready", settings_.rank);
  }
}

Link* Assembly::link_to(int rank) {
  const auto found =
      std::find_if(links_.begin(), links_.end(), [&](const Link& l) { return l.rank() == rank; });
  return found == links_.end() ? nullptr : &*found;
}

void Assembly::unexpected(int rank, const Frame& frame) const {
  raise(Result::internal_error, "set-up: rank {} sent an unexpected frame of type {} to rank {}", rank,
        static_cast<int>(frame.header.type), settings_.rank);
}

Joined Assembly::result() {
  reception_.close();
  Joined joined;
  joined.clock_offset_ns = clock_offset_;
  joined.clock_error_ns = clock_error_;
  const std::vector<int> neighbours = neighbours_of(settings_.rank, settings_.size);
  std::vector<Link> strangers;
  for (Link& link : links_) {
    const bool stays = std::find(neighbours.begin(), neighbours.end(), link.rank()) != neighbours.end();
    if (!stays) joined.bytes += link.bytes();
    (stays ? joined.links : strangers).push_back(std::move(link));
  }
  part_from(strangers, 0);
  return joined;
}

}  // namespace tutti
