// Ring all-reduce (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
// workstations", 2009).
//
// The message is cut into n chunks. Partial sums travel from rank to rank; in window of rank i lies one area,
// written by rank i - 1 only. For every slice there are 2(n-1) hops, numbered h:
//
//     h = 0              send    my chunk i
//     h = 1 .. n-2       pass on arrived partial sum + my chunk (i - h)
//     h = n-1            finish  chunk i + 1: arrived + mine -> output, and pass on
//     h = n .. 2n-3      pass on arrived finished chunk (i + 1 - (h - (n-1))) -> output and the next rank
//     (last)             arrived finished chunk i + 2 -> output, pass nothing on
//
// Hop h of slice s uses slot s * 2(n-1) + h of the ring of slots. Channel kData counts arrived slots;
// kCredit, in the other direction, counts slots that are free again. Chunk c is summed in the order c, c+1,
// ..., c-1 by exactly one chain, and copied: all ranks get bitwise the same. Cost: 2(n-1) hops; every rank
// sends and receives 2(n-1)/n S, to one neighbour only.
//
// Between nodes the hops are the same, but a rank folds into a slot of its own and puts from there, and a finished chunk is put from
// where it is kept, so that the slot it arrived in is free at once. The next rank's credit tells that the put has ended, too.
#include <array>
#include <vector>

#include "collectives/algorithms/algorithms.h"
#include "collectives/algorithms/exchange.h"

namespace tutti::algorithms {

namespace {

enum Pair : uint8_t { kData, kCredit };
enum Area : uint8_t { kArrived, kSent, kAreas };

Needs needs(int members) {
  return {.parts = members,
          .arrivals = kAreas,
          .partials = false,
          .kept = false,
          .uses_per_slice = static_cast<uint32_t>(2 * (members - 1))};
}

/// One member's hops. Slots and counts of hop h are those of the hop.
class Hops {
 public:
  explicit Hops(const Member& member) : m_(member), b_(member.builder()), n_(member.count()) {}

  /// Hop 0 .. n - 2: my chunk, then partial sums on their way.
  void pass_partial(int hop) const {
    const int part = part_of(hop);
    std::vector<plan::Location> operands = m_.operands(part);
    if (hop > 0) {
      await(hop);
      operands.insert(operands.begin(), arrived(hop));
    }
    b_.wait_pair_credit(next(), kCredit, count(hop));
    plan::Location from = operands[0];
    if (operands.size() > 1) {
      from = b_.slot(m_.me(), m_.arrival(kSent), count(hop));
      b_.reduce(m_.chunk(part), operands, {from}, false);
    }
    put(part, from, hop);
    if (hop > 0) free(hop);
  }

  /// Hop n - 1: the sum is complete.
  void finish() const {
    const int hop = n_ - 1;
    const int part = part_of(hop);
    std::vector<plan::Location> operands = m_.operands(part);
    await(hop);
    operands.insert(operands.begin(), arrived(hop));
    b_.wait_pair_credit(next(), kCredit, count(hop));
    m_.await_readers();
    m_.finish(part, operands, false);
    m_.end_contributions();
    put(part, m_.finished(part), hop);
    free(hop);
  }

  /// Hop n .. 2n - 2: finished chunks; the last one is not passed on.
  void pass_finished(int hop) const {
    const int part = part_of(hop);
    const bool last = hop == 2 * (n_ - 1);
    await(hop);
    if (!last) b_.wait_pair_credit(next(), kCredit, count(hop));
    m_.deliver(part, arrived(hop));
    if (!last) put(part, m_.finished(part), hop);
    free(hop);
  }

 private:
  int next() const { return m_.at(m_.place() + 1); }
  int prev() const { return m_.at(m_.place() + n_ - 1); }
  int part_of(int hop) const { return ((m_.place() - hop) % n_ + n_) % n_; }
  plan::Affine count(int hop) const { return {hop, 0, 2 * (n_ - 1), 0}; }
  /// What the hop before of the rank before has brought.
  plan::Location arrived(int hop) const { return b_.slot(m_.me(), m_.arrival(kArrived), count(hop - 1)); }
  void await(int hop) const { b_.wait_pair(prev(), kData, count(hop - 1)); }
  void free(int hop) const { b_.signal_pair(prev(), kCredit, count(hop - 1)); }
  void put(int part, const plan::Location& from, int hop) const {
    b_.put(m_.chunk(part), from, {b_.slot(next(), m_.arrival(kArrived), count(hop))});
    b_.signal_pair(next(), kData, count(hop));
  }

