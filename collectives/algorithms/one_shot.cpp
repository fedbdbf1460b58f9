// One-shot all-reduce with packets (the all-to-all exchange of every small-message implementation; the packet
// that carries data and flag together is the LL protocol of NCCL and the packet of MSCCL++).
//
//   rank 0: input ──▶ packets of rank 0 ──┐ read by everybody
//   rank 1: input ──▶ packets of rank 1 ──┤
//   rank 2: input ──▶ packets of rank 2 ──┘──▶ fold in rank order ──▶ output, on every rank
//
// Each rank posts its whole input once, in its own window, and reads everybody else's. One trip, no signals:
// every packet carries its own flag. All ranks fold in rank order, so all get bitwise the same. With a
// message of no bytes it is a barrier: nobody returns before everybody has posted.
//
// Packets of an earlier operation are overwritten only after `claim`: all ranks have finished reading them.
// Cost per rank: alpha + S to write, (n - 1) S to read, n S to fold.
#include <vector>

#include "collectives/algorithms/algorithms.h"

namespace tutti::algorithms {

Plan one_shot(Collective collective, const Shape& shape) {
  plan::Builder b(collective, Algorithm::one_shot, shape);
  b.packet_areas(1);
  b.claim();
  b.block();
  b.put_packets(b.input(), b.packets(b.rank()));
  std::vector<plan::Location> operands;
  operands.reserve(b.ranks());
  for (int p = 0; p < b.ranks(); ++p) operands.push_back(p == b.rank() ? b.input() : b.packets(p));
  b.reduce_packets(operands, b.output(), true);
  return b.take();
}

}  // namespace tutti::algorithms
