// All-pairs all-reduce in slices: one_shot without packets, for messages in the middle (the "allpairs" of MSCCL++).
//
// Each rank stages every slice of its whole input in its own window, once; everybody folds the slices of all ranks. There
// is no second exchange: two trips less waiting than two_shot, n/2 times its reading. With two ranks both read the same, so
// this is the better one at every size.
//
//     lag 1  fold    await kStaged of everybody; slice s of all ranks, in rank order -> output
//     lag 0  stage   slice s of my input -> area 0 of my window; raise kStaged
//
// No credit is returned, because the exchange itself says which slots are free: before staging slice s a rank has folded
// slice s - 1, so everybody had staged s - 1, and folded s - 2 before that. So two slots suffice, as the verifier proves.
//
// In place is safe: the slice that fold overwrites was staged before.
// All ranks fold in rank order: all get bitwise the same, and the same as one_shot and two_shot.
// Cost per rank: 1 trip per slice, pipelined; S staged, (n - 1) S read, n S folded.
#include <vector>

#include "collectives/algorithms/algorithms.h"

namespace tutti::algorithms {

namespace {
enum Board : uint8_t { kStaged };
}

Plan all_pairs(const Shape& shape) {
  plan::Builder b(Collective::all_reduce, Algorithm::all_pairs, shape);
  const int n = b.ranks();
  const int me = b.rank();
  b.areas(1);
  b.claim();
  b.block();

  b.lag(1);
  std::vector<plan::Location> operands;
  operands.reserve(b.ranks());
  for (int p = 0; p < n; ++p) {
    if (p != me) b.wait_board(p, kStaged);
    operands.push_back(p == me ? b.input() : b.slot(p, 0));
  }
  b.reduce({}, operands, {b.output()}, true);

  b.lag(0);
  b.copy({}, b.input(), {b.slot(me, 0)});
  b.signal_board(kStaged);
  return b.take();
}

}  // namespace tutti::algorithms
