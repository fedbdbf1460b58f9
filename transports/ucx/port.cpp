// One port: what is posted to one peer, and what has become of it.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/clock.h"
#include "core/error.h"
#include "transports/ucx/transport.h"

namespace tutti::ucx {

namespace {

/// A message's share of a socket's buffer beside its bytes: headers, and what the kernel keeps for each piece that it queues.
constexpr uint64_t kMessageWeight = 1536;
/// Half of what a TCP socket may hold at the least when it is new (16 KiB, net.ipv4.tcp_wmem); it only grows.
constexpr uint64_t kLeastSocketBuffer = 8192;

void on_done(void* ucx_request, ucs_status_t status, void* user) {
  ucp_request_free(ucx_request);
  Request& request = *static_cast<Request*>(user);
  request.port->finish(request, status);
}

ucp_request_param_t parameters(Request& request) {
  ucp_request_param_t params = {};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  params.cb.send = on_done;
  params.user_data = &request;
  return params;
}

void on_error(void* port, ucp_ep_h /*endpoint*/, ucs_status_t status) {
  static_cast<UcxPort*>(port)->lose(ucs_status_string(status));
}

}  // namespace

Request& RequestPool::take(UcxPort& port, Request::Kind kind) {
  if (free_ == nullptr) {
    all_.push_back(std::make_unique<Request>());
    give(*all_.back());
  }
  Request& request = *free_;
  free_ = request.next;
  request = {};
  request.port = &port;
  request.kind = kind;
  return request;
}

void RequestPool::give(Request& request) {
  request.next = free_;
  free_ = &request;
}

UcxPort::UcxPort(UcxTransport& transport, int peer, const Address& address)
    : transport_(transport),
      peer_(peer),
      key_(address.key),
      remote_slots_(address.slots),
      remote_bytes_(address.slots_bytes) {}

UcxPort::~UcxPort() {
  release();
}

void UcxPort::release() {
  const uint64_t end = now_ns() + transport_.settings().close_ns;
  while (!close() && now_ns() < end) ucp_worker_progress(transport_.worker());
  closing_ = nullptr;  // where it is still open, it ends with the worker
  if (rkey_ != nullptr) ucp_rkey_destroy(std::exchange(rkey_, nullptr));
}

void UcxPort::connect(const Address& address) {
  ucp_ep_params_t params = {};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = reinterpret_cast<const ucp_address_t*>(address.worker.data());
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler = {.cb = on_error, .arg = this};
  require(ucp_ep_create(transport_.worker(), &params, &endpoint_),
          "connecting (is there a network that both use? UCX_TLS, UCX_NET_DEVICES)");
  is_tcp_ = route().starts_with("tcp");
  choose_way(address);
}

void UcxPort::choose_way(const Address& address) {
  const UcxPut way = transport_.settings().put;
  if (way == UcxPut::message || (way == UcxPut::automatic && !is_one_sided(route()))) return;
  ucs_status_t status = UCS_ERR_UNSUPPORTED;
  if (!address.rkey.empty()) status = ucp_ep_rkey_unpack(endpoint_, address.rkey.data(), &rkey_);
  if (status == UCS_OK) {
    one_sided_from_ = way == UcxPut::rma ? 1 : kOneSidedBytes;
  } else if (way == UcxPut::rma) {
    require(status, "one-sided puts (TUTTI_UCX_PUT=rma)");
  }
}

void UcxPort::put(const std::byte* source, size_t bytes, uint64_t offset) {
  if (bytes == 0 || broken_) return;
  if (offset > remote_bytes_ || bytes > remote_bytes_ - offset) {
    transport_.fail(peer_,
                    fmt::format("a put of {} bytes to offset {} of its {} bytes of slots (a defect of Tutti)",
                                bytes, offset, remote_bytes_));
    return;
  }
  ++statistics_.puts;
  statistics_.bytes_sent += bytes;
  begin(bytes);
  if (bytes >= one_sided_from_) {
    post_one_sided(source, bytes, offset);
    return;
  }
  while (!broken_ && bytes != 0) {
    if (pending_bytes_ != 0) send_pending();
    const size_t part = std::min(bytes, kMessageBytes);
    if (broken_) break;
    pending_ = source;
    pending_bytes_ = part;
    pending_offset_ = offset;
    source += part;
    offset += part;
    bytes -= part;
  }
  end(bytes);  // 0, unless the connection broke meanwhile
  if (!broken_) transport_.list(*this);
}

void UcxPort::post_one_sided(const std::byte* source, size_t bytes, uint64_t offset) {
  Request& request = transport_.requests().take(*this, Request::Kind::put);
  request.bytes = bytes;
  unflushed_ = true;
  one_sided_ += bytes;
  one_sided_end_ = ++posted_;
  const ucp_request_param_t params = parameters(request);
  note(request, ucp_put_nbx(endpoint_, source, bytes, remote_slots_ + offset, rkey_, &params));
}

void UcxPort::signal(uint8_t index, uint64_t value, const SignalInfo& info) {
  if (broken_) return;
  ++statistics_.signals;
  Request& request = message(kSignal);
  request.frame.index = index;
  request.frame.value = value;
  request.frame.tag = info.tag;
  request.frame.epoch = info.epoch;
  request.frame.call = info.call;
  request.frame.count = info.count;
  take_pending(request);
  post(request);
}

void UcxPort::grant(uint64_t position) {
  if (broken_) return;
  Request& request = message(kGrant);
  request.frame.granted = position;
  transmit(request);
}

void UcxPort::leave() {
  if (!broken_) post(message(kLeave));
}

Request& UcxPort::message(uint8_t kind) {
  if (pending_bytes_ != 0 && kind == kLeave) send_pending();
  Request& request = transport_.requests().take(*this, Request::Kind::message);
  request.frame.source = static_cast<uint32_t>(transport_.settings().rank);
  request.frame.key = key_;
  request.frame.kind = kind;
  request.frame.received = told_ = transport_.applied(peer_);
  if (kind != kGrant) request.frame.sequence = sequence_++;
  return request;
}

/// The remembered put goes with this message.
void UcxPort::take_pending(Request& request) {
  if (pending_bytes_ == 0) return;
  request.frame.kind |= kPut;
  request.frame.bytes = static_cast<uint32_t>(pending_bytes_);
  request.frame.offset = pending_offset_;
  request.source = pending_;
  request.bytes = pending_bytes_;
  pending_bytes_ = 0;
}

void UcxPort::send_pending() {
  Request& request = message(0);
  take_pending(request);
  post(request);
}

/// In the order of the frames' numbers, and not before the one-sided puts that a signal follows have arrived.
void UcxPort::post(Request& request) {
  if (unflushed_ && (request.frame.kind & (kSignal | kLeave)) != 0) flush_one_sided();
  if (broken_) {
    drop(request);
    return;
  }
  request.frame.one_sided = std::exchange(one_sided_, 0);
  request.mark = flushes_;
  if (queue_ == nullptr && request.mark <= flushes_done_) {
    transmit(request);
    return;
  }
  request.next = nullptr;
  (queue_ == nullptr ? queue_ : queue_end_->next) = &request;
  queue_end_ = &request;
}

void UcxPort::flush_one_sided() {
  unflushed_ = false;
  Request& request = transport_.requests().take(*this, Request::Kind::flush);
  request.mark = ++flushes_;
  const ucp_request_param_t params = parameters(request);
  note(request, ucp_ep_flush_nbx(endpoint_, &params));
}

void UcxPort::transmit(Request& request) {
  ++posted_;
  ++undone_;
  weight_ += kMessageWeight + request.bytes;
  if (request.frame.kind != kGrant) weights_[request.frame.sequence % kWeights] = weight_;
  ucp_request_param_t params = parameters(request);
  params.op_attr_mask |= UCP_OP_ATTR_FIELD_FLAGS;
  params.flags = UCP_AM_SEND_FLAG_EAGER;
  note(request, ucp_am_send_nbx(endpoint_, kMessageId, &request.frame, sizeof(PortFrame), request.source,
                                request.bytes, &params));
}

void UcxPort::note(Request& request, ucs_status_ptr_t answer) {
  if (answer == nullptr) {
    finish(request, UCS_OK);
  } else if (UCS_PTR_IS_ERR(answer)) {
    finish(request, UCS_PTR_STATUS(answer));
  }
}

void UcxPort::finish(Request& request, ucs_status_t status) {
  switch (request.kind) {
    case Request::Kind::message:
      --undone_;
      end(request.bytes);
      break;
    case Request::Kind::put:
      end(request.bytes);
      break;
    case Request::Kind::flush:
      if (status == UCS_OK) flushes_done_ = std::max(flushes_done_, request.mark);
      if (queue_ != nullptr) transport_.list(*this);
      break;
    case Request::Kind::drain:
      draining_ = false;
      if (status == UCS_OK) drained_ = request.mark;
      break;
  }
  transport_.requests().give(request);
  if (status != UCS_OK) lose(ucs_status_string(status));
}

void UcxPort::lose(const char* why) {
  if (broken_) return;
  if (transport_.has_left(peer_)) {
    break_off();
  } else {
    transport_.fail(peer_, fmt::format("the connection is lost (UCX: {})", why));
  }
}

void UcxPort::break_off() {
  broken_ = true;
  if (pending_bytes_ != 0) end(std::exchange(pending_bytes_, 0));
  while (queue_ != nullptr) drop(*std::exchange(queue_, queue_->next));
}

void UcxPort::drop(Request& request) {
  end(request.bytes);
  transport_.requests().give(request);
}

void UcxPort::push() {
  while (queue_ != nullptr && queue_->mark <= flushes_done_) transmit(*std::exchange(queue_, queue_->next));
  if (pending_bytes_ != 0) send_pending();
  if (owes_word() && !broken_) grant(0);
}

/// A peer that only ever sends would never learn what has come: a grant of nothing tells it.
bool UcxPort::owes_word() const {
  return transport_.applied(peer_) - told_ >= kTellAfter;
}

bool UcxPort::acknowledge(uint64_t frames) {
  if (frames > sequence_) return false;
  if (frames <= got_frames_) return true;
  got_frames_ = frames;
  if (sequence_ - frames < kWeights) got_weight_ = std::max(got_weight_, weights_[(frames - 1) % kWeights]);
  return true;
}

/// True where a socket cannot have refused any of what was sent.
bool UcxPort::fits_socket() const {
  const bool messages_only = is_tcp_ && one_sided_end_ <= drained_;
  return messages_only && undone_ == 0 && weight_ - got_weight_ <= kLeastSocketBuffer;
}

bool UcxPort::drained() {
  if (broken_) return true;
  if (drained_ == posted_ && pending_bytes_ == 0 && queue_ == nullptr) return true;
  push();
  if (broken_) return true;
  if (queue_ == nullptr && fits_socket()) drained_ = posted_;
  if (queue_ == nullptr && drained_ != posted_ && !draining_) start_draining();
  return (drained_ == posted_ && queue_ == nullptr) || broken_;
}

void UcxPort::start_draining() {
  const bool flush = !is_tcp_ || one_sided_end_ > drained_;
  if (!flush && undone_ != 0) return;  // a mark might overtake them
  draining_ = true;
  Request& request = transport_.requests().take(*this, Request::Kind::drain);
  request.mark = posted_;
  const ucp_request_param_t params = parameters(request);
  note(request, flush ? ucp_ep_flush_nbx(endpoint_, &params)
                      : ucp_am_send_nbx(endpoint_, kMarkId, nullptr, 0, nullptr, 0, &params));
}

bool UcxPort::close() {
  if (endpoint_ != nullptr) {
    broken_ = true;
    ucp_request_param_t params = {};
    params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    params.flags = UCP_EP_CLOSE_FLAG_FORCE;
    closing_ = ucp_ep_close_nbx(endpoint_, &params);
    endpoint_ = nullptr;
  }
  if (closing_ == nullptr || UCS_PTR_IS_ERR(closing_)) return true;
  if (ucp_request_check_status(closing_) == UCS_INPROGRESS) return false;
  ucp_request_free(closing_);
  closing_ = nullptr;
  return true;
}

void UcxPort::begin(size_t bytes) {
  in_flight_ += bytes;
  statistics_.in_flight_most = std::max(statistics_.in_flight_most, in_flight_);
}

void UcxPort::end(size_t bytes) {
  in_flight_ -= bytes;
}

PortStatistics UcxPort::statistics() const {
  PortStatistics all = statistics_;
  all.bytes_received = transport_.bytes_received(peer_);
  return all;
}

std::string UcxPort::route() const {
  return endpoint_ == nullptr ? std::string() : route_in(describe(endpoint_));
}

}  // namespace tutti::ucx
