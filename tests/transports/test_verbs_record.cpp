// Records and immediates of the verbs transport, and what a receiver makes of them; needs no device.
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/catch.h"
#include "transports/verbs/immediate.h"
#include "transports/verbs/mail.h"
#include "transports/verbs/record.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

using namespace tutti;
using namespace tutti::verbs;

namespace {

constexpr size_t kMostData = 168;  // as in the fuzz target

struct Message {
  uint32_t immediate = 0;
  std::string record;
};

class Generator {
 public:
  explicit Generator(uint64_t number) : random_(number) {}

  Message message() {
    uint64_t number = number_++;
    if (below(10) == 0) number += below(3);
    const auto index = static_cast<uint8_t>(below(2));
    if (below(3) == 0) return {pack(Immediate::Kind::bare_signal, number, index), ""};
    PortFrame frame = {.kind = kSignal, .index = index, .value = value_[index] += below(2)};
    if (below(2) == 0) {
      frame.kind |= kPut;
      frame.bytes = below(100);
      frame.offset = below(412);
    }
    frame.tag = random_() >> below(64);
    frame.received = below(100);
    std::byte header[kMostHeader];
    const size_t bytes = pack_record(frame, header);
    std::string record(reinterpret_cast<const char*>(header), bytes);
    record.append(frame.bytes, 'd');
    return {pack(Immediate::Kind::record, number), record};
  }

  std::string input() {
    std::string all;
    for (uint32_t n = below(12); n > 0; --n) {
      Message one = message();
      if (below(8) == 0 && !one.record.empty())
        one.record[below(static_cast<uint32_t>(one.record.size()))] = static_cast<char>(below(256));
      if (below(20) == 0) one.immediate ^= uint32_t{1} << below(32);
      all.append(reinterpret_cast<const char*>(&one.immediate), sizeof(one.immediate));
      all += static_cast<char>(one.record.size());
      all += one.record;
    }
    return all;
  }

  uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }

 private:
  std::mt19937_64 random_;
  uint64_t number_ = 0;
  uint64_t value_[2] = {};
};

/// A rank's side: slots, and what its peer has raised.
struct Receiver {
  std::vector<std::byte> slots = std::vector<std::byte>(64);
  Inbox inbox;
  PortReceiver receiver{slots};
  Receiver() { receiver.attach(inbox); }

  std::string take(const PortFrame& frame, uint64_t number, const std::string& data = "") {
    std::vector<std::byte> record(kMostHeader + kMostData);
    const size_t header_bytes = pack_record(frame, record.data());
    std::memcpy(record.data() + header_bytes, data.data(), std::min(data.size(), kMostData));
    return take_record(record.data(), kMostData, number, slots.size(), receiver).problem;
  }
};

}  // namespace

TEST_CASE("a header is as long as its numbers, and comes out as it went in") {
  std::byte header[kMostHeader];
  CHECK(pack_record({.kind = kWord}, header) == 8);
  CHECK(pack_record({.kind = kSignal, .value = 255, .received = 256}, header) == 8 + 1 + 2);
  const PortFrame largest = {.kind = 255,
                             .index = 255,
                             .bytes = UINT32_MAX,
                             .offset = UINT64_MAX,
                             .value = UINT64_MAX - 1,
                             .tag = UINT64_MAX - 2,
                             .epoch = UINT64_MAX - 3,
                             .call = UINT64_MAX - 4,
                             .count = UINT64_MAX - 5,
                             .one_sided = UINT64_MAX - 6,
                             .received = UINT64_MAX - 7,
                             .granted = UINT64_MAX - 8};
  CHECK(pack_record(largest, header) == kMostHeader - 4);
  const UnpackedRecord unpacked = unpack_record(header);
  CHECK(unpacked.header_bytes == kMostHeader - 4);
  CHECK(std::memcmp(&unpacked.frame, &largest, sizeof(PortFrame)) == 0);
}

TEST_CASE("what is no header is not read") {
  std::byte header[kMostHeader] = {};
  pack_record({.kind = kSignal, .value = 5}, header);
  REQUIRE(unpack_record(header).header_bytes == 9);
  header[7] = std::byte{1};
  CHECK(unpack_record(header).header_bytes == 0);
  header[7] = std::byte{0};
  header[3] = std::byte{0x9};  // a number of nine bytes
  CHECK(unpack_record(header).header_bytes == 0);
}

