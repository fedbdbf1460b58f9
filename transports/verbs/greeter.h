// Datagrams by which two ranks introduce their queue pairs to each other: unreliable, small, and from anybody who can reach the card.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "transports/verbs/address.h"
#include "transports/verbs/handles.h"

namespace tutti::verbs {

/// The way to a peer's port. Throws Error.
PathHandle make_path(ibv_pd* domain, const RailInfo& own, const RailAddress& peer, int traffic_class);
/// The same as queue pairs want it.
ibv_ah_attr path_to(const RailInfo& own, const RailAddress& peer, int traffic_class);

class Greeter {
 public:
  Greeter(ibv_context* context, ibv_pd* domain, ibv_comp_channel* channel, const RailInfo& info);

  uint32_t number() const { return queue_pair_->qp_num; }

  /// False where it cannot be sent now.
  bool send(ibv_ah* path, uint32_t greeter, const Greeting& greeting);

  /// The bytes of the next datagram that has come, valid until the next call; empty: none.
  std::span<const std::byte> next();

  bool arm() { return ibv_req_notify_cq(completions_.get(), 0) == 0; }

 private:
  static constexpr size_t kHeader = 40;  // what a card puts before a datagram
  static constexpr size_t kPlaceBytes = 256;
  static constexpr size_t kReceives = 64;
  static constexpr size_t kSends = 16;
  static constexpr uint32_t kKey = 0x54757474;

  std::byte* place(size_t index) { return memory_.data() + index * kPlaceBytes; }
  /// 0, or why the card does not take it.
  int receive_into(size_t index);
  void make_ready(const RailInfo& info);

  std::vector<std::byte> memory_;  // of the receives, then of the sends
  Region region_;
  CompletionQueue completions_;
  QueuePair queue_pair_;
  std::vector<size_t> free_sends_;
  size_t lent_ = SIZE_MAX;  // the place whose bytes the caller looks at
};

}  // namespace tutti::verbs
