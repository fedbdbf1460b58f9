// Direct: everybody works in the buffers of its peers. No scratch, no copies: every byte is read once and written once.
// For ranks whose buffers are in one address space.
//
// All-reduce. The message is cut into n chunks; chunk r belongs to rank r, in the input and output of every rank.
//     kArrived  raised at entry; tells where this rank's buffers are
//               wait for everybody's, then fold chunk r of all inputs, in rank order -> chunk r of all outputs
//     kDone     raised then; wait for everybody's: nobody reads my input or writes my output any more
// In place is safe: only rank r reads chunk r of any input, and only rank r writes chunk r of any output.
// Each chunk is folded by one rank in rank order, so all ranks get bitwise the same, and the same as two_shot.
// Cost per rank: 2 trips; S read and S written, 2 n S for all together, which nothing that reads every input and writes every
// output can undercut.
//
// Broadcast. The root raises kArrived and everybody copies from its input; the root stays until all have raised kDone. The others
// leave at once: nobody touches their buffers.
// Cost: 2 trips for the root; S to copy for each other rank, and nothing to stage.
#include <vector>

#include "collectives/algorithms/algorithms.h"

namespace tutti::algorithms {

namespace {
enum Board : uint8_t { kArrived, kDone };
}

Plan direct_all_reduce(const Shape& shape) {
  plan::Builder b(Collective::all_reduce, Algorithm::direct, shape);
  const int n = b.ranks();
  const int me = b.rank();
  b.direct().chunks(n);
  b.block();
  b.signal_board(kArrived);
  std::vector<plan::Location> inputs;
  std::vector<plan::Location> outputs;
  for (int k = 0; k < n; ++k) {
    inputs.push_back(b.input_of(k, b.chunk(me)));
    // Everybody begins with its own, so that no memory is written by all at once.
    outputs.push_back(b.output_of((me + k) % n, b.chunk(me)));
    if (k != 0) b.wait_board((me + k) % n, kArrived);
  }
  b.reduce(b.chunk(me), inputs, outputs, true);
  b.signal_board(kDone);
  for (int k = 1; k < n; ++k) b.wait_board((me + k) % n, kDone);
  return b.take();
}

Plan direct_broadcast(const Shape& shape) {
  plan::Builder b(Collective::broadcast, Algorithm::direct, shape);
  const int n = b.ranks();
  b.direct();
  b.block();
  if (b.rank() == b.root()) {
    b.signal_board(kArrived);
    b.copy({}, b.input(), {b.output()});
    for (int k = 1; k < n; ++k) b.wait_board((b.root() + k) % n, kDone);
  } else {
    b.wait_board(b.root(), kArrived);
    b.copy({}, b.input_of(b.root()), {b.output()});
    b.signal_board(kDone);
  }
  return b.take();
}

}  // namespace tutti::algorithms
