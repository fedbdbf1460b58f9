// What one rank sends to another through a port, beside the bytes of a slice: the header of a message of UCX, a record of verbs.
//
// A frame says who sent it and what it carries: a put, a signal, both, a grant, or that its sender is leaving. The bytes of a put come
// with it, or were written into the slots before. Frames are numbered per port, from 0, so that the receiver can raise counters
// in the order in which they were signalled even where they overtake each other on several paths. What a frame grants, and what it says
// to have received, only ever grows, so that holds from when it comes; a frame that does nothing else may go without a number.
//
// Nothing in a frame is believed before why_broken() has looked at it, or parse_port_frame(), which also asks where it comes from: a message may
// come from anywhere, a record by a queue pair whose other end is known. Two kinds of refusal: a *stranger* does not know this rank's
// key, which only the ranks of this communicator were given, and is ignored; a frame that knows the key and makes no sense
// comes from a peer that is broken, and fails it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tutti {

inline constexpr uint32_t kPortFrameMagic = 0x33565454;  // "TTV3": changes whenever the layout does

enum PortFrameKind : uint8_t {
  kPut = 1,     // the message's data go to `offset` of the receiver's slots
  kSignal = 2,  // then counter `index` is raised to `value`
  kGrant = 4,   // `granted` and `received` alone, and no number
  kLeave = 8,   // nothing follows: the sender is destroying its end
  kWord = 16,   // `granted` and `received` alone
  /// Counter `index` goes up by one, and all else is as the signal before had it. Never in a header.
  kBareSignal = 32,
};

/// On the wire as in memory. All fields are set; those that the kind does not use are 0.
struct PortFrame {
  uint32_t magic = kPortFrameMagic;
  uint32_t source = 0;  // rank of the sender
  uint64_t key = 0;     // of the receiver
  uint64_t sequence = 0;
  uint8_t kind = 0;
  uint8_t index = 0;
  uint16_t unused = 0;
  uint32_t bytes = 0;  // of data
  uint64_t offset = 0;
  uint64_t value = 0;
  uint64_t tag = 0;
  uint64_t epoch = 0;
  uint64_t call = 0;
  uint64_t count = 0;
  uint64_t one_sided = 0;  // bytes put one-sidedly since the frame before; for statistics
  uint64_t received = 0;   // how many of the receiver's own frames have come to the sender
  uint64_t granted = 0;    // up to which position the receiver may write the sender's slots
};
static_assert(sizeof(PortFrame) == 104, "a frame has no padding");

/// What the receiver knows, to check a frame against.
struct PortFrameLimits {
  uint32_t rank = 0;   // the receiver's
  uint32_t ranks = 0;  // of the communicator
  uint64_t key = 0;
  uint64_t slots_bytes = 0;
};

struct PortFrameCheck {
  enum class Verdict : uint8_t { good, stranger, broken };
  Verdict verdict = Verdict::stranger;
  PortFrame frame;     // good and broken: `frame.source` is a rank of the communicator
  std::string reason;  // why not
};

/// What is wrong with a frame of a peer that is known, if it came with `data_bytes` bytes of data; empty: nothing.
std::string why_broken(const PortFrame& frame, size_t data_bytes, const PortFrameLimits& limits);

/// Looks at `header_bytes` bytes at `header` that came with `data_bytes` bytes of data.
PortFrameCheck parse_port_frame(const void* header, size_t header_bytes, size_t data_bytes,
                                const PortFrameLimits& limits);

}  // namespace tutti
