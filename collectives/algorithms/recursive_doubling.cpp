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
//
// Between nodes the same exchange runs in stages, latest first: a round awaits what was put `hop` lags before, folds it into a slot of its
// own, because a posted put still reads the partial result before, and puts that. Partners need no credits: the exchange is symmetrical,
// so data of slice s tell that the partner is done with slice s - hop; with 2 hop credits every slot is free when it is written. Only a
// folded pair, whose ways are of different length, returns credit.
#include <array>
#include <bit>

#include "collectives/algorithms/algorithms.h"
#include "collectives/algorithms/exchange.h"

namespace tutti::algorithms {

namespace {

enum Pair : uint8_t { kData, kCredit };
enum Area : uint8_t { kFoldIn, kResultOut, kRounds };

void send(plan::Builder& b, int peer, const plan::Location& from, int area) {
  b.wait_pair_credit(peer, kCredit);
  b.put({}, from, {b.slot(peer, area)});
  b.signal_pair(peer, kData);
}

Needs needs(int members) {
  const int rounds = folding_of(members, 0).rounds;
  return {
      .parts = 1, .arrivals = kRounds + 2 * rounds, .partials = false, .kept = false, .uses_per_slice = 1};
}

/// One member's stages.
class Doubling {
 public:
  Doubling(const Member& member, const Folding& folding) : m_(member), b_(member.builder()), f_(folding) {}

  /// The odd one of a pair.
  void hand_over() const {
    const int partner = m_.at(m_.place() - 1);
    b_.lag((f_.rounds + 2) * m_.hop());
    b_.wait_pair(partner, kData);
    m_.await_readers();
    m_.deliver(0, m_.arrived(kResultOut));
    if (m_.paced()) b_.signal_pair(partner, kCredit);
    m_.publish();
    b_.lag(0);
    m_.await_contributions();
    if (m_.paced()) b_.wait_pair_credit(partner, kCredit);
    put(partner, m_.fold(0), kFoldIn);
    m_.end_contributions();
  }

  void exchange() const {
    for (int k = f_.rounds; k > 0; --k) {
      b_.lag(start() + k * m_.hop());
      if (k == f_.rounds) {
        finish();
      } else {
        b_.wait_pair(peer(k - 1), kData);
        b_.reduce(m_.chunk(0), operands(k - 1), {partial(k)}, false);
        put(peer(k), partial(k), kRounds + k);
      }
    }
    begin();
  }

 private:
  int peer(int round) const { return m_.at(f_.in_group(f_.place ^ (1 << round))); }
  int partner() const { return m_.at(m_.place() + 1); }
  /// The lag of the first round: after a pair has been folded.
  int start() const { return f_.paired ? m_.hop() : 0; }

  /// What this member puts in a round. Each round has its own area: the put of the round before may still be reading.
  plan::Location partial(int round) const {
    if (round > 0 || f_.paired) return m_.arrived(kRounds + f_.rounds + round);
    return m_.alone() ? m_.input(0) : m_.partial(0);
  }

  /// What is folded after a round: the lower places stand left.
  std::array<plan::Location, 2> operands(int round) const {
    const plan::Location arrived = m_.arrived(kRounds + round);
    if ((f_.place >> round & 1) != 0) return {arrived, partial(round)};
    return {partial(round), arrived};
  }

  void put(int to, const plan::Location& from, int area) const {
    b_.put(m_.chunk(0), from, {b_.slot(to, m_.arrival(area))});
    b_.signal_pair(to, kData);
  }

  void begin() const {
    if (f_.paired) {
      b_.lag(start());
      b_.wait_pair(partner(), kData);
      const plan::Location mine = m_.alone() ? m_.input(0) : m_.partial(0);
      b_.reduce(m_.chunk(0), std::array{mine, m_.arrived(kFoldIn)}, {partial(0)}, false);
      if (m_.paced()) b_.signal_pair(partner(), kCredit);
      put(peer(0), partial(0), kRounds);
    }
    b_.lag(0);
    m_.await_contributions();
    m_.fold(0);
    if (!f_.paired) put(peer(0), partial(0), kRounds);
    m_.end_contributions();
  }

  void finish() const {
    const int last = f_.rounds - 1;
    m_.await_readers();
    if (f_.paired && m_.paced()) b_.wait_pair_credit(partner(), kCredit);
    b_.wait_pair(peer(last), kData);
    // In place, the output is the source of the first put.
    if (!f_.paired && m_.alone()) b_.flush(peer(0));
    m_.finish(0, operands(last), false);
    m_.publish();
    if (f_.paired) put(partner(), m_.finished(0), kResultOut);
  }

  const Member& m_;
  plan::Builder& b_;
  Folding f_;
};

void emit(const Member& m) {
  const Folding folding = folding_of(m.count(), m.place());
  const Doubling doubling(m, folding);
  if (folding.handed) {
    doubling.hand_over();
  } else {
    doubling.exchange();
  }
}

}  // namespace

const Exchange kDoubling{needs, emit};

Plan recursive_doubling(const Shape& shape) {
  if (spans_nodes(shape)) {
    Shape between = shape;
    between.credits = std::max<uint16_t>(shape.credits, 2);
    return flat(Algorithm::recursive_doubling, between, kDoubling);
  }
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
