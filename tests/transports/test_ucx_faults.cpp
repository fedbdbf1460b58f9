// The UCX transport when peers die, leave or send what makes no sense.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <vector>

#include "tests/catch.h"
#include "tests/transports/ranks.h"
#include "tests/transports/ucx_ranks.h"
#include "transports/port_frame.h"
#include "transports/ucx/address.h"
#include "transports/ucx/library.h"

using namespace tutti;
using namespace port_test;

namespace {

void greet(Rank& me) {
  for (int peer = 0; peer < me.ranks(); ++peer) {
    if (peer == me.rank()) continue;
    me.port(peer).signal(1, 1, {});
    me.until([&] { return reached(me.inbox(peer).line.counters[1], 1); }, "the first signal");
  }
}

/// Advances until the transport knows of a failure; returns how long that took.
uint64_t until_failure(PortTransport& transport, uint64_t limit_ns) {
  const uint64_t begin = now_ns();
  while (transport.failure().rank < 0 && now_ns() - begin < limit_ns) transport.advance();
  return now_ns() - begin;
}

/// One that has a rank's address, and UCX, and no manners.
class Stranger {
 public:
  explicit Stranger(const ucx::Address& to) : worker_(1, false) {
    ucp_ep_params_t params = {};
    params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS;
    params.address = reinterpret_cast<const ucp_address_t*>(to.worker.data());
    ucx::require(ucp_ep_create(worker_.get(), &params, &endpoint_), "a stranger's connection");
  }
  ~Stranger() {
    ucp_request_param_t params = {};
    params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    params.flags = UCP_EP_CLOSE_FLAG_FORCE;
    const ucs_status_ptr_t closing = ucp_ep_close_nbx(endpoint_, &params);
    if (closing != nullptr && !UCS_PTR_IS_ERR(closing)) wait(closing);
    for (const ucs_status_ptr_t sent : requests_) {
      if (sent != nullptr && !UCS_PTR_IS_ERR(sent)) ucp_request_free(sent);
    }
  }
  Stranger(const Stranger&) = delete;
  Stranger& operator=(const Stranger&) = delete;

  /// Sends, and advances both until the message is out, or would be were it not to be fetched.
  void send(const void* header, size_t header_bytes, const void* data, size_t data_bytes, PortTransport& to,
            bool eager = true) {
    const auto copy = [](const void* from, size_t bytes) {
      std::vector<std::byte> all(bytes);
      if (bytes != 0) std::memcpy(all.data(), from, bytes);
      return all;
    };
    // UCX reads both until the request has ended.
    const auto& kept_header = kept_.emplace_back(copy(header, header_bytes));
    const auto& kept_data = kept_.emplace_back(copy(data, data_bytes));
    ucp_request_param_t params = {};
    params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    params.flags = eager ? UCP_AM_SEND_FLAG_EAGER : UCP_AM_SEND_FLAG_RNDV;
    const ucs_status_ptr_t request = ucp_am_send_nbx(endpoint_, 1, kept_header.data(), header_bytes,
                                                     kept_data.data(), data_bytes, &params);
    REQUIRE_FALSE(UCS_PTR_IS_ERR(request));
    requests_.push_back(request);
    const uint64_t end = now_ns() + 20 * kSecond;
    while (eager && request != nullptr && ucp_request_check_status(request) == UCS_INPROGRESS &&
           now_ns() < end)
      progress(to);
  }
  void progress(PortTransport& to) {
    ucp_worker_progress(worker_.get());
    to.advance();
  }
  /// Advances both until the transport knows of a failure.
  void until_failure(PortTransport& to) {
    const uint64_t end = now_ns() + 20 * kSecond;
    while (to.failure().rank < 0 && now_ns() < end) progress(to);
  }

