// Broadcast by one writer and many readers, for ranks that map each other's memory.
//
// The root puts the message into its own window once; everybody reads it from there, so the root's work does
// not grow with the number of ranks. In two protocols:
//   one_writer_packets  for small messages: packets, one trip, no signals
//   one_writer          in slices: board kStaged of the root counts slices that may be read, board kConsumed
//   of each
//                       reader counts slices it has read, which is the root's credit
//
// The root does not wait for its readers at the end: it may be many operations ahead of them. What it
// overwrites is guarded by `claim` (earlier operations) and by the credits (this one). Cost: 1 trip; root S
// to stage; each reader S to copy.
#include "collectives/algorithms/algorithms.h"

namespace tutti::algorithms {

namespace {
enum Board : uint8_t { kStaged, kConsumed };
}

Plan one_writer_packets(const Shape& shape) {
  plan::Builder b(Collective::broadcast, Algorithm::one_writer_packets, shape);
  b.packet_areas(1);
  if (b.rank() == b.root()) {
    b.claim();
    b.block();
    b.put_packets(b.input(), b.packets(b.rank()));
    b.copy({}, b.input(), {b.output()});
  } else {
    b.block();
    b.copy_packets(b.packets(b.root()), b.output());
  }
  return b.take();
}

Plan one_writer(const Shape& shape) {
  plan::Builder b(Collective::broadcast, Algorithm::one_writer, shape);
  const int n = b.ranks();
  b.areas(1);
  if (b.rank() == b.root()) {
    b.claim();
    b.block();
    for (int k = 1; k < n; ++k) b.wait_board_credit((b.root() + k) % n, kConsumed);
    b.copy({}, b.input(), {b.slot(b.rank(), 0)});
    b.signal_board(kStaged);
    b.copy({}, b.input(), {b.output()});
  } else {
    b.block();
    b.wait_board(b.root(), kStaged);
    b.copy({}, b.slot(b.root(), 0), {b.output()});
    b.signal_board(kConsumed);
  }
  return b.take();
}

}  // namespace tutti::algorithms
