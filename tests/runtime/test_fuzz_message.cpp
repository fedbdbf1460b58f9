// Drives the fuzz target without libFuzzer: well-formed messages, mutated, cut and extended by a seeded generator.
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "core/clock.h"
#include "runtime/bootstrap/message.h"
#include "tests/catch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using namespace tutti;

std::vector<uint8_t> message(std::mt19937_64& random) {
  MessageHeader header;
  header.type = static_cast<MessageType>(random() % 5 + 1);
  header.rank = static_cast<int32_t>(random());
  header.size = static_cast<int32_t>(random());
  header.text_size =
      static_cast<uint32_t>(random() % 16 == 0 ? random() % (kMaxMessageText + 2) : random() % 100);
  std::vector<uint8_t> bytes(sizeof(header) + header.text_size, static_cast<uint8_t>(random()));
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

std::vector<uint8_t> mutated(std::mt19937_64& random) {
  std::vector<uint8_t> bytes = message(random);
  for (uint64_t changes = random() % 4; changes > 0; --changes) {
    // The header is where it matters.
    bytes[random() % std::min<size_t>(bytes.size(), 28)] = static_cast<uint8_t>(random());
  }
  if (random() % 4 == 0) bytes.resize(random() % (bytes.size() + 20));
  return bytes;
}

}  // namespace

TEST_CASE("no bytes confuse the parser of set-up messages") {
  const uint64_t start = now_ns();
  int well_formed = 0;
  int malformed = 0;
  for (uint64_t number = 0; number < 1000 || now_ns() - start < 1'000'000'000; ++number) {
    std::mt19937_64 random(number);
    const std::vector<uint8_t> bytes = mutated(random);
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    (parse_message(bytes.data(), bytes.size()).problem.empty() ? well_formed : malformed) += 1;
  }
  // Both kinds are reached.
  CHECK(well_formed > 100);
  CHECK(malformed > 100);
}

TEST_CASE("a message of each wrong kind is refused with what is wrong") {
  const auto problem_of = [](const MessageHeader& header, size_t size) {
    std::vector<uint8_t> bytes(std::max(size, sizeof(header)));
    std::memcpy(bytes.data(), &header, sizeof(header));
    return parse_message(bytes.data(), size).problem;
  };
  MessageHeader header;
  CHECK(problem_of(header, sizeof(header)).empty());
  CHECK(problem_of(header, 0) == "a message of 0 bytes, expected at least 40");
  CHECK(problem_of(header, 39) == "a message of 39 bytes, expected at least 40");
  CHECK(problem_of(header, 41) == "0 bytes of text announced, 1 came, at most 16384 allowed");
  MessageHeader other = header;
  other.magic = 1;
  CHECK(problem_of(other, sizeof(other)) == "a message that begins with 0x00000001, expected 0x74757474");
  other = header;
  other.version = 7;
  CHECK(problem_of(other, sizeof(other)) == "protocol version 7, expected 1");
  other = header;
  other.type = static_cast<MessageType>(9);
  CHECK(problem_of(other, sizeof(other)) == "message type 9");
  other = header;
  other.text_size = 20000;
  CHECK(problem_of(other, sizeof(other) + 20000) ==
        "20000 bytes of text announced, 20000 came, at most 16384 allowed");
}
