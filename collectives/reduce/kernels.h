// The data-moving and arithmetic kernels of the host executor, chosen once at start for this processor.
//
// Every kernel gives bitwise the same result on every instruction set: operands are folded from left to right
// in the order given; floats of 16 and 8 bits are widened to float32, folded, divided (avg) and rounded once, to
// nearest even; a float8 result beyond the largest finite number, infinity included, is that number with its sign.
// min and max propagate NaN and order -0 < +0. A result that is NaN is the canonical quiet NaN
// (positive, no payload; 0x7f in float8), whatever NaN went in. Integer sum and prod wrap; an integer avg is the wrapped sum,
// divided truncating toward zero. A single operand that is not divided passes bit by bit. No kernel allocates,
// locks or blocks. Pointers need no alignment. Source and destination may be the same memory (in place), but
// not shifted overlaps.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/types.h"
#include "transports/packet.h"

namespace tutti::reduce {

/// How the destination is written: `cached` for data that is read again soon, `streaming` (non-temporal
/// stores where the processor has them) for user output too large to be found in cache again.
enum class Store : uint8_t { cached, streaming };

struct ReduceJob {
  void* dst;               // count elements
  void* dst2;              // a second copy of the result, or null; always written `cached`
  const void* const* src;  // `sources` pointers, folded in this order
  int sources;             // >= 1
  size_t count;            // elements
  uint32_t divisor;  // avg in its last step: divide by this; 0 = do not divide; other operators ignore it
  Store store;       // for dst
};

/// One operand of a packet reduction: packet lines of some rank, or (lines == null) plain memory of this
/// rank.
struct PacketSource {
  const Packet* lines;
  const void* plain;
};

struct PacketJob {
  void* dst;
  const PacketSource* src;  // folded in this order
  int sources;
  size_t bytes;   // of the message
  uint64_t flag;  // what every line must carry
  uint32_t divisor;
};

using ReduceFn = void (*)(const ReduceJob&);

/// Folds lines [first, packets_for(bytes)) and stops before the first line of which a source has not arrived
/// yet. Returns the line to go on with: packets_for(bytes) when all is done.
using ReducePacketsFn = size_t (*)(const PacketJob&, size_t first);

/// `cached` goes through the cache at every size. After `streaming` the bytes are ordered before any later
/// store of this thread.
using CopyFn = void (*)(void* dst, const void* src, size_t bytes, Store store);
/// Fills packets_for(bytes) lines, in order; behind the end of the message the last line holds zeros.
using PutPacketsFn = void (*)(Packet* dst, const void* src, size_t bytes, uint64_t flag);

/// The kernels of one instruction set.
struct Kernels {
  const char* name;  // "portable", "avx2", "avx512"
  ReduceFn reduce[kReduceOps][kDataTypes];
  ReducePacketsFn reduce_packets[kReduceOps][kDataTypes];
  CopyFn copy;
  PutPacketsFn put_packets;
};

/// The best kernels for this processor; `TUTTI_SIMD` is applied by the caller through `kernels(name)`.
const Kernels& kernels();

/// The kernels of a named instruction set, or null when this processor or this build has none of that name.
const Kernels* kernels(const char* name);

}  // namespace tutti::reduce
