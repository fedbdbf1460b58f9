// Halving-doubling all-reduce (R. Rabenseifner, "Optimization of collective reduction operations", 2004): reduce-scatter by recursive
// halving of the data, all-gather by recursive doubling.
//
// m is the largest power of two that is not larger than the number of members; the rail is cut into m parts. Where there are more
// members, the first 2 (n - m) fold in pairs before and share the result after, as in recursive_doubling.cpp.
//     halving    round r: with the member whose place differs in bit r, exchange half of the parts that are left: the one with bit r
//                clear keeps the lower half. The upper member's operand stands right, so operands stay in the order of places.
//     doubling   the same partners in the opposite order; each puts all parts that it has finished into the other's kept areas.
// The doubling of slice s - 1 (lag 1) and the halving of slice s (lag 0) take turns round by round, so that one is under way while
// the other is folded.
//
// Pair channels: kHalf and kGathered, each way. No credit is returned: the exchange is symmetrical, so a half of slice s tells that the
// partner is done with slice s - 2, and a partner puts a finished slice into a kept area only after it has awaited a half that was sent
// when that area was free. Two credits suffice, as the verifier proves.
//
// Cost: 2 log2 m trips (and 2 for the pairs); each member sends and receives 2 (m - 1) / m of the rail.
#include <numeric>
#include <vector>

#include "collectives/algorithms/algorithms.h"
#include "collectives/algorithms/exchange.h"

namespace tutti::algorithms {

namespace {

enum Pair : uint8_t { kHalf, kGathered };

Needs needs(int members) {
  const int parts = folding_of(members, 0).left;
  const bool pairs = parts != members;
  // One for every part that comes in while halving, and for the parts of a pair.
  return {.parts = parts,
          .arrivals = parts - 1 + (pairs ? parts : 0),
          .partials = true,
          .kept = true,
          .uses_per_slice = 1};
}

/// The state of the halving while steps are written.
class Halving {
 public:
  Halving(const Member& member, const Folding& folding)
      : m_(member), b_(member.builder()), f_(folding), operands_(static_cast<size_t>(f_.left)) {
    left_.emplace_back(static_cast<size_t>(f_.left));
    std::iota(left_[0].begin(), left_[0].end(), 0);
    for (int round = 0; round < f_.rounds; ++round) left_.push_back(half(round, true));
    for (const int part : left_[0]) operands_[static_cast<size_t>(part)] = m_.operands(part);
  }

  void take_pair() {
    if (!f_.paired) return;
    b_.wait_pair(m_.at(m_.place() + 1), kHalf);
    for (const int part : left_[0]) operands_of(part).push_back(m_.arrived(f_.left - 1 + part));
  }

  void put_half(int round) {
    const int peer = peer_of(round);
    int arrival = first_arrival(round);
    for (const int part : half(round, false)) {
      b_.put(m_.chunk(part), folded(part), {b_.slot(peer, m_.arrival(arrival++))});
    }
    b_.signal_pair(peer, kHalf);
  }

  void take_half(int round) {
    b_.wait_pair(peer_of(round), kHalf);
    int arrival = first_arrival(round);
    const bool upper = (f_.place >> round & 1) != 0;
    for (const int part : left_[static_cast<size_t>(round) + 1]) {
      std::vector<plan::Location>& operands = operands_of(part);
      operands.insert(upper ? operands.begin() : operands.end(), m_.arrived(arrival++));
      if (round == f_.rounds - 1) {
        m_.finish(part, operands, true);
      } else {
        folded(part);
      }
    }
  }

  void put_finished(int round) {
    const int peer = peer_of(round);
    for (const int part : left_[static_cast<size_t>(round) + 1]) {
      b_.put(m_.chunk(part), m_.kept(part), {m_.kept(part, peer)});
    }
    b_.signal_pair(peer, kGathered);
  }

  void take_finished(int round) {
    b_.wait_pair(peer_of(round), kGathered);
    for (const int part : half(round, false)) b_.copy(m_.chunk(part), m_.kept(part), {m_.output(part)});
  }

 private:
  int peer_of(int round) const { return m_.at(f_.in_group(f_.place ^ (1 << round))); }

  /// Of the parts left before `round`, the half that this member keeps, or the other one.
  std::vector<int> half(int round, bool mine) const {
    const std::vector<int>& before = left_[static_cast<size_t>(round)];
    const auto middle = before.begin() + static_cast<std::ptrdiff_t>(before.size() / 2);
    const bool upper = ((f_.place >> round & 1) != 0) == mine;
    return upper ? std::vector<int>(middle, before.end()) : std::vector<int>(before.begin(), middle);
  }

  /// Areas of the rounds before: m / 2 + m / 4 + ...
  int first_arrival(int round) const { return f_.left - (f_.left >> round); }

  std::vector<plan::Location>& operands_of(int part) { return operands_[static_cast<size_t>(part)]; }

  /// One location that holds all operands of a part, folded where they are several.
  plan::Location folded(int part) {
    std::vector<plan::Location>& operands = operands_of(part);
    if (operands.size() > 1) {
      b_.reduce(m_.chunk(part), operands, {m_.partial(part)}, false);
      operands = {m_.partial(part)};
    }
    return operands[0];
  }

  const Member& m_;
  plan::Builder& b_;
  Folding f_;
  std::vector<std::vector<int>> left_;                 // by round: the parts not yet given away before it
  std::vector<std::vector<plan::Location>> operands_;  // by part
};

/// The one of a pair that only hands over and takes the result. Its result comes while its partner has the next slice's operands.
void hand_over(const Member& m, const Folding& f) {
  plan::Builder& b = m.builder();
  const int partner = m.at(m.place() - 1);
  b.lag(2);
  b.wait_pair(partner, kGathered);
  m.await_readers();
  for (int part = 0; part < f.left; ++part) m.deliver(part, m.arrived(f.left - 1 + part));
  m.publish();
  b.lag(0);
  m.await_contributions();
  for (int part = 0; part < f.left; ++part) {
    b.put(m.chunk(part), m.fold(part), {b.slot(partner, m.arrival(f.left - 1 + part))});
  }
  b.signal_pair(partner, kHalf);
  m.end_contributions();
}

void give_back(const Member& m, const Folding& f) {
  plan::Builder& b = m.builder();
  const int partner = m.at(m.place() + 1);
  for (int part = 0; part < f.left; ++part) {
    b.put(m.chunk(part), m.kept(part), {b.slot(partner, m.arrival(f.left - 1 + part))});
  }
  b.signal_pair(partner, kGathered);
}

void emit(const Member& m) {
  const Folding f = folding_of(m.count(), m.place());
  if (f.handed) return hand_over(m, f);
  plan::Builder& b = m.builder();
  Halving halving(m, f);
  for (int k = 0; k < f.rounds; ++k) {
    b.lag(1);
    halving.put_finished(f.rounds - 1 - k);
    b.lag(0);
    if (k == 0) {
      m.await_contributions();
      m.await_readers();
      halving.take_pair();
    }
    halving.put_half(k);
    b.lag(1);
    halving.take_finished(f.rounds - 1 - k);
    b.lag(0);
    halving.take_half(k);
    if (k == 0) m.end_contributions();
  }
  b.lag(1);
  m.publish();
  if (f.paired) give_back(m, f);
}

}  // namespace

const Exchange kHalving{needs, emit};

Plan halving_doubling(const Shape& shape) {
  return flat(Algorithm::halving_doubling, shape, kHalving);
}

}  // namespace tutti::algorithms