  const Member& m_;
  plan::Builder& b_;
  int n_;
};

void emit(const Member& m) {
  const Hops hops(m);
  const int n = m.count();
  m.await_contributions();
  for (int hop = 0; hop < n - 1; ++hop) hops.pass_partial(hop);
  hops.finish();
  for (int hop = n; hop <= 2 * (n - 1); ++hop) hops.pass_finished(hop);
  m.publish();
}

}  // namespace

const Exchange kRing{needs, emit};

Plan ring(const Shape& shape) {
  if (spans_nodes(shape)) return flat(Algorithm::ring, shape, kRing);
  plan::Builder b(Collective::all_reduce, Algorithm::ring, shape);
  const int n = b.ranks();
  const int me = b.rank();
  const int next = (me + 1) % n;
  const int prev = (me + n - 1) % n;
  const int hops = 2 * (n - 1);
  b.chunks(n).areas(1, static_cast<uint32_t>(hops));
  b.claim();

  const auto at_hop = [&](int hop, int per_round = 0) { return plan::Affine{hop, per_round, hops, 0}; };
  const auto mine = [&](plan::Affine hop) { return b.slot(me, 0, hop); };
  const auto theirs = [&](plan::Affine hop) { return b.slot(next, 0, hop); };
  const auto chunk = [&](int index, int per_round = 0) { return b.chunk((index % n + n) % n, per_round, n); };
  // Every hop but the first takes a slot that has arrived; every hop but the last fills one of the next rank.
  const auto await_hop = [&](plan::Affine arrived, plan::Affine filled) {
    b.wait_pair(prev, kData, arrived);
    b.wait_pair_credit(next, kCredit, filled);
  };
  const auto end_hop = [&](plan::Affine arrived, plan::Affine filled) {
    b.signal_pair(next, kData, filled);
    b.signal_pair(prev, kCredit, arrived);
  };

  b.block();  // send: hop 0
  b.wait_pair_credit(next, kCredit, at_hop(0));
  b.put(chunk(me), b.input(chunk(me)), {theirs(at_hop(0))});
  b.signal_pair(next, kData, at_hop(0));

  b.block(static_cast<uint32_t>(n - 2));  // add and pass on: hop = round + 1
  await_hop(at_hop(0, 1), at_hop(1, 1));
  b.reduce(chunk(me - 1, -1), std::array{mine(at_hop(0, 1)), b.input(chunk(me - 1, -1))},
           {theirs(at_hop(1, 1))}, false);
  end_hop(at_hop(0, 1), at_hop(1, 1));

  b.block();  // finish my chunk: hop n - 1
  await_hop(at_hop(n - 2), at_hop(n - 1));
  b.reduce(chunk(me + 1), std::array{mine(at_hop(n - 2)), b.input(chunk(me + 1))},
           {b.output(chunk(me + 1)), theirs(at_hop(n - 1))}, true);
  end_hop(at_hop(n - 2), at_hop(n - 1));

  b.block(static_cast<uint32_t>(n - 2));  // pass finished chunks on: hop = n + round
  await_hop(at_hop(n - 1, 1), at_hop(n, 1));
  b.put(chunk(me, -1), mine(at_hop(n - 1, 1)), {b.output(chunk(me, -1)), theirs(at_hop(n, 1))});
  end_hop(at_hop(n - 1, 1), at_hop(n, 1));

  b.block();  // the last finished chunk
  b.wait_pair(prev, kData, at_hop(hops - 1));
  b.copy(chunk(me + 2), mine(at_hop(hops - 1)), {b.output(chunk(me + 2))});
  b.signal_pair(prev, kCredit, at_hop(hops - 1));
  return b.take();
}

}  // namespace tutti::algorithms
