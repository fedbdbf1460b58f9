// Direct exchange among the members of a group: everybody reduces one part, in two trips (Rabenseifner's reduce-scatter and all-gather
// with a fully connected exchange).
//
// The rail is cut into as many parts as there are members, and the member at place i owns part i. Three stages, `hop` lags apart,
// latest first, so that what a stage awaits was sent that many slices ago:
//     deliver      await every other member's result; it lies in the kept areas; copy it to the output
//     reduce       await everybody's contribution to my part; fold them in the order of places; put the result to everybody
//     contribute   fold my node's operands of every other part and put each to its owner
// Place i begins with place i + 1, so that the members do not all put to one first.
//
// Two pair channels in each direction: kContributed and kReduced. No credit is returned between members: a contribution to slice s tells
// that its sender has finished slice s - 2 hop, and that the readers of its kept areas have copied slice s - credits. So with
// 2 hop credits every slot is free when it is written, and every put that the slot was the source of has ended, as the verifier proves.
//
// Cost: two trips per slice, pipelined; each member sends and receives 2 (n - 1) / n of the rail; folds n parts of 1 / n.
#include <vector>

#include "collectives/algorithms/exchange.h"

namespace tutti::algorithms {

namespace {

enum Pair : uint8_t { kContributed, kReduced };

Needs needs(int members) {
  return {.parts = members, .arrivals = members, .partials = false, .kept = true, .uses_per_slice = 1};
}

void deliver(const Member& m) {
  plan::Builder& b = m.builder();
  for (int d = 1; d < m.count(); ++d) b.wait_pair(m.at(m.place() + d), kReduced);
  m.publish();
  for (int d = 1; d < m.count(); ++d) {
    const int part = (m.place() + d) % m.count();
    b.copy(m.chunk(part), m.kept(part), {m.output(part)});
  }
}

void reduce(const Member& m) {
  plan::Builder& b = m.builder();
  const int mine = m.place();
  std::vector<plan::Location> operands;
  operands.reserve(static_cast<size_t>(m.count()));
  for (int p = 0; p < m.count(); ++p) {
    if (p != mine) b.wait_pair(m.at(p), kContributed);
    operands.push_back(p != mine ? m.arrived(p) : m.alone() ? m.input(mine) : m.partial(mine));
  }
  m.finish(mine, operands, false);
  for (int d = 1; d < m.count(); ++d) {
    const int peer = m.at(mine + d);
    b.put(m.chunk(mine), m.finished(mine), {m.kept(mine, peer)});
    b.signal_pair(peer, kReduced);
  }
}

void contribute(const Member& m) {
  plan::Builder& b = m.builder();
  m.await_contributions();
  m.await_readers();
  for (int d = 1; d < m.count(); ++d) {
    const int part = (m.place() + d) % m.count();
    const int peer = m.at(part);
    b.put(m.chunk(part), m.fold(part), {b.slot(peer, m.arrival(m.place()))});
    b.signal_pair(peer, kContributed);
  }
  m.fold(m.place());
  m.end_contributions();
}

void emit(const Member& m) {
  plan::Builder& b = m.builder();
  b.lag(2 * m.hop());
  deliver(m);
  b.lag(m.hop());
  reduce(m);
  b.lag(0);
  contribute(m);
}

}  // namespace

const Exchange kDirect{needs, emit};

}  // namespace tutti::algorithms
