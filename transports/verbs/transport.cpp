// One rank's end: the rails, the ports, and what comes in.
#include "transports/verbs/transport.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"
#include "transports/verbs/reach.h"

namespace tutti::verbs {

namespace {

constexpr int kBatch = 16;  // completions that are taken together
constexpr int kTurns = 4;   // of these in one advance()

uint64_t random_key() {
  uint64_t key = 0;
  if (getrandom(&key, sizeof(key), 0) != sizeof(key))
    raise_errno(errno, "getrandom of {} bytes", sizeof(key));
  return key;
}

void check(const VerbsSettings& settings) {
  if (settings.rank < 0 || settings.rank >= settings.ranks)
    raise(Result::invalid_argument, "verbs transport: rank {} of {}", settings.rank, settings.ranks);
  if (settings.slots == nullptr && settings.slots_bytes != 0)
    raise(Result::invalid_argument, "verbs transport: {} bytes of slots at a null pointer",
          settings.slots_bytes);
}

/// Those that occur as verbs.h spells them: that is what one searches for.
std::string status_text(ibv_wc_status status) {
  switch (status) {
    case IBV_WC_RETRY_EXC_ERR:
      return "IBV_WC_RETRY_EXC_ERR: it does not answer";
    case IBV_WC_RNR_RETRY_EXC_ERR:
      return "IBV_WC_RNR_RETRY_EXC_ERR: it was not ready to receive (a defect of Tutti)";
    case IBV_WC_REM_ACCESS_ERR:
      return "IBV_WC_REM_ACCESS_ERR: it refused the write";
    case IBV_WC_REM_OP_ERR:
      return "IBV_WC_REM_OP_ERR: its card could not do the write";
    case IBV_WC_LOC_PROT_ERR:
      return "IBV_WC_LOC_PROT_ERR: the card may not read the source (a defect of Tutti)";
    case IBV_WC_WR_FLUSH_ERR:
      return "IBV_WC_WR_FLUSH_ERR: the queue pair has failed";
    default:
      return fmt::format("status {}: {}", static_cast<int>(status), ibv_wc_status_str(status));
  }
}

}  // namespace

VerbsTransport::VerbsTransport(const VerbsSettings& settings)
    : settings_((check(settings), settings)),
      key_(random_key()),
      mail_(settings.rank, settings.ranks),
      ports_(static_cast<size_t>(settings.ranks)),
      failed_(static_cast<size_t>(settings.ranks)),
      events_(epoll_create1(EPOLL_CLOEXEC)) {
  if (!events_) raise_errno(errno, "an epoll descriptor");
  calibrate_ticks();
  for (int r = 0; r < settings.ranks; ++r)
    receivers_.push_back(std::make_unique<PortReceiver>(std::span(settings_.slots, settings_.slots_bytes)));
  listed_.reserve(ports_.size());
  greeting_.reserve(ports_.size());
  std::vector<RailInfo> chosen = choose_rails(list_rails(settings.tuning.gid_index), settings.rails);
  if (chosen.size() > kMostRails) {
    log(Level::warn,
        "rank {}: {} rails can be used, of which the first {} are: TUTTI_IB_HCA says which to use",
        settings.rank, chosen.size(), kMostRails);
    chosen.resize(kMostRails);
  }
  const RailMemory memory = {{settings_.slots, settings_.slots_bytes}, mail_.mailboxes(), mail_.outgoing()};
  constexpr int kAtFirst = 64;  // peers
  const int completions = Connection::kCompletions * std::clamp(settings.ranks - 1, 1, kAtFirst);
  for (const RailInfo& info : chosen) {
    rails_.push_back(std::make_unique<Rail>(info, memory, completions));
    wait_for(rails_.back()->channel()->fd, info);
    wait_for(rails_.back()->device_events(), info);
  }
}

void VerbsTransport::wait_for(int descriptor, const RailInfo& rail) const {
  epoll_event event = {};
  event.events = EPOLLIN;
  if (epoll_ctl(events_.get(), EPOLL_CTL_ADD, descriptor, &event) != 0)
    raise_errno(errno, "waiting for events of the RDMA device {}", rail.name);
}

VerbsTransport::~VerbsTransport() {
  VerbsTransport::close(settings_.close_ns);
}

RankAddress VerbsTransport::own_address() const {
  RankAddress address = {.rank = static_cast<uint32_t>(settings_.rank),
                         .key = key_,
                         .slots = reinterpret_cast<uintptr_t>(settings_.slots),
                         .slots_bytes = settings_.slots_bytes,
                         .mailboxes = reinterpret_cast<uintptr_t>(mail_.mailboxes().data()),
                         .rails = {}};
  for (const auto& rail : rails_) address.rails.push_back(rail->address());
  return address;
}

std::string VerbsTransport::address() const {
  return pack(own_address());
}

Port& VerbsTransport::open(int peer, const std::string& address, Inbox& inbox) {
  if (peer < 0 || peer >= settings_.ranks || peer == settings_.rank || ports_[static_cast<size_t>(peer)])
    raise(Result::invalid_argument,
          "rank {} opens a port to rank {} of {}, which is itself, open already or nobody", settings_.rank,
          peer, settings_.ranks);
  try {
    RankAddress to = unpack(address);
    if (to.rank != static_cast<uint32_t>(peer))
      raise(Result::invalid_argument, "the address of rank {} came instead", to.rank);
    if (const std::string problem = why_not(own_address(), to); !problem.empty())
      raise(Result::unsupported, "{}", problem);
    receiver(peer).attach(inbox);
    return *(ports_[static_cast<size_t>(peer)] = std::make_unique<VerbsPort>(*this, peer, std::move(to)));
  } catch (const Error& error) {
    raise(error.code(), "rank {} cannot open a port to {}: {}", settings_.rank, name_of(peer), error.what());
  }
}

bool VerbsTransport::is_in_slots(const std::byte* source, size_t bytes) const {
  const auto begin = reinterpret_cast<uintptr_t>(settings_.slots);
  const auto at = reinterpret_cast<uintptr_t>(source);
  return at >= begin && at - begin <= settings_.slots_bytes && bytes <= settings_.slots_bytes - (at - begin);
}

std::string VerbsTransport::register_source(uint64_t id, std::span<const std::byte> memory) {
  try {
    sources_.add(id, memory, rails_);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

bool VerbsTransport::has_left(int peer) const {
  return receivers_[static_cast<size_t>(peer)]->has_left();
}

std::string VerbsTransport::route(int peer) const {
  const auto& port = ports_[static_cast<size_t>(peer)];
  return port == nullptr ? std::string() : port->route();
}

std::vector<RailStatistics> VerbsTransport::rail_statistics() const {
  std::vector<RailStatistics> all;
  all.reserve(rails_.size());
  for (const auto& rail : rails_) all.push_back(rail->statistics());
  return all;
}

std::string VerbsTransport::name_of(int peer) const {
  return settings_.name_of ? settings_.name_of(peer) : fmt::format("rank {}", peer);
}

// ---- what comes in

void VerbsTransport::advance() {
  // Greetings are rare, and looking for them costs as much as looking for completions; so does a look at the clock on some machines.
  constexpr uint32_t kSeldom = 16;
  const bool is_seldom = turns_++ % kSeldom == 0;
  const bool listens = armed_ || !greeting_.empty() || is_seldom;
  if (armed_ || (is_seldom && ticks() >= next_look_)) take_device_events();
  for (size_t r = 0; r < rails_.size(); ++r) {
    if (armed_) rails_[r]->take_events();
    for (int turn = 0; turn < kTurns && poll(r) == kBatch; ++turn) {
    }
    if (listens) hear_greetings(*rails_[r]);
  }
  armed_ = false;
  if (!suspects_.empty()) settle_suspects();
  if (!greeting_.empty()) greet();
  if (!listed_.empty()) push_listed();
}

/// Whoever sleeps is woken by them; who does not looks now and then, for each look is a system call.
void VerbsTransport::take_device_events() {
  constexpr uint64_t kLookNs = 100'000'000;
  next_look_ = ticks() + ns_to_ticks(kLookNs);
  for (size_t r = 0; r < rails_.size(); ++r) {
    rails_[r]->take_device_events(settings_.rank);
    if (rails_[r]->has_failed()) lose_rail(r, rails_[r]->info().name + ": the device has failed");
  }
}

/// To all peers.
void VerbsTransport::lose_rail(size_t rail, const std::string& why) {
  for (const auto& port : ports_) {
    if (port != nullptr) port->lose_rail(rail, why);
  }
}

/// How many completions there were.
int VerbsTransport::poll(size_t rail) {
  std::array<ibv_wc, kBatch> completions;
  const int count = ibv_poll_cq(rails_[rail]->completions(), kBatch, completions.data());
  if (count < 0) {
    lose_rail(rail, rails_[rail]->info().name + ": its completion queue cannot be read");
    return 0;
  }
  for (int i = 0; i < count; ++i) take(rail, completions[static_cast<size_t>(i)]);
  return count;
}

void VerbsTransport::take(size_t rail, const ibv_wc& completion) {
  const bool received = (completion.wr_id & Connection::kReceived) != 0;
  const uint64_t peer_index = completion.wr_id & ~Connection::kReceived;
  const auto peer = static_cast<int>(peer_index);
  const auto& port = ports_[peer_index];
  if (port == nullptr || port->is_broken()) return;
  if (completion.status != IBV_WC_SUCCESS) {
    if (received) port->note_fence(rail);
    // What was posted behind a write that failed says nothing of its own.
    if (completion.status == IBV_WC_WR_FLUSH_ERR && port->has_given_up(rail)) return;
    port->lose_rail(rail, fmt::format("{}: {}", rails_[rail]->info().name, status_text(completion.status)));
    return;
  }
  if (!received) {
    port->complete(rail);
    return;
  }
  if (completion.opcode != IBV_WC_RECV_RDMA_WITH_IMM) {
    fail(peer, fmt::format("{}: it sent a message, where writes were expected", rails_[rail]->info().name));
    return;
  }
  port->note_receive(rail);
  port->take(unpack_immediate(ntohl(completion.imm_data)), completion.byte_len);
}

void VerbsTransport::drain(size_t rail) {
  while (poll(rail) != 0) {
  }
}

void VerbsTransport::suspect(VerbsPort& port) {
  if (port.is_suspect) return;
  port.is_suspect = true;
  suspects_.push_back(&port);
}

void VerbsTransport::settle_suspects() {
  // To settle one may bring another, which is asked by the next advance().
  for (VerbsPort* port : std::exchange(suspects_, {})) {
    port->is_suspect = false;
    if (!port->settle_losses()) suspect(*port);
  }
}

void VerbsTransport::hear_greetings(Rail& rail) {
  for (;;) {
    const std::span<const std::byte> bytes = rail.greeter().next();
    if (bytes.empty()) return;
    const std::optional<Greeting> greeting =
        parse_greeting(bytes, key_, static_cast<uint32_t>(settings_.ranks));
    // From a stranger, or earlier than this rank has opened its port: it will come again.
    if (!greeting || ports_[greeting->source] == nullptr) continue;
    const int peer = static_cast<int>(greeting->source);
    try {
      ports_[greeting->source]->hear(*greeting);
    } catch (const Error& error) {
      fail(peer, error.what());
    }
  }
}

void VerbsTransport::greet() {
  const uint64_t now = now_ns();
  std::erase_if(greeting_, [now](VerbsPort* port) { return !port->greet(now); });
}

void VerbsTransport::push_listed() {
  // A port that lists itself again is asked by the next advance().
  const size_t count = listed_.size();
  for (size_t i = 0; i < count; ++i) {
    VerbsPort& port = *listed_[i];
    port.is_listed = false;
    port.push();
  }
  listed_.erase(listed_.begin(), listed_.begin() + static_cast<ptrdiff_t>(count));
}

uint64_t VerbsTransport::look_after() {
  // What fails takes longer than the first to be found, and is mended in steps of the second.
  constexpr uint64_t kNowAndThenNs = 200'000'000;
  constexpr uint64_t kSoonNs = 2'000'000;

  turns_ = 0;
  advance();
  const bool is_busy = !suspects_.empty() || !greeting_.empty() || !listed_.empty();
  return is_busy ? kSoonNs : kNowAndThenNs;
}

bool VerbsTransport::arm() {
  if (!listed_.empty() || !greeting_.empty() || !suspects_.empty()) return false;
  if (!std::ranges::all_of(rails_, [](const auto& rail) { return rail->arm(); })) return false;
  armed_ = true;
  // What came before the request makes no event.
  int there = 0;
  for (size_t r = 0; r < rails_.size(); ++r) {
    there += poll(r);
    hear_greetings(*rails_[r]);
  }
  return there == 0 && listed_.empty() && greeting_.empty() && suspects_.empty();
}

void VerbsTransport::list(VerbsPort& port) {
  if (port.is_listed) return;
  port.is_listed = true;
  listed_.push_back(&port);
}

void VerbsTransport::give_bounce(int bounce) {
  mail_.give_bounce(bounce);
  for (VerbsPort* port : starved_) list(*port);
  starved_.clear();
}

void VerbsTransport::list_greeting(VerbsPort& port) {
  if (std::ranges::find(greeting_, &port) == greeting_.end()) greeting_.push_back(&port);
}

void VerbsTransport::fail(int peer, const std::string& why) noexcept {
  const auto index = static_cast<size_t>(peer);
  if (failed_[index]) return;
  failed_[index] = true;
  if (ports_[index] != nullptr) ports_[index]->break_off();
  failures_.push_back({peer, fmt::format("{}: {}", name_of(peer), why)});
}

void VerbsTransport::abandon() noexcept {
  for (const auto& port : ports_) {
    if (port != nullptr && !port->flushed()) port->break_off();
  }
}

/// Tells all peers that nothing follows, and waits until they have said the same and all has arrived: what is on its way when a queue pair is
/// destroyed is lost, and a failure.
void VerbsTransport::close(uint64_t patience_ns) {
  if (std::exchange(said_goodbye_, true)) return;
  for (const auto& port : ports_) {
    if (port != nullptr) port->leave();
  }
  const auto is_unused = [](const auto& port) {
    return port == nullptr || port->is_broken() || !port->is_open();
  };
  const auto has_arrived = [&](const auto& port) {
    return is_unused(port) || (port->drained() && port->settle());
  };
  const auto is_done = [&](const auto& port) {
    return is_unused(port) || (has_arrived(port) && has_left(port->peer()));
  };
  const uint64_t end = now_ns() + patience_ns;
  for (advance(); !std::ranges::all_of(ports_, is_done) && now_ns() < end; advance()) {
    pollfd entry = {events_.get(), POLLIN, 0};
    if (arm()) ::poll(&entry, 1, 1);
  }
  for (const auto& port : ports_) {
    if (!has_arrived(port)) port->lose_the_rest(patience_ns);
  }
}

}  // namespace tutti::verbs

namespace tutti {

std::unique_ptr<PortTransport> make_verbs_transport(const VerbsSettings& settings) {
  return std::make_unique<verbs::VerbsTransport>(settings);
}

}  // namespace tutti
