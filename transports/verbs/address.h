// What ranks tell each other so that queue pairs can be made: the address, which all get at set-up, and the greeting, when two first have
// something to say to each other.
//
// Addresses travel through the control tree, among ranks that have shown the job's secret; greetings come as datagrams from anywhere. Both are
// checked before they are believed: lengths, checksum or key, and every number that is used as an index.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "transports/verbs/devices.h"

namespace tutti::verbs {

/// One rail of a rank.
struct RailAddress {
  std::array<uint8_t, 16> gid{};
  uint32_t greeter = 0;     // number of the queue pair that takes greetings
  uint32_t slots_rkey = 0;  // of the slots
  uint32_t mail_rkey = 0;   // of the mailboxes
  uint32_t mtu = 0;         // bytes
  uint16_t lid = 0;
  RailSort sort = RailSort::infiniband;
  uint8_t port = 1;

  bool operator==(const RailAddress&) const = default;
};

struct RankAddress {
  uint32_t rank = 0;
  uint64_t key = 0;          // that greetings to this rank must bear
  uint64_t slots = 0;        // address of the slots in that rank's process
  uint64_t slots_bytes = 0;  // and their size
  uint64_t mailboxes = 0;    // address of its mailboxes, by rank of the sender
  std::vector<RailAddress> rails;

  bool operator==(const RankAddress&) const = default;
};

std::string pack(const RankAddress& address);
/// Throws Error(invalid_argument) saying what is wrong with `text`.
RankAddress unpack(std::string_view text);

/// "I have these queue pairs for you. Those of these rails I have given up, and this is what has come."
struct Greeting {
  static constexpr uint32_t kMagic = 0x32475454;  // "TTG2"
  static constexpr uint32_t kReady = 1;           // they are connected to yours: send
  static constexpr uint32_t kAsk = 2;             // answer this
  uint32_t magic = kMagic;
  uint32_t source = 0;  // rank of the sender
  uint64_t key = 0;     // of the receiver
  uint32_t flags = 0;
  uint32_t rails = 0;
  uint32_t dead = 0;  // rails whose queue pair takes nothing any more, as bits
  uint32_t unused = 0;
  uint64_t applied = 0;                            // records of the receiver; counted after that was so
  uint64_t early = 0;                              // and of the next 64, as bits
  std::array<uint32_t, kMostRails> queue_pairs{};  // by rail
  std::array<uint32_t, kMostRails> first{};        // number of the first packet
};
static_assert(sizeof(Greeting) == 112, "a greeting has no padding");

/// Nothing where it is none for a rank with this key among `ranks`.
std::optional<Greeting> parse_greeting(std::span<const std::byte> bytes, uint64_t key, uint32_t ranks);

}  // namespace tutti::verbs
