#include "transports/verbs/address.h"

#include <cstring>

#include "core/error.h"

namespace tutti::verbs {

namespace {

constexpr uint32_t kMagic = 0x31565454;  // "TTV1"

/// What precedes the rails. As in memory.
struct Head {
  uint32_t magic = kMagic;
  uint32_t rank = 0;
  uint64_t checksum = 0;  // of everything, with 0 in its place
  uint64_t key = 0;
  uint64_t slots = 0;
  uint64_t slots_bytes = 0;
  uint64_t mailboxes = 0;
  uint64_t rails = 0;
};
static_assert(sizeof(Head) == 56, "the head has no padding");
static_assert(sizeof(RailAddress) == 36, "a rail's address has no padding");

/// FNV-1a: against truncation and mix-ups, not against an enemy.
uint64_t checksum_of(Head head, std::string_view rails) {
  head.checksum = 0;
  char raw[sizeof(Head)];
  std::memcpy(raw, &head, sizeof(Head));
  uint64_t sum = 0xcbf29ce484222325;
  const auto add = [&](std::string_view text) {
    for (const char c : text) sum = (sum ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  };
  add({raw, sizeof(raw)});
  add(rails);
  return sum;
}

void check(const RailAddress& rail, size_t index) {
  constexpr uint32_t kNumbers = 1U << 24;  // of queue pairs
  if (rail.sort > RailSort::roce2_ipv6 || rail.mtu < 256 || rail.mtu > 4096 || rail.greeter >= kNumbers ||
      rail.port == 0)
    raise(Result::invalid_argument,
          "a verbs address whose rail {} cannot be (sort {}, MTU {}, queue pair {}, port {})", index,
          static_cast<int>(rail.sort), rail.mtu, rail.greeter, rail.port);
}

}  // namespace

std::string pack(const RankAddress& address) {
  std::string rails;
  for (const RailAddress& rail : address.rails) {
    char raw[sizeof(RailAddress)];
    std::memcpy(raw, &rail, sizeof(raw));
    rails.append(raw, sizeof(raw));
  }
  Head head = {.rank = address.rank,
               .key = address.key,
               .slots = address.slots,
               .slots_bytes = address.slots_bytes,
               .mailboxes = address.mailboxes,
               .rails = address.rails.size()};
  head.checksum = checksum_of(head, rails);
  std::string text(sizeof(Head), '\0');
  std::memcpy(text.data(), &head, sizeof(Head));
  return text + rails;
}

RankAddress unpack(std::string_view text) {
  Head head;
  if (text.size() < sizeof(Head))
    raise(Result::invalid_argument, "a verbs address of {} bytes; it has at least {}", text.size(),
          sizeof(Head));
  std::memcpy(&head, text.data(), sizeof(Head));
  if (head.magic != kMagic)
    raise(Result::invalid_argument, "a verbs address begins with {:#010x}; expected {:#010x}", head.magic,
          kMagic);
  const std::string_view rails = text.substr(sizeof(Head));
  if (head.rails == 0 || head.rails > kMostRails || rails.size() != head.rails * sizeof(RailAddress))
    raise(Result::invalid_argument, "a verbs address of {} bytes says that it has {} rails", text.size(),
          head.rails);
  if (head.checksum != checksum_of(head, rails))
    raise(Result::invalid_argument, "a verbs address of {} bytes does not match its checksum", text.size());
  RankAddress address = {.rank = head.rank,
                         .key = head.key,
                         .slots = head.slots,
                         .slots_bytes = head.slots_bytes,
                         .mailboxes = head.mailboxes,
                         .rails = std::vector<RailAddress>(head.rails)};
  for (size_t i = 0; i < head.rails; ++i) {
    std::memcpy(&address.rails[i], rails.data() + i * sizeof(RailAddress), sizeof(RailAddress));
    check(address.rails[i], i);
  }
  return address;
}

std::optional<Greeting> parse_greeting(std::span<const std::byte> bytes, uint64_t key, uint32_t ranks) {
  Greeting greeting;
  if (bytes.size() != sizeof(Greeting)) return std::nullopt;
  std::memcpy(&greeting, bytes.data(), sizeof(Greeting));
  const bool good = greeting.magic == Greeting::kMagic && greeting.key == key && greeting.source < ranks &&
                    greeting.rails >= 1 && greeting.rails <= kMostRails &&
                    greeting.dead >> greeting.rails == 0;
  return good ? std::optional(greeting) : std::nullopt;
}

}  // namespace tutti::verbs
