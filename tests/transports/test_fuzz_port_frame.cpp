// Drives the fuzz target without libFuzzer: good frames, mutated by a seeded generator. Every input depends on its number alone.
#include <chrono>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>

#include "tests/catch.h"
#include "transports/port_frame.h"
#include "transports/ucx/address.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

using namespace tutti;
using namespace tutti::ucx;

namespace {

constexpr PortFrameLimits kLimits = {.rank = 1, .ranks = 3, .key = 0x4b4b4b4b4b4b4b4b, .slots_bytes = 512};

class Generator {
 public:
  explicit Generator(uint64_t number) : random_(number) {}

  PortFrame frame() {
    constexpr uint8_t kKinds[] = {kPut, kSignal, kPut | kSignal, kSignal, kGrant, kWord, kLeave};
    PortFrame frame = {.source = below(2) * 2, .key = kLimits.key};
    frame.kind = kKinds[below(below(20) == 0 ? 7 : 6)];
    if (frame.kind != kGrant) frame.sequence = sequence_++;
    if (below(10) == 0) frame.sequence += below(3);
    if ((frame.kind & kPut) != 0) frame.bytes = below(200);
    frame.offset = below(312);
    frame.index = static_cast<uint8_t>(below(2));
    frame.value = value_ += below(2);
    return frame;
  }

  std::string message() {
    PortFrame one = frame();
    std::string bytes(sizeof(PortFrame), '\0');
    std::memcpy(bytes.data(), &one, sizeof(PortFrame));
    if (below(12) == 0) bytes[below(sizeof(PortFrame))] = static_cast<char>(below(256));
    if (below(40) == 0) bytes.resize(below(sizeof(PortFrame) + 20));
    const uint32_t data = below(20) == 0 ? below(256) : one.bytes;
    return std::string{static_cast<char>(bytes.size()), static_cast<char>(data)} + bytes +
           std::string(data, 'd');
  }

  std::string input() {
    std::string all;
    for (uint32_t n = below(12); n > 0; --n) all += message();
    return all;
  }

  uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }

 private:
  std::mt19937_64 random_;
  uint64_t sequence_ = 0;
  uint64_t value_ = 0;
};

int run_target(const std::string& input) {
  return LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

PortFrameCheck::Verdict verdict_of(const std::string& message) {
  const size_t header = static_cast<uint8_t>(message[0]);
  return parse_port_frame(message.data() + 2, header, static_cast<uint8_t>(message[1]), kLimits).verdict;
}

}  // namespace

TEST_CASE("two seconds of mutated frames") {
  constexpr uint64_t kAtLeast = 5'000;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  int verdicts[3] = {};
  for (uint64_t number = 0; number < kAtLeast || std::chrono::steady_clock::now() < end; ++number) {
    INFO("input number " << number);
    REQUIRE(run_target(Generator(number).input()) == 0);
    if (number < kAtLeast) ++verdicts[static_cast<int>(verdict_of(Generator(number).message()))];
  }
  // A generator whose frames all take the same path would test nothing.
  for (const int count : verdicts) CHECK(count > 20);
}

TEST_CASE("mutated addresses") {
  const std::string good =
      pack({.rank = 1, .key = 2, .slots = 3, .slots_bytes = 4, .worker = "worker", .rkey = "key"});
  for (uint64_t number = 0; number < 5'000; ++number) {
    Generator generator(number);
    std::string text = good;
    for (uint32_t n = generator.below(3); n > 0; --n)
      text[generator.below(static_cast<uint32_t>(text.size()))] = static_cast<char>(generator.below(256));
    if (generator.below(4) == 0) text.resize(generator.below(80));
    INFO("input number " << number);
    REQUIRE(run_target(text) == 0);
  }
}
