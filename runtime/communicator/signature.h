// What a rank was asked to do, and the signature by which ranks find out that they were asked different things.
//
// The signature is a running hash over all calls since the communicator was made. Every packet and every counter's line
// carries its low half next to the epoch, so two ranks that exchange anything at all compare their whole history, even
// when the operation in which they differed made neither wait (two roots of a broadcast).
#pragma once

#include <cstdint>
#include <string>

#include "core/types.h"
#include "transports/tag.h"

namespace tutti {

struct Call {
  Collective collective = Collective::barrier;
  DataType datatype = DataType::uint8;
  ReduceOp op = ReduceOp::sum;
  int root = 0;
  uint64_t count = 0;
  bool registered = false;  // on device memory that peers have mapped, and use

  /// Whether that rank's send buffer is looked at.
  bool sends(int rank) const { return collective == Collective::all_reduce || root == rank; }
  uint64_t bytes() const { return count * size_of(datatype); }
  bool operator==(const Call&) const = default;
};

/// All of a call but its count, in one word.
uint64_t pack(const Call& call);
/// The inverse; values that are no call give a best effort, for messages only.
Call unpack(uint64_t packed, uint64_t count);

/// "all_reduce of 1024 float32, sum", "broadcast of 8 int8 from root 2", "barrier".
std::string describe(const Call& call);

}  // namespace tutti