 private:
  void wait(ucs_status_ptr_t request) {
    const uint64_t end = now_ns() + kSecond;
    while (ucp_request_check_status(request) == UCS_INPROGRESS && now_ns() < end)
      ucp_worker_progress(worker_.get());
    ucp_request_free(request);
  }

  ucx::Worker worker_;
  ucp_ep_h endpoint_ = nullptr;
  std::vector<ucs_status_ptr_t> requests_;
  std::deque<std::vector<std::byte>> kept_;
};

}  // namespace

TEST_CASE("a killed peer is named within two seconds", "[ucx][faults]") {
  const bool busy = GENERATE(false, true);
  const UcxPut way = GENERATE(UcxPut::message, UcxPut::rma);
  INFO((busy ? "while it is sent to" : "while nothing moves")
       << (way == UcxPut::rma ? ", rma" : ", message"));
  constexpr size_t kBytes = 4 << 20;
  CHECK(run(
            Mode::processes, 3,
            [&](Shared& shared, int rank) {
              UcxRank me(shared, rank, 3, way, kBytes);
              greet(me);
              me.meet();
              if (rank == 2) {
                shared.flags[0] = 1;
                kill(getpid(), SIGKILL);
              }
              std::vector<std::byte> source(kBytes);
              if (busy) {
                for (uint64_t i = 1; i <= 4; ++i) {
                  me.port(2).put(source.data(), kBytes, 0);
                  me.port(2).signal(0, i, {});
                }
              }
              const uint64_t took = until_failure(me.transport(), 10 * kSecond);
              const PortTransport::Failure& failure = me.transport().failure();
              expect(failure.rank == 2, "rank 2 was killed; failed: {} ({})", failure.rank, failure.text);
              expect(took < 2 * kSecond, "it took {} ms to see it", took / 1'000'000);
              expect(failure.text.starts_with("rank 2: "), "text: {}", failure.text);
              // Nobody waits for the dead: its port lets go of all sources and takes no more.
              const uint64_t end = now_ns() + kSecond;
              while (!(me.port(2).flushed() && me.port(2).drained()) && now_ns() < end)
                me.transport().advance();
              expect(me.port(2).flushed() && me.port(2).drained(), "the port of a dead peer lets go");
              me.port(2).put(source.data(), 100, 0);
              me.port(2).signal(0, 9, {});
              me.port(2).grant(9);
              expect(me.port(2).flushed() && me.port(2).drained(), "the port of a dead peer takes nothing");
              // The living still reach each other.
              const int other = 1 - rank;
              me.port(other).signal(0, 5, {});
              const uint64_t limit = now_ns() + 10 * kSecond;
              while (!reached(me.inbox(other).line.counters[0], 5) && now_ns() < limit)
                me.transport().advance();
              expect(reached(me.inbox(other).line.counters[0], 5), "rank {} is not reached any more", other);
            },
            2) == "");
}

