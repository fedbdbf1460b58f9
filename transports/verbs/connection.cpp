#include "transports/verbs/connection.h"

#include <arpa/inet.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/clock.h"
#include "core/error.h"

namespace tutti::verbs {

namespace {

constexpr uint32_t kWantedInline = 256;
/// Signalled at least so often.
constexpr uint32_t kMostUnsignalled = Connection::kDepth / 4;

uint32_t random_packet_number() {
  uint32_t number = 0;
  if (getrandom(&number, sizeof(number), 0) != sizeof(number)) raise_errno(errno, "getrandom");
  return number & 0xffffff;
}

ibv_mtu mtu_of(uint32_t bytes) {
  switch (bytes) {
    case 256:
      return IBV_MTU_256;
    case 512:
      return IBV_MTU_512;
    case 1024:
      return IBV_MTU_1024;
    case 2048:
      return IBV_MTU_2048;
    default:
      return IBV_MTU_4096;
  }
}

/// With as much inline data as the card takes, up to what is of use.
QueuePair create(Rail& rail, uint32_t& inline_bytes) {
  for (inline_bytes = kWantedInline;; inline_bytes /= 2) {
    ibv_qp_init_attr attributes = {};
    attributes.send_cq = attributes.recv_cq = rail.completions();
    attributes.cap = {.max_send_wr = Connection::kDepth,
                      .max_recv_wr = static_cast<uint32_t>(Connection::kReceives + Connection::kBatch),
                      .max_send_sge = 1,
                      .max_recv_sge = 1,
                      .max_inline_data = inline_bytes};
    attributes.qp_type = IBV_QPT_RC;
    QueuePair made(ibv_create_qp(rail.domain(), &attributes));
    if (made) return made;
    if (inline_bytes == 0) raise_errno(errno, "a queue pair on the RDMA device {}", rail.info().name);
  }
}

}  // namespace

Connection::Connection(Rail& rail, int peer)
    : rail_(&rail),
      id_(static_cast<uint64_t>(peer)),
      first_(random_packet_number()),
      writes_(kDepth),
      marks_(kDepth + 1) {
  rail.reserve_completions(kCompletions);
  queue_pair_ = create(rail, inline_bytes_);
  ibv_qp_attr attributes = {};
  attributes.qp_state = IBV_QPS_INIT;
  attributes.port_num = static_cast<uint8_t>(rail.info().port);
  attributes.qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
  change(attributes, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS, "INIT");
  if (const int error = post_receives(kReceives + kBatch); error != 0)
    raise_errno(error, "posting receives on the RDMA device {}", rail.info().name);
}

void Connection::change(ibv_qp_attr& attributes, int mask, const char* to) {
  if (const int error = ibv_modify_qp(queue_pair_.get(), &attributes, mask); error != 0)
    raise_errno(error, "a queue pair of the RDMA device {} into the state {}", rail_->info().name, to);
}

void Connection::connect(const RailAddress& peer, uint32_t number, uint32_t first,
                         const VerbsTuning& tuning) {
  slots_rkey_ = peer.slots_rkey;
  mail_rkey_ = peer.mail_rkey;
  constexpr uint8_t kNotReadyTimer =
      12;  // 0.64 ms; never used: there are receives for everything that may come
  ibv_qp_attr attributes = {};
  attributes.qp_state = IBV_QPS_RTR;
  attributes.path_mtu = mtu_of(std::min(peer.mtu, rail_->info().mtu));
  attributes.dest_qp_num = number;
  attributes.rq_psn = first & 0xffffff;
  attributes.max_dest_rd_atomic = 1;
  attributes.min_rnr_timer = kNotReadyTimer;
  attributes.ah_attr = path_to(rail_->info(), peer, tuning.traffic_class);
  change(attributes,
         IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
             IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER,
         "RTR");
  attributes = {};
  attributes.qp_state = IBV_QPS_RTS;
  attributes.timeout = static_cast<uint8_t>(tuning.timeout);
  attributes.retry_cnt = static_cast<uint8_t>(tuning.retries);
  attributes.rnr_retry = 0;
  attributes.sq_psn = first_;
  attributes.max_rd_atomic = 1;
  change(attributes,
         IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
             IBV_QP_MAX_QP_RD_ATOMIC,
         "RTS");
}

uint32_t Connection::own_key(const Write& write) const {
  if (write.source != nullptr) return write.source->key(*rail_);
  return write.own == Write::Memory::slots ? rail_->slots_key() : rail_->outgoing_key();
}

uint32_t Connection::peers_key(Write::Memory memory) const {
  return memory == Write::Memory::slots ? slots_rkey_ : mail_rkey_;
}

void Connection::stage(const Write& write) {
  ibv_sge& part = parts_[staged_];
  part = {.addr = reinterpret_cast<uintptr_t>(write.from), .length = write.bytes, .lkey = own_key(write)};
  ibv_send_wr& request = requests_[staged_];
  request = {};
  request.wr_id = id_;
  request.sg_list = &part;
  request.num_sge = write.bytes == 0 ? 0 : 1;
  request.opcode = write.immediate ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_RDMA_WRITE;
  request.imm_data = htonl(write.immediate.value_or(0));
  request.send_flags = write.bytes != 0 && write.bytes <= inline_bytes_ ? unsigned{IBV_SEND_INLINE} : 0;
  request.wr.rdma = {.remote_addr = write.to, .rkey = peers_key(write.peers)};
  if (staged_ != 0) requests_[staged_ - 1].next = &request;
  writes_[(first_write_ + kDepth - room_) % kDepth] = write;
  ++staged_;
  --room_;
  report_ = report_ || write.reads_source || write.bounce != MailMemory::kNoBounce || write.is_goodbye;
  mark_.bytes += write.bytes;
  rail_->count_write(write.bytes);
}

int Connection::post() {
  if (staged_ == 0) return 0;
  posted_since_mark_ += staged_;
  if (report_ || posted_since_mark_ >= kMostUnsignalled) {
    requests_[staged_ - 1].send_flags |= IBV_SEND_SIGNALED;
    mark_.writes = std::exchange(posted_since_mark_, 0);
    mark_.posted_ns = now_ns();
    marks_[end_mark_] = std::exchange(mark_, {});
    end_mark_ = (end_mark_ + 1) % marks_.size();
    report_ = false;
  }
  staged_ = 0;
  ibv_send_wr* bad = nullptr;
  return ibv_post_send(queue_pair_.get(), requests_.data(), &bad);
}

bool Connection::stage_probe() {
  if (has_marks() || room() == 0) return false;
  report_ = true;
  stage({});
  return true;
}

const Write& Connection::next_over() {
  const Write& over = writes_[first_write_];
  first_write_ = (first_write_ + 1) % kDepth;
  ++room_;
  return over;
}

int Connection::receive() {
  return ++used_receives_ < kBatch ? 0 : post_receives(std::exchange(used_receives_, 0));
}

int Connection::post_receives(int count) {
  std::array<ibv_recv_wr, kChain> requests{};
  while (count > 0) {
    const int now = std::min(count, static_cast<int>(kChain));
    for (int i = 0; i < now; ++i) {
      ibv_recv_wr& request = requests[static_cast<size_t>(i)];
      request = {};
      request.wr_id = id_ | kReceived;
      request.next = i + 1 < now ? &requests[static_cast<size_t>(i) + 1] : nullptr;
    }
    ibv_recv_wr* bad = nullptr;
    if (const int error = ibv_post_recv(queue_pair_.get(), requests.data(), &bad); error != 0) return error;
    count -= now;
  }
  return 0;
}

void Connection::give_up() {
  given_up_ = true;
  ibv_qp_attr attributes = {};
  attributes.qp_state = IBV_QPS_ERR;
  static_cast<void>(ibv_modify_qp(queue_pair_.get(), &attributes, IBV_QP_STATE));
}

}  // namespace tutti::verbs
