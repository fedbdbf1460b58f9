// Recursive doubling all-reduce (Thakur, Rabenseifner and Gropp, "Optimization of collective communication
// operations in MPICH", 2005), with the usual folding where n is not a power of two.
//
// m is the largest power of two <= n. The first 2(n - m) ranks fold in pairs: the odd one sends its input to
// the even one and gets the result at the end. The m ranks left exchange their whole partial result with
// partner `place XOR 2^k` in round k. Places keep the order of ranks, so every partial result covers
// consecutive ranks; the lower block is always the left operand, and both partners compute the same
// expression: all ranks get bitwise the same.
//
// Areas in each window: 0 folding in, 1 result out, 2 + k round k. Each is written by one peer only.
// Cost: log2 m (+ 2) trips; every rank sends and receives S per round.
#include <array>
#include <bit>

#include "collectives/algorithms/algorithms.h"

namespace tutti::algorithms {

namespace {

enum Pair : uint8_t { kData, kCredit };
enum Area : uint8_t { kFoldIn, kResultOut, kRounds };

void send(plan::Builder& b, int peer, const plan::Location& from, int area) {
  b.wait_pair_credit(peer, kCredit);
  b.put({}, from, {b.slot(peer, area)});
  b.signal_pair(peer, kData);
}

}  // namespace

Plan recursive_doubling(const Shape& shape) {
  plan::Builder b(Collective::all_reduce, Algorithm::recursive_doubling, shape);
  const int n = b.ranks();
  const int me = b.rank();
  const int m = static_cast<int>(std::bit_floor(static_cast<unsigned>(n)));
  const int rounds = std::countr_zero(static_cast<unsigned>(m));
  const int folded = n - m;  // ranks below 2 * folded are in pairs
  b.areas(kRounds + rounds);
  b.claim();
  b.block();

  if (me < 2 * folded && me % 2 == 1) {
    send(b, me - 1, b.input(), kFoldIn);
    b.wait_pair(me - 1, kData);
    b.copy({}, b.slot(me, kResultOut), {b.output()});
    b.signal_pair(me - 1, kCredit);
    return b.take();
  }

  plan::Location partial = b.input();
  if (me < 2 * folded) {
    b.wait_pair(me + 1, kData);
    b.reduce({}, std::array{b.input(), b.slot(me, kFoldIn)}, {b.output()}, false);
    b.signal_pair(me + 1, kCredit);
    partial = b.output();
  }
  const int place = me < 2 * folded ? me / 2 : me - folded;
  for (int k = 0; k < rounds; ++k) {
    const int other = place ^ (1 << k);
    const int peer = other < folded ? 2 * other : other + folded;
    send(b, peer, partial, kRounds + k);
    b.wait_pair(peer, kData);
    const plan::Location arrived = b.slot(me, kRounds + k);
    const std::array operands = other < place ? std::array{arrived, partial} : std::array{partial, arrived};
    b.reduce({}, operands, {b.output()}, k == rounds - 1);
    b.signal_pair(peer, kCredit);
    partial = b.output();
  }
  if (me < 2 * folded) send(b, me + 1, b.output(), kResultOut);
  return b.take();
}

}  // namespace tutti::algorithms
