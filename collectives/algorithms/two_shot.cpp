// Two-shot all-reduce: direct reduce-scatter, then all-gather (Rabenseifner's idea with a fully connected
// exchange, as in the two-shot kernels of vLLM and TensorRT-LLM).
//
// The message is cut into n chunks; rank i owns chunk i. Window of rank i, an area being a ring of slots:
//
//     area p, p != i   slices of my input's chunk p, staged for rank p to read
//     area i           slices of my reduced chunk, for everybody to read
//
// Two board counters, raised once per slice and read by all others:
//     kStaged    my slices for everybody lie in my window
//     kReduced   my reduced slice lies in my window
//
// One lane, three stages, each a slice behind the one before, latest first, so that a wait usually finds that its peers
// were done long ago:
//     lag 2  gather   slice s of every other chunk -> output
//     lag 1  reduce   slice s of chunk i over all ranks, in rank order -> output and area i; raise kReduced
//     lag 0  stage    slice s of every other chunk -> my areas; raise kStaged
//
// No credit is returned, because the exchange itself says which slots are free. Before staging slice s a rank has gathered
// slice s - 2 from everybody, and those had read what it staged for s - 2. Before reducing slice s it awaits kStaged of s,
// which everybody raises after gathering s - 2. So two slots per area suffice, as the verifier proves.
//
// In place is safe: the slice of a chunk that reduce or gather writes was staged, or is folded, before.
// Each chunk is folded by one rank in rank order, so all ranks get bitwise the same, and the same as
// one_shot.
// Cost per rank: 2 trips per slice, pipelined; (n-1)/n S staged, S folded, (n-1)/n S gathered.
#include <vector>

#include "collectives/algorithms/algorithms.h"

namespace tutti::algorithms {

namespace {
enum Board : uint8_t { kStaged, kReduced };
}

Plan two_shot(const Shape& shape) {
  plan::Builder b(Collective::all_reduce, Algorithm::two_shot, shape);
  const int n = b.ranks();
  const int me = b.rank();
  b.chunks(n).areas(n);
  b.claim();
  b.block();

  // Everybody starts with the neighbour behind, so that no window is read by all at once.
  b.lag(2);
  for (int k = 1; k < n; ++k) {
    const int p = (me + k) % n;
    b.wait_board(p, kReduced);
    b.copy(b.chunk(p), b.slot(p, p), {b.output(b.chunk(p))});
  }

  b.lag(1);
  std::vector<plan::Location> operands;
  operands.reserve(b.ranks());
  for (int p = 0; p < n; ++p) {
    if (p != me) b.wait_board(p, kStaged);
    operands.push_back(p == me ? b.input(b.chunk(me)) : b.slot(p, me));
  }
  b.reduce(b.chunk(me), operands, {b.output(b.chunk(me)), b.slot(me, me)}, true);
  b.signal_board(kReduced);

  b.lag(0);
  for (int k = 1; k < n; ++k) {
    const int p = (me + k) % n;
    b.copy(b.chunk(p), b.input(b.chunk(p)), {b.slot(me, p)});
  }
  b.signal_board(kStaged);
  return b.take();
}

}  // namespace tutti::algorithms
