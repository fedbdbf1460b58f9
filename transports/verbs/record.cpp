#include "transports/verbs/record.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>

namespace tutti::verbs {

namespace {

static_assert(std::endian::native == std::endian::little);

constexpr unsigned kIndexAt = 8;
constexpr unsigned kLengthsAt = 16;
constexpr unsigned kLengthBits = 4;
constexpr unsigned kEnd = kLengthsAt + kLengthBits * kRecordNumbers;

using Numbers = std::array<uint64_t, kRecordNumbers>;

Numbers numbers_of(const PortFrame& frame) {
  return {frame.bytes, frame.offset, frame.value,     frame.tag,      frame.epoch,
          frame.call,  frame.count,  frame.one_sided, frame.received, frame.granted};
}

PortFrame frame_of(uint64_t control, const Numbers& numbers) {
  PortFrame frame;
  frame.kind = static_cast<uint8_t>(control);
  frame.index = static_cast<uint8_t>(control >> kIndexAt);
  frame.bytes = static_cast<uint32_t>(numbers[0]);
  frame.offset = numbers[1];
  frame.value = numbers[2];
  frame.tag = numbers[3];
  frame.epoch = numbers[4];
  frame.call = numbers[5];
  frame.count = numbers[6];
  frame.one_sided = numbers[7];
  frame.received = numbers[8];
  frame.granted = numbers[9];
  return frame;
}

}  // namespace

size_t pack_record(const PortFrame& frame, std::byte* to) {
  uint64_t control = frame.kind | uint64_t{frame.index} << kIndexAt;
  std::byte* at = to + sizeof(control);
  unsigned shift = kLengthsAt;
  for (const uint64_t number : numbers_of(frame)) {
    const auto bytes = static_cast<unsigned>(std::bit_width(number) + 7) / 8;
    std::memcpy(at, &number, sizeof(number));
    at += bytes;
    control |= uint64_t{bytes} << shift;
    shift += kLengthBits;
  }
  std::memcpy(to, &control, sizeof(control));
  return static_cast<size_t>(at - to);
}

UnpackedRecord unpack_record(const std::byte* from) {
  constexpr uint64_t kLengthMask = (1U << kLengthBits) - 1;
  uint64_t control = 0;
  std::memcpy(&control, from, sizeof(control));
  if (control >> kEnd != 0) return {};
  const std::byte* at = from + sizeof(control);
  Numbers numbers;
  for (size_t i = 0; i < kRecordNumbers; ++i) {
    const uint64_t bytes = control >> (kLengthsAt + kLengthBits * i) & kLengthMask;
    if (bytes > sizeof(uint64_t)) return {};
    numbers[i] = 0;
    std::memcpy(&numbers[i], at, bytes);
    at += bytes;
  }
  if (numbers[0] > UINT32_MAX) return {};
  return {.frame = frame_of(control, numbers), .header_bytes = static_cast<size_t>(at - from)};
}

TakenRecord take_record(const std::byte* record, size_t most_data, uint64_t number, uint64_t slots_bytes,
                        PortReceiver& receiver) {
  UnpackedRecord unpacked = unpack_record(record);
  PortFrame& frame = unpacked.frame;
  if (unpacked.header_bytes == 0) return {.problem = "it has no header that can be read"};
  if (frame.bytes > most_data)
    return {.problem = fmt::format("{} bytes inside it, which holds {}", frame.bytes, most_data)};
  if (frame.kind == kGrant) return {.problem = "it says that it has no number"};
  std::string problem = why_broken(frame, frame.bytes, {.slots_bytes = slots_bytes});
  if (!problem.empty()) return {.problem = problem};
  frame.sequence = number;
  return {.problem = receiver.take(frame, record + unpacked.header_bytes), .received = frame.received};
}

}  // namespace tutti::verbs
