#include "runtime/communicator/networks.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "core/error.h"
#include "core/log.h"
#include "core/units.h"
#ifdef TUTTI_HAVE_UCX
#include "transports/ucx/ucx.h"
#endif
#ifdef TUTTI_HAVE_VERBS
#include "transports/verbs/reach.h"
#include "transports/verbs/verbs.h"
#endif

namespace tutti {

namespace {

// An offer is an address by verbs, or why there is none.
constexpr char kAddress = 'a';
constexpr char kProblem = 'p';

std::string address_in(const std::string& offer) {
  return !offer.empty() && offer[0] == kAddress ? offer.substr(1) : std::string();
}

std::string problem_in(const std::string& offer) {
  return !offer.empty() && offer[0] == kProblem ? offer.substr(1) : std::string();
}

#ifndef TUTTI_HAVE_VERBS
namespace verbs {

/// Without verbs no address is ever offered by this rank, so nobody reaches it so.
class Reach {
 public:
  explicit Reach(const std::vector<std::string>& /*addresses*/) {}
  bool reaches(int /*a*/, int /*b*/) const { return false; }
  std::string why_not(int /*a*/, int /*b*/) const { return "this build is without verbs"; }
};

}  // namespace verbs
#endif

}  // namespace

Networks::Networks(const NetworksRequest& request, std::span<Inbox> inboxes)
    : to_(inboxes.size()), addresses_(inboxes.size()), ports_(inboxes.size()) {
  const Placement& placement = *request.placement;
  const TransportChoice wanted = request.settings->transport;
  if (wanted == TransportChoice::shm)
    raise(Result::unsupported,
          "TUTTI_TRANSPORT=shm: the ranks are on {} nodes, and shared memory joins those of one",
          placement.node_count());
  if (wanted != TransportChoice::ucx) open_verbs(request);
  choose(request, request.all_gather(offer()));
  for (PortTransport* transport : {verbs_.get(), ucx_.get()}) {
    if (transport != nullptr) transports_.push_back(transport);
  }
  for (int peer = 0; peer < placement.size(); ++peer) {
    const auto p = static_cast<size_t>(peer);
    if (to_[p] != nullptr) ports_[p] = &to_[p]->open(peer, addresses_[p], inboxes[p]);
  }
}

void Networks::open_verbs([[maybe_unused]] const NetworksRequest& request) {
#ifdef TUTTI_HAVE_VERBS
  const Settings& settings = *request.settings;
  try {
    verbs_ = make_verbs_transport({.rank = request.rank,
                                   .ranks = request.placement->size(),
                                   .slots = request.slots.data(),
                                   .slots_bytes = request.slots.size(),
                                   .rails = settings.ib_rails,
                                   .tuning = settings.ib_tuning,
                                   .name_of = [p = request.placement](int r) { return p->rank_name(r); },
                                   .connect_ns = settings.setup_timeout_ns});
  } catch (const Error& error) {
    // What the user wrote and cannot be is not passed over.
    if (error.code() == Result::invalid_argument) throw;
    problem_ = error.what();
    // A machine without cards is as it should be; one whose cards refuse, or that lacks what the user has named, is not.
    if (error.code() == Result::system_error || !settings.ib_rails.empty())
      log(Level::warn, "rank {}: verbs cannot be used: {}", request.rank, problem_);
  }
#else
  problem_ = "this build is without verbs";
#endif
}

std::string Networks::offer() const {
  return verbs_ ? kAddress + verbs_->address() : kProblem + problem_;
}

namespace {

/// Calls `visit(a, b)` for each two ranks of different nodes, a < b, until it answers true; that is the answer then.
template <typename Visit>
bool any_pair(const Placement& placement, const Visit& visit) {
  for (int a = 0; a < placement.size(); ++a) {
    for (int b = a + 1; b < placement.size(); ++b) {
      if (!placement.same_node(a, b) && visit(a, b)) return true;
    }
  }
  return false;
}

/// Where the user will have nothing else.
void require_verbs(const Placement& placement, const std::vector<std::string>& offers,
                   const verbs::Reach& reach) {
  for (int rank = 0; rank < placement.size(); ++rank) {
    const std::string problem = problem_in(offers[static_cast<size_t>(rank)]);
    if (!problem.empty())
      raise(Result::unsupported, "TUTTI_TRANSPORT=verbs: {}: {}", placement.rank_name(rank), problem);
  }
  any_pair(placement, [&](int a, int b) -> bool {
    if (!reach.reaches(a, b)) raise(Result::unsupported, "TUTTI_TRANSPORT=verbs: {}", reach.why_not(a, b));
    return false;
  });
}

}  // namespace

void Networks::choose(const NetworksRequest& request, const std::vector<std::string>& offers) {
  const Placement& placement = *request.placement;
  std::vector<std::string> addresses(offers.size());
  std::transform(offers.begin(), offers.end(), addresses.begin(), address_in);
  const verbs::Reach reach(addresses);
  if (request.settings->transport == TransportChoice::verbs) require_verbs(placement, offers, reach);
  int first_without = -1;
  for (int peer = 0; peer < placement.size(); ++peer) {
    const auto p = static_cast<size_t>(peer);
    if (placement.same_node(request.rank, peer)) continue;
    if (reach.reaches(request.rank, peer)) {
      to_[p] = verbs_.get();
      addresses_[p] = addresses[p];
    } else if (first_without < 0) {
      first_without = peer;
    }
  }
  const bool some_have =
      std::any_of(addresses.begin(), addresses.end(), [](const auto& address) { return !address.empty(); });
  if (some_have && first_without >= 0)
    write_remark(request, offers, reach.why_not(request.rank, first_without), first_without);
  if (any_pair(placement, [&](int a, int b) { return !reach.reaches(a, b); })) open_ucx(request);
  if (std::find(to_.begin(), to_.end(), verbs_.get()) == to_.end()) verbs_.reset();
}

/// `why` the two do not reach each other, unless one of them has said it better.
void Networks::write_remark(const NetworksRequest& request, const std::vector<std::string>& offers,
                            const std::string& why, int peer) {
  const std::string problem = problem_in(offers[static_cast<size_t>(peer)]);
  remark_ = why;
  if (!problem.empty()) remark_ = fmt::format("{}: {}", request.placement->rank_name(peer), problem);
  if (!problem_.empty()) remark_ = problem_;
  log(Level::info, "rank {}: not all ranks are reached by verbs: {}", request.rank, remark_);
}

void Networks::open_ucx(const NetworksRequest& request) {
#ifdef TUTTI_HAVE_UCX
  ucx_ = make_ucx_transport({.rank = request.rank,
                             .ranks = request.placement->size(),
                             .slots = request.slots.data(),
                             .slots_bytes = request.slots.size(),
                             .put = request.settings->ucx_put,
                             .name_of = [p = request.placement](int r) { return p->rank_name(r); }});
  const std::vector<std::string> addresses = request.all_gather(ucx_->address());
  for (int peer = 0; peer < request.placement->size(); ++peer) {
    const auto p = static_cast<size_t>(peer);
    if (request.placement->same_node(request.rank, peer) || to_[p] != nullptr) continue;
    to_[p] = ucx_.get();
    addresses_[p] = addresses[p];
  }
#else
  raise(Result::unsupported,
        "rank {}: the ranks are on {} nodes, this build has no UCX, and verbs cannot be used{}{}",
        request.rank, request.placement->node_count(), problem_.empty() ? "" : ": ", problem_);
#endif
}

std::vector<Poller*> Networks::pollers() const {
  return {transports_.begin(), transports_.end()};
}

bool Networks::has_left(int peer) const {
  return transport_to(peer).has_left(peer);
}

const PortTransport::Failure* Networks::first_failure(
    const std::function<bool(const PortTransport::Failure&)>& counts) const {
  for (const PortTransport* transport : transports_) {
    const auto& failures = transport->failures();
    if (const auto found = std::ranges::find_if(failures, counts); found != failures.end()) return &*found;
  }
  return nullptr;
}

void Networks::abandon() noexcept {
  for (PortTransport* transport : transports_) transport->abandon();
}

void Networks::close(uint64_t patience_ns) {
  for (PortTransport* transport : transports_) transport->close(patience_ns);
}

std::string Networks::register_source(uint64_t id, std::span<const std::byte> memory) {
  std::string problem;
  for (PortTransport* transport : transports_) {
    if (problem.empty()) problem = transport->register_source(id, memory);
  }
  return problem;
}

void Networks::forget_source(uint64_t id) {
  for (PortTransport* transport : transports_) transport->forget_source(id);
}

uint64_t Networks::look_after() {
  uint64_t next = UINT64_MAX;
  for (PortTransport* transport : transports_) next = std::min(next, transport->look_after());
  return next;
}

std::vector<RailStatistics> Networks::rail_statistics() const {
  std::vector<RailStatistics> all;
  for (const PortTransport* transport : transports_)
    std::ranges::move(transport->rail_statistics(), std::back_inserter(all));
  return all;
}

std::string Networks::route(int peer) const {
  const std::string route = transport_to(peer).route(peer);
  return fmt::format("{}{}{}", transport_to(peer).name(), route.empty() ? "" : " ", route);
}

std::string Networks::describe(int peer) const {
  const PortStatistics s = port(peer)->statistics();
  const std::string copied =
      s.bytes_copied == 0 ? "" : fmt::format(" ({} copied)", format_size(s.bytes_copied));
  return fmt::format("{}, {} sent in {} puts{}, {} received, {} signals, at most {} in flight", route(peer),
                     format_size(s.bytes_sent), s.puts, copied, format_size(s.bytes_received), s.signals,
                     format_size(s.in_flight_most));
}

}  // namespace tutti
