// One rank's end: the worker, the ports, and what comes in.
#include "transports/ucx/transport.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"

namespace tutti::ucx {

namespace {

constexpr int kTurns = 16;  // of UCX's progress in one advance()
constexpr uint64_t kStrangersLogged = 8;

uint64_t random_key() {
  uint64_t key = 0;
  if (getrandom(&key, sizeof(key), 0) != sizeof(key))
    raise_errno(errno, "getrandom of {} bytes", sizeof(key));
  return key;
}

void check(const UcxSettings& settings) {
  if (settings.rank < 0 || settings.rank >= settings.ranks)
    raise(Result::invalid_argument, "UCX transport: rank {} of {}", settings.rank, settings.ranks);
  if (settings.slots == nullptr && settings.slots_bytes != 0)
    raise(Result::invalid_argument, "UCX transport: {} bytes of slots at a null pointer",
          settings.slots_bytes);
}

}  // namespace

UcxTransport::UcxTransport(const UcxSettings& settings)
    : settings_((check(settings), settings)),
      key_(random_key()),
      receivers_(static_cast<size_t>(settings.ranks)),
      ports_(static_cast<size_t>(settings.ranks)),
      failed_(static_cast<size_t>(settings.ranks)),
      worker_(settings.ranks - 1, settings.put != UcxPut::message) {
  listed_.reserve(ports_.size());
  calibrate_ticks();
  ucp_am_handler_param_t params = {};
  params.field_mask =
      UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  params.id = kMessageId;
  params.cb = on_message;
  params.arg = this;
  require(ucp_worker_set_am_recv_handler(worker_.get(), &params), "listening for messages");
  params.id = kMarkId;
  params.cb = [](void*, const void*, size_t, void*, size_t, const ucp_am_recv_param_t*) { return UCS_OK; };
  require(ucp_worker_set_am_recv_handler(worker_.get(), &params), "listening for marks");
  if (settings.put == UcxPut::message || settings.slots_bytes == 0) return;
  try {
    registration_.emplace(worker_.context(), settings.slots, settings.slots_bytes);
  } catch (const Error& error) {
    if (settings.put == UcxPut::rma) throw;
    log(Level::info, "slots will be written by messages only: {}", error.what());
  }
}

UcxTransport::~UcxTransport() {
  UcxTransport::close(settings_.close_ns);
  // All are closed at once, so that they share the time that it may take.
  for (const auto& port : ports_) {
    if (port != nullptr) port->close();
  }
  for (const auto& port : ports_) {
    if (port != nullptr) port->release();
  }
}

std::string UcxTransport::address() const {
  return pack({.rank = static_cast<uint32_t>(settings_.rank),
               .key = key_,
               .slots = reinterpret_cast<uintptr_t>(settings_.slots),
               .slots_bytes = settings_.slots_bytes,
               .worker = worker_.address(),
               .rkey = registration_ ? registration_->rkey() : std::string()});
}

Port& UcxTransport::open(int peer, const std::string& address, Inbox& inbox) {
  if (peer < 0 || peer >= settings_.ranks || peer == settings_.rank || ports_[static_cast<size_t>(peer)])
    raise(Result::invalid_argument,
          "rank {} opens a port to rank {} of {}, which is itself, open already or nobody", settings_.rank,
          peer, settings_.ranks);
  try {
    const Address to = unpack(address);
    if (to.rank != static_cast<uint32_t>(peer))
      raise(Result::invalid_argument, "the address of rank {} came instead", to.rank);
    auto port = std::make_unique<UcxPort>(*this, peer, to);
    port->connect(to);
    receiver(peer).attach(inbox);
    return *(ports_[static_cast<size_t>(peer)] = std::move(port));
  } catch (const Error& error) {
    raise(error.code(), "rank {} cannot open a port to {}: {}", settings_.rank, name_of(peer), error.what());
  }
}

bool UcxTransport::has_left(int peer) const {
  const auto& receiver = receivers_[static_cast<size_t>(peer)];
  return receiver != nullptr && receiver->has_left();
}

uint64_t UcxTransport::applied(int peer) const {
  const auto& receiver = receivers_[static_cast<size_t>(peer)];
  return receiver == nullptr ? 0 : receiver->applied();
}

std::string UcxTransport::route(int peer) const {
  const auto& port = ports_[static_cast<size_t>(peer)];
  return port == nullptr ? std::string() : port->route();
}

uint64_t UcxTransport::bytes_received(int peer) const {
  const auto& receiver = receivers_[static_cast<size_t>(peer)];
  return receiver == nullptr ? 0 : receiver->bytes();
}

void UcxTransport::advance() {
  for (int turn = 0; turn < kTurns && ucp_worker_progress(worker_.get()) != 0; ++turn) {
  }
  while (!listed_.empty()) {
    UcxPort& port = *listed_.back();
    listed_.pop_back();
    port.is_listed = false;
    port.push();
  }
}

bool UcxTransport::arm() {
  return listed_.empty() && ucp_worker_arm(worker_.get()) == UCS_OK;
}

void UcxTransport::list(UcxPort& port) {
  if (port.is_listed) return;
  port.is_listed = true;
  listed_.push_back(&port);
}

void UcxTransport::fail(int peer, const std::string& why) noexcept {
  const auto index = static_cast<size_t>(peer);
  if (failed_[index]) return;
  failed_[index] = true;
  if (ports_[index] != nullptr) ports_[index]->break_off();
  failures_.push_back({peer, fmt::format("{}: {}", name_of(peer), why)});
}

/// UCX lets go of what it was given when the endpoint is closed by force. Where that were one-sided puts it is left open all the same: an
/// acknowledgement that meets a closed connection ends the peer's process (UCX 1.13 over TCP: "unexpected error" in ucp_put_handler).
void UcxTransport::abandon() noexcept {
  constexpr uint64_t kPatienceNs = 1'000'000'000;
  for (const auto& port : ports_) {
    if (port == nullptr || port->flushed()) continue;
    port->break_off();
    if (!port->puts_one_sidedly()) port->close();
  }
  const auto has_let_go = [](const auto& port) {
    return port == nullptr || port->flushed() || port->puts_one_sidedly();
  };
  const uint64_t end = now_ns() + kPatienceNs;
  while (!std::ranges::all_of(ports_, has_let_go) && now_ns() < end) advance();
}

std::string UcxTransport::name_of(int peer) const {
  return settings_.name_of ? settings_.name_of(peer) : fmt::format("rank {}", peer);
}

PortReceiver& UcxTransport::receiver(int peer) {
  auto& receiver = receivers_[static_cast<size_t>(peer)];
  if (receiver == nullptr)
    receiver = std::make_unique<PortReceiver>(std::span(settings_.slots, settings_.slots_bytes));
  return *receiver;
}

ucs_status_t UcxTransport::on_message(void* self, const void* header, size_t header_bytes, void* data,
                                      size_t data_bytes, const ucp_am_recv_param_t* param) noexcept {
  const bool is_here = (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0;
  static_cast<UcxTransport*>(self)->take(header, header_bytes, data, data_bytes, is_here);
  return UCS_OK;
}

void UcxTransport::take(const void* header, size_t header_bytes, const void* data, size_t data_bytes,
                        bool is_here) {
  const PortFrameCheck check = parse_port_frame(header, header_bytes, data_bytes,
                                                {.rank = static_cast<uint32_t>(settings_.rank),
                                                 .ranks = static_cast<uint32_t>(settings_.ranks),
                                                 .key = key_,
                                                 .slots_bytes = settings_.slots_bytes});
  if (check.verdict == PortFrameCheck::Verdict::stranger) {
    if (++strangers_ <= kStrangersLogged)
      log(Level::warn, "a message from a stranger is ignored: {}", check.reason);
    return;
  }
  const int peer = static_cast<int>(check.frame.source);
  if (failed_[static_cast<size_t>(peer)]) return;
  std::string problem = check.reason;
  if (problem.empty() && !is_here) problem = "its bytes are to be fetched; expected them with the message";
  const auto& port = ports_[static_cast<size_t>(peer)];
  if (problem.empty() && port != nullptr && !port->acknowledge(check.frame.received))
    problem = fmt::format("it says that {} frames have come, which have not been sent", check.frame.received);
  if (problem.empty()) problem = receiver(peer).take(check.frame, data);
  if (problem.empty() && port != nullptr && port->owes_word()) list(*port);
  if (!problem.empty()) fail(peer, fmt::format("a message that cannot be: {}", problem));
}

/// Tells all peers that nothing follows, and waits until they have said the same and all has been handed to the network: closing a
/// connection on which something unread has come would make the network drop what the peer has not read yet.
void UcxTransport::close(uint64_t patience_ns) {
  if (std::exchange(said_goodbye_, true)) return;
  for (const auto& port : ports_) {
    if (port != nullptr) port->leave();
  }
  const auto is_done = [&](const auto& port) {
    return port == nullptr || port->is_broken() || (port->drained() && has_left(port->peer()));
  };
  const uint64_t end = now_ns() + patience_ns;
  for (;;) {
    advance();
    if (std::ranges::all_of(ports_, is_done) || now_ns() >= end) return;
    pollfd entry = {worker_.descriptor(), POLLIN, 0};
    if (arm()) poll(&entry, 1, 1);
  }
}

}  // namespace tutti::ucx

namespace tutti {

std::unique_ptr<PortTransport> make_ucx_transport(const UcxSettings& settings) {
  return std::make_unique<ucx::UcxTransport>(settings);
}

}  // namespace tutti