TEST_CASE("a peer that leaves in good order is no failure, and all it sent arrives", "[ucx][faults]") {
  const Mode mode = GENERATE(Mode::threads, Mode::processes);
  constexpr size_t kBytes = 1 << 20;
  CHECK(run(mode, 2, [&](Shared& shared, int rank) {
          UcxRank me(shared, rank, 2, UcxPut::message, kBytes);
          greet(me);
          me.meet();
          if (rank == 0) {
            std::vector<std::byte> source(kBytes);
            fill(source.data(), kBytes, 6);
            me.port(1).put(source.data(), kBytes, 0);
            me.port(1).signal(0, 1, {});
            me.until([&] { return me.port(1).drained(); }, "draining");
            const uint64_t begin = now_ns();
            me.leave();
            expect(now_ns() - begin < kSecond, "leaving took {} ms", (now_ns() - begin) / 1'000'000);
            shared.flags[0] = 1;
          } else {
            me.until([&] { return me.transport().has_left(0); }, "the end");
            expect(reached(me.inbox(0).line.counters[0], 1) &&
                       first_wrong(me.slots().data(), kBytes, 6) == kBytes,
                   "what was sent before the end is here when the end is");
            me.until([&] { return shared.flags[0] != 0; }, "the other's end");
            for (int turn = 0; turn < 10'000; ++turn) me.transport().advance();
            me.port(0).signal(0, 3, {});
            for (int turn = 0; turn < 10'000; ++turn) me.transport().advance();
            expect(me.transport().failure().rank < 0, "{}", me.transport().failure().text);
          }
        }) == "");
}

TEST_CASE("the end of a transport is bounded when nobody answers", "[ucx][faults]") {
  CHECK(run(Mode::processes, 2, [&](Shared& shared, int rank) {
          UcxRank me(shared, rank, 2, UcxPut::automatic, 64);
          if (rank == 1) {
            // Never advanced again after the addresses are exchanged: it does not even connect.
            const uint64_t end = now_ns() + 20 * kSecond;
            while (shared.flags[0] == 0 && now_ns() < end) cpu_relax();
            return;
          }
          me.port(1).signal(0, 1, {});
          const uint64_t begin = now_ns();
          me.leave();
          const uint64_t took = now_ns() - begin;
          shared.flags[0] = 1;
          expect(took < kSecond, "leaving took {} ms", took / 1'000'000);
        }) == "");
}

TEST_CASE("strangers are ignored; a broken peer is named", "[ucx][faults]") {
  std::vector<std::byte> slots(4096);
  std::vector<Inbox> inboxes(3);
  const auto transport =
      make_ucx_transport({.rank = 0, .ranks = 3, .slots = slots.data(), .slots_bytes = slots.size()});
  const ucx::Address address = ucx::unpack(transport->address());
  Stranger stranger(address);
  PortFrame frame = {.source = 1, .key = address.key + 1, .kind = kPut, .bytes = 512, .offset = 1};
  std::array<std::byte, 512> ones;
  ones.fill(std::byte{1});
  stranger.send(&frame, sizeof(frame), ones.data(), 512, *transport);
  stranger.send(ones.data(), 3, nullptr, 0, *transport);
  stranger.send(ones.data(), ones.size(), ones.data(), 100, *transport);
  frame.key = address.key;
  frame.source = 3;
  stranger.send(&frame, sizeof(frame), ones.data(), 512, *transport);
  // They arrive in this order, so what fails first below shows that these did nothing.

  SECTION("a put beyond the slots") {
    frame.source = 2;
    frame.offset = 4096 - 511;
    stranger.send(&frame, sizeof(frame), ones.data(), 512, *transport);
    stranger.until_failure(*transport);
    CHECK(transport->failure().rank == 2);
    CHECK(
        transport->failure().text ==
        "rank 2: a message that cannot be: a put of 512 bytes to offset 3585; there are 4096 bytes of slots");
  }
  SECTION("a frame that comes twice") {
    frame.source = 1;
    frame.offset = 0;
    frame.bytes = 0;
    frame.kind = kSignal;
    frame.value = 1;
    stranger.send(&frame, sizeof(frame), nullptr, 0, *transport);
    stranger.send(&frame, sizeof(frame), nullptr, 0, *transport);
    stranger.until_failure(*transport);
    CHECK(transport->failure().rank == 1);
    CHECK(transport->failure().text ==
          "rank 1: a message that cannot be: frame 0 came where frame 1 was next (at most 1024 frames are "
          "kept)");
  }
  SECTION("bytes that would have to be fetched") {
    frame.source = 1;
    frame.offset = 0;
    stranger.send(&frame, sizeof(frame), ones.data(), 512, *transport, false);
    stranger.until_failure(*transport);
    CHECK(transport->failure().rank == 1);
    CHECK(transport->failure().text.ends_with("its bytes are to be fetched; expected them with the message"));
  }
  CHECK(std::ranges::all_of(slots, [](std::byte b) { return b == std::byte{}; }));
}
