#include "transports/verbs/greeter.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace tutti::verbs {

ibv_ah_attr path_to(const RailInfo& own, const RailAddress& peer, int traffic_class) {
  ibv_ah_attr path = {};
  path.port_num = static_cast<uint8_t>(own.port);
  path.dlid = peer.lid;
  if (own.sort == RailSort::infiniband) return path;
  constexpr uint8_t kHops = 64;
  path.is_global = 1;
  std::copy(peer.gid.begin(), peer.gid.end(), path.grh.dgid.raw);
  path.grh.sgid_index = static_cast<uint8_t>(own.gid_index);
  path.grh.hop_limit = kHops;
  path.grh.traffic_class = static_cast<uint8_t>(traffic_class);
  return path;
}

PathHandle make_path(ibv_pd* domain, const RailInfo& own, const RailAddress& peer, int traffic_class) {
  ibv_ah_attr attributes = path_to(own, peer, traffic_class);
  PathHandle path(ibv_create_ah(domain, &attributes));
  if (!path) raise_errno(errno, "a path from the RDMA device {} to {}", own.name, gid_text(peer.gid));
  return path;
}

Greeter::Greeter(ibv_context* context, ibv_pd* domain, ibv_comp_channel* channel, const RailInfo& info)
    : memory_((kReceives + kSends) * kPlaceBytes) {
  constexpr int kAccess = IBV_ACCESS_LOCAL_WRITE;
  region_.reset(ibv_reg_mr(domain, memory_.data(), memory_.size(), kAccess));
  if (!region_) raise_errno(errno, "registering {} bytes with the RDMA device {}", memory_.size(), info.name);
  completions_.reset(ibv_create_cq(context, static_cast<int>(kReceives + kSends), nullptr, channel, 0));
  if (!completions_) raise_errno(errno, "a completion queue on the RDMA device {}", info.name);
  ibv_qp_init_attr attributes = {};
  attributes.send_cq = attributes.recv_cq = completions_.get();
  attributes.cap = {.max_send_wr = kSends,
                    .max_recv_wr = kReceives,
                    .max_send_sge = 1,
                    .max_recv_sge = 1,
                    .max_inline_data = 0};
  attributes.qp_type = IBV_QPT_UD;
  attributes.sq_sig_all = 1;
  queue_pair_.reset(ibv_create_qp(domain, &attributes));
  if (!queue_pair_) raise_errno(errno, "a datagram queue pair on the RDMA device {}", info.name);
  make_ready(info);
}

void Greeter::make_ready(const RailInfo& info) {
  const auto change = [&](ibv_qp_attr attributes, int mask, const char* to) {
    if (const int error = ibv_modify_qp(queue_pair_.get(), &attributes, mask); error != 0)
      raise_errno(error, "a datagram queue pair of the RDMA device {} into the state {}", info.name, to);
  };
  ibv_qp_attr attributes = {};
  attributes.qp_state = IBV_QPS_INIT;
  attributes.port_num = static_cast<uint8_t>(info.port);
  attributes.qkey = kKey;
  change(attributes, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY, "INIT");
  for (size_t i = 0; i < kReceives; ++i) {
    if (const int error = receive_into(i); error != 0)
      raise_errno(error, "posting a receive for datagrams on the RDMA device {}", info.name);
  }
  for (size_t i = 0; i < kSends; ++i) free_sends_.push_back(kReceives + i);
  attributes.qp_state = IBV_QPS_RTR;
  change(attributes, IBV_QP_STATE, "RTR");
  attributes.qp_state = IBV_QPS_RTS;
  change(attributes, IBV_QP_STATE | IBV_QP_SQ_PSN, "RTS");
}

int Greeter::receive_into(size_t index) {
  ibv_sge part = {
      .addr = reinterpret_cast<uintptr_t>(place(index)), .length = kPlaceBytes, .lkey = region_->lkey};
  ibv_recv_wr request = {};
  request.wr_id = index;
  request.sg_list = &part;
  request.num_sge = 1;
  ibv_recv_wr* bad = nullptr;
  return ibv_post_recv(queue_pair_.get(), &request, &bad);
}

bool Greeter::send(ibv_ah* path, uint32_t greeter, const Greeting& greeting) {
  if (free_sends_.empty()) return false;
  const size_t index = free_sends_.back();
  std::memcpy(place(index), &greeting, sizeof(Greeting));
  ibv_sge part = {
      .addr = reinterpret_cast<uintptr_t>(place(index)), .length = sizeof(Greeting), .lkey = region_->lkey};
  ibv_send_wr request = {};
  request.wr_id = index;
  request.sg_list = &part;
  request.num_sge = 1;
  request.opcode = IBV_WR_SEND;
  request.wr.ud.ah = path;
  request.wr.ud.remote_qpn = greeter;
  request.wr.ud.remote_qkey = kKey;
  ibv_send_wr* bad = nullptr;
  if (ibv_post_send(queue_pair_.get(), &request, &bad) != 0) return false;
  free_sends_.pop_back();
  return true;
}

/// A receive that cannot be posted again is lost; with none left, greetings go unanswered, and whoever greets finds that out.
std::span<const std::byte> Greeter::next() {
  if (lent_ != SIZE_MAX) static_cast<void>(receive_into(std::exchange(lent_, SIZE_MAX)));
  for (ibv_wc completion; ibv_poll_cq(completions_.get(), 1, &completion) == 1;) {
    const size_t index = completion.wr_id;
    if (index >= kReceives) {
      free_sends_.push_back(index);
    } else if (completion.status == IBV_WC_SUCCESS && completion.byte_len > kHeader) {
      lent_ = index;
      return {place(index) + kHeader, completion.byte_len - kHeader};
    } else if (completion.status != IBV_WC_WR_FLUSH_ERR) {
      static_cast<void>(receive_into(index));
    }
  }
  return {};
}

}  // namespace tutti::verbs
