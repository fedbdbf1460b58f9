// Frames and what a receiver makes of them; addresses; what UCX says about routes.
#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <random>

#include "core/error.h"
#include "tests/catch.h"
#include "transports/port_frame.h"
#include "transports/port_receiver.h"
#include "transports/ucx/address.h"
#include "transports/ucx/library.h"

using namespace tutti;
using namespace tutti::ucx;
using Verdict = PortFrameCheck::Verdict;

namespace {

constexpr PortFrameLimits kLimits = {.rank = 1, .ranks = 4, .key = 77, .slots_bytes = 1000};

PortFrameCheck parse(const PortFrame& frame, size_t data_bytes) {
  return parse_port_frame(&frame, sizeof(frame), data_bytes, kLimits);
}

PortFrame good() {
  return {.source = 2, .key = 77, .kind = kPut | kSignal, .index = 1, .bytes = 10, .offset = 990, .value = 5};
}

/// The good frame with one field changed.
template <typename Change>
PortFrameCheck changed(Change change, size_t data_bytes = 10) {
  PortFrame frame = good();
  change(frame);
  return parse(frame, data_bytes);
}

PortFrame signal(uint64_t sequence, uint8_t index, uint64_t value) {
  return {.source = 2,
          .sequence = sequence,
          .kind = kSignal,
          .index = index,
          .value = value,
          .tag = value << 32 | 3};
}

std::string refusal(const std::string& text) {
  try {
    unpack(text);
  } catch (const Error& error) {
    CHECK(error.code() == Result::invalid_argument);
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("a frame is good, a stranger's or broken") {
  CHECK(parse(good(), 10).verdict == Verdict::good);
  CHECK(parse(good(), 10).frame.offset == 990);
  const PortFrame frame = good();
  CHECK(parse_port_frame(&frame, sizeof(frame) - 1, 10, kLimits).reason ==
        "a header of 103 bytes; expected 104");
  CHECK(parse_port_frame(nullptr, 0, 10, kLimits).verdict == Verdict::stranger);
  CHECK(changed([](PortFrame& f) { f.magic = 1; }).verdict == Verdict::stranger);
  CHECK(changed([](PortFrame& f) { f.key = 78; }).verdict == Verdict::stranger);
  CHECK(changed([](PortFrame& f) { f.source = 4; }).verdict == Verdict::stranger);
  CHECK(changed([](PortFrame& f) { f.source = 1; }).reason == "source rank 1; this is rank 1 of 4");

  for (const int kind : {0, 5, 6, 7, 9, 12, 16, 255}) {
    INFO("kind " << kind);
    CHECK(changed([&](PortFrame& f) { f.kind = static_cast<uint8_t>(kind); }).verdict == Verdict::broken);
  }
  CHECK(changed([](PortFrame& f) { f.kind = kSignal; }).reason == "10 bytes of data without a put");
  CHECK(changed([](PortFrame&) {}, 9).reason == "9 bytes of data came; 10 were said");
  CHECK(changed([](PortFrame& f) { f.offset = 991; }).reason ==
        "a put of 10 bytes to offset 991; there are 1000 bytes of slots");
  CHECK(changed([](PortFrame& f) { f.offset = UINT64_MAX - 5; }).verdict == Verdict::broken);
  CHECK(changed([](PortFrame& f) { f.index = 2; }).reason == "a signal on counter 2; there are 2");
  CHECK(changed([](PortFrame& f) { f.index = 2; }).frame.source == 2);
}

TEST_CASE("frames that overtake each other raise counters in order") {
  constexpr size_t kFrames = 200;
  for (uint32_t seed = 0; seed < 50; ++seed) {
    std::vector<PortFrame> frames;
    for (uint64_t i = 0; i < kFrames; ++i) {
      PortFrame frame = signal(i, static_cast<uint8_t>(i % 2), i + 1);
      frame.kind |= kPut;
      frame.bytes = 4;
      frame.offset = i * 4;
      frames.push_back(frame);
    }
    std::mt19937 random(seed);
    std::shuffle(frames.begin(), frames.end(), random);
    std::vector<std::byte> slots(kFrames * 4);
    PortReceiver receiver(slots);
    Inbox inbox = {};
    receiver.attach(inbox);
    std::vector<bool> come(kFrames);
    for (const PortFrame& frame : frames) {
      const auto number = static_cast<uint32_t>(frame.sequence) + 1;
      REQUIRE(receiver.take(frame, &number).empty());
      come[frame.sequence] = true;
      // All frames before the first that is missing have been applied, and no other.
      const auto missing = static_cast<uint64_t>(std::find(come.begin(), come.end(), false) - come.begin());
      REQUIRE(inbox.line.counters[0] == (missing == 0 ? 0 : missing - (missing + 1) % 2));
      REQUIRE(inbox.line.counters[1] == missing - missing % 2);
      for (uint64_t i = 0; i < missing; ++i) {
        uint32_t stored = 0;
        std::memcpy(&stored, &slots[i * 4], 4);
        REQUIRE(stored == i + 1);
      }
    }
    CHECK(receiver.bytes() == kFrames * 4);
    CHECK(inbox.line.tag == (uint64_t{kFrames} << 32 | 3));
    CHECK(inbox.latest.signature == 3);
  }
}

TEST_CASE("a receiver refuses what a peer in its right mind does not send") {
  std::vector<std::byte> slots(16, std::byte{1});
  PortReceiver receiver(slots);
  Inbox inbox = {};
  receiver.attach(inbox);
  REQUIRE(receiver.take(signal(0, 0, 5), nullptr).empty());

  SECTION("the same frame twice does not even write") {
    PortFrame frame = signal(0, 0, 6);
    frame.kind = kPut;
    frame.bytes = 4;
    CHECK(receiver.take(frame, "abcd") ==
          "frame 0 came where frame 1 was next (at most 1024 frames are kept)");
    CHECK(slots[0] == std::byte{1});
  }
  SECTION("the same early frame twice") {
    CHECK(receiver.take(signal(3, 0, 6), nullptr).empty());
    CHECK(receiver.take(signal(3, 0, 6), nullptr) == "frame 3 came twice");
  }
  SECTION("a frame that is too early") {
    CHECK(receiver.take(signal(PortReceiver::kMostEarly, 0, 6), nullptr).empty());
    CHECK_FALSE(receiver.take(signal(PortReceiver::kMostEarly + 1, 0, 6), nullptr).empty());
  }
  SECTION("a counter that falls") {
    CHECK(receiver.take(signal(1, 0, 4), nullptr) == "counter 0 would fall from 5 to 4");
    CHECK(inbox.line.counters[0] == 5);
  }
  SECTION("a frame after the last, also one that waited") {
    CHECK(receiver.take(signal(2, 1, 9), nullptr).empty());
    CHECK_FALSE(receiver.has_left());
    PortFrame last = signal(1, 0, 0);
    last.kind = kLeave;
    CHECK(receiver.take(last, nullptr) == "frame 2 came after the last one");
    CHECK(receiver.has_left());
    CHECK(inbox.line.counters[1] == 0);
  }
}

TEST_CASE("grants are not numbered: the largest counts") {
  std::vector<std::byte> slots(16);
  PortReceiver receiver(slots);
  const auto grant = [&](uint64_t position) {
    const PortFrame frame = {.source = 2, .kind = kGrant, .granted = position};
    return receiver.take(frame, nullptr);
  };
  CHECK(grant(10).empty());
  Inbox inbox = {};
  receiver.attach(inbox);
  CHECK(inbox.granted == 10);
  CHECK(grant(30).empty());
  CHECK(grant(20).empty());
  CHECK(inbox.granted == 30);
  CHECK(receiver.take(signal(0, 0, 1), nullptr).empty());
}

TEST_CASE("an address is taken apart as it was put together") {
  const Address address = {
      .rank = 3, .key = 4, .slots = 5, .slots_bytes = 6, .worker = "work", .rkey = "key"};
  const std::string text = pack(address);
  const Address same = unpack(text);
  CHECK(same.rank == 3);
  CHECK(same.key == 4);
  CHECK(same.slots == 5);
  CHECK(same.slots_bytes == 6);
  CHECK(same.worker == "work");
  CHECK(same.rkey == "key");
  for (size_t bytes = 0; bytes < text.size(); ++bytes) CHECK(refusal(text.substr(0, bytes)) != "accepted");
  for (size_t i = 0; i < text.size(); ++i) {
    std::string wrong = text;
    wrong[i] = static_cast<char>(wrong[i] ^ 0x10);
    CHECK(refusal(wrong) != "accepted");
  }
}

TEST_CASE("the route is the network of the lane that carries messages") {
  CHECK(route_in("").empty());
  CHECK(route_in("#\n# UCP endpoint\n#\n").empty());
  CHECK(route_in("#  lane[0]:  1:tcp/eth0.0 md[1]      -> md[1]/tcp/sysdev[255] am am_bw#0\n") == "tcp/eth0");
  CHECK(route_in("#  lane[0]:  5:rc_mlx5/mlx5_0:1.0 md[4]  -> md[4]/ib/sysdev[0] rma_bw#0 wireup\n"
                 "#  lane[1]: 12:dc_mlx5/mlx5_1:1.3 md[4]  -> md[4]/ib/sysdev[0] am am_bw#0\n") ==
        "dc_mlx5/mlx5_1:1");
  CHECK(route_in("#  lane[0]:  5:tcp/eth0.100.0 md[4]  -> md[4]/tcp/sysdev[0] rma_bw#0\n") == "tcp/eth0.100");
  CHECK(is_one_sided("rc_mlx5/mlx5_0:1"));
  CHECK(is_one_sided("dc_mlx5/mlx5_0:1"));
  CHECK_FALSE(is_one_sided("tcp/eth0"));
  CHECK_FALSE(is_one_sided("ud_mlx5/mlx5_0:1"));
  CHECK_FALSE(is_one_sided(""));
}
