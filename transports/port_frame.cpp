#include "transports/port_frame.h"

#include <fmt/format.h>

#include <cstring>

#include "transports/channel.h"

namespace tutti {

namespace {

/// Why nobody who belongs here can have sent this; empty where somebody did.
std::string why_stranger(const PortFrame& frame, size_t header_bytes, const PortFrameLimits& limits) {
  if (header_bytes != sizeof(PortFrame))
    return fmt::format("a header of {} bytes; expected {}", header_bytes, sizeof(PortFrame));
  if (frame.magic != kPortFrameMagic)
    return fmt::format("a header that begins with {:#010x}; expected {:#010x}", frame.magic, kPortFrameMagic);
  if (frame.key != limits.key) return "a key that is not this communicator's";
  if (frame.source >= limits.ranks || frame.source == limits.rank)
    return fmt::format("source rank {}; this is rank {} of {}", frame.source, limits.rank, limits.ranks);
  return {};
}

}  // namespace

std::string why_broken(const PortFrame& frame, size_t data_bytes, const PortFrameLimits& limits) {
  if (frame.kind == 0 || frame.kind > kWord ||
      (frame.kind > (kPut | kSignal) && (frame.kind & (frame.kind - 1)) != 0))
    return fmt::format("kind {:#x}; expected a put, a signal, both, a grant, a word or a leave", frame.kind);
  if (frame.bytes != data_bytes)
    return fmt::format("{} bytes of data came; {} were said", data_bytes, frame.bytes);
  if ((frame.kind & kPut) == 0 && frame.bytes != 0)
    return fmt::format("{} bytes of data without a put", frame.bytes);
  if (frame.offset > limits.slots_bytes || frame.bytes > limits.slots_bytes - frame.offset)
    return fmt::format("a put of {} bytes to offset {}; there are {} bytes of slots", frame.bytes,
                       frame.offset, limits.slots_bytes);
  if (frame.index >= kPairCounters)
    return fmt::format("a signal on counter {}; there are {}", frame.index, kPairCounters);
  return {};
}

PortFrameCheck parse_port_frame(const void* header, size_t header_bytes, size_t data_bytes,
                                const PortFrameLimits& limits) {
  PortFrameCheck check;
  if (header != nullptr && header_bytes == sizeof(PortFrame))
    std::memcpy(&check.frame, header, sizeof(PortFrame));
  check.reason = why_stranger(check.frame, header_bytes, limits);
  if (!check.reason.empty()) return check;
  check.reason = why_broken(check.frame, data_bytes, limits);
  check.verdict = check.reason.empty() ? PortFrameCheck::Verdict::good : PortFrameCheck::Verdict::broken;
  return check;
}

}  // namespace tutti