TEST_CASE("an immediate says the nearest number") {
  const Immediate bare = unpack_immediate(pack(Immediate::Kind::bare_signal, 77, 1));
  CHECK((bare.kind == Immediate::Kind::bare_signal && bare.index == 1 && bare.number == 77));
  const uint64_t near = GENERATE(uint64_t{0}, uint64_t{40}, uint64_t{kNumberMask}, uint64_t{kNumberMask} + 1,
                                 (uint64_t{1} << 40) - 3);
  for (const int64_t apart : {-40, -1, 0, 1, 63}) {
    const uint64_t number = near + static_cast<uint64_t>(apart);
    if (apart < 0 && near < 40) continue;
    const Immediate immediate = unpack_immediate(pack(Immediate::Kind::acknowledgement, number));
    CHECK(immediate.kind == Immediate::Kind::acknowledgement);
    CHECK(whole_number(immediate.number, near) == number);
  }
}

TEST_CASE("a bare signal raises the counter by one and changes nothing else, in its turn") {
  Receiver one;
  REQUIRE(one.take({.kind = kSignal, .index = 1, .value = 7, .tag = 99, .epoch = 3}, 0).empty());
  REQUIRE(
      one.receiver.take({.sequence = 2, .kind = kBareSignal, .index = 1, .one_sided = 5}, nullptr).empty());
  CHECK(one.inbox.line.counters[1] == 7);
  CHECK(one.receiver.early() == 2);
  REQUIRE(
      one.receiver.take({.sequence = 1, .kind = kBareSignal, .index = 1, .one_sided = 5}, nullptr).empty());
  CHECK(one.inbox.line.counters[1] == 9);
  CHECK(one.inbox.line.counters[0] == 0);
  CHECK(one.inbox.line.tag == 99);
  CHECK(one.inbox.latest.epoch == 3);
  CHECK(one.receiver.bytes() == 10);
}

TEST_CASE("records that cannot be are refused with what is wrong") {
  Receiver one;
  CHECK(one.take({.kind = kPut | kSignal, .bytes = 4, .offset = 60}, 0, "data").empty());
  CHECK(std::memcmp(one.slots.data() + 60, "data", 4) == 0);
  CHECK_THAT(one.take({.kind = kPut, .bytes = 4, .offset = 61}, 1),
             Catch::Contains("4 bytes to offset 61; there are 64"));
  CHECK_THAT(one.take({.kind = kPut, .bytes = kMostData + 1}, 1), Catch::Contains("which holds 168"));
  CHECK_THAT(one.take({.kind = kBareSignal}, 1), Catch::Contains("kind 0x20"));
  CHECK_THAT(one.take({.kind = kGrant}, 1), Catch::Contains("no number"));
  CHECK_THAT(one.take({.kind = kSignal, .index = 2}, 1), Catch::Contains("counter 2"));
  CHECK_THAT(one.take({.kind = kSignal}, 0), Catch::Contains("frame 0 came where frame 1 was next"));
  const std::vector<std::byte> garbage(kMostHeader + kMostData, std::byte{0xff});
  CHECK_THAT(take_record(garbage.data(), kMostData, 1, 64, one.receiver).problem,
             Catch::Contains("no header"));
  CHECK(one.take({.kind = kSignal, .value = UINT64_MAX}, 1).empty());
  CHECK_THAT(one.receiver.take({.sequence = 2, .kind = kBareSignal}, nullptr),
             Catch::Contains("wrap around"));
}

TEST_CASE("all mailboxes of a rank stay small, and a record holds 4 KiB where there are few ranks") {
  CHECK(record_bytes(2) >= 4096 + kMostHeader);
  CHECK(record_bytes(7) >= 4096 + kMostHeader);
  for (int ranks = 2; ranks <= 64; ++ranks)
    CHECK(2 * static_cast<size_t>(ranks) * kRecords * record_bytes(ranks) <= size_t{4} << 20);
  CHECK(record_bytes(4096) == 256);
}

TEST_CASE("mutated records and immediates") {
  for (uint64_t number = 0; number < 20'000; ++number) {
    INFO("input number " << number);
    const std::string input = Generator(number).input();
    REQUIRE(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size()) == 0);
  }
}
