#include "collectives/algorithms/exchange.h"

#include <bit>

namespace tutti::algorithms {

Member::Member(plan::Builder& b, const Nodes& nodes, int rail, const Needs& needs, int credits, Inside inside)
    : b_(b),
      others_(nodes.others_here(nodes.owner(nodes.mine, rail))),
      place_(nodes.mine),
      rail_(rail),
      parts_(needs.parts),
      credits_(credits),
      inside_(inside) {
  for (int node = 0; node < nodes.count(); ++node) members_.push_back(nodes.owner(node, rail));
  const bool shared = nodes.any_shared();
  kept_ = shared || needs.partials ? nodes.rails * parts_ : 0;
  arrivals_ = kept_ + (shared || needs.kept ? parts_ : 0);
  b.chunks(nodes.rails * parts_).areas(arrivals_ + needs.arrivals, needs.uses_per_slice);
}

void Member::await_contributions() const {
  if (inside_ == Inside::packets) return;
  for (const int rank : others_) b_.wait_board(rank, kStaged);
}

std::vector<plan::Location> Member::operands(int part) const {
  std::vector<plan::Location> operands;
  const auto area = rail_ * parts_ + part;
  bool listed = false;
  const auto list_mine = [&] {
    if (!listed) operands.push_back(input(part));
    listed = true;
  };
  for (const int rank : others_) {
    if (rank > me()) list_mine();
    operands.push_back(inside_ == Inside::packets ? b_.packets(rank, kContribution) : b_.slot(rank, area));
  }
  list_mine();
  return operands;
}

plan::Location Member::fold(int part) const {
  if (alone()) return input(part);
  if (inside_ == Inside::packets) {
    b_.reduce_packets(operands(part), partial(part), false);
  } else {
    b_.reduce(chunk(part), operands(part), {partial(part)}, false);
  }
  return partial(part);
}

void Member::end_contributions() const {
  if (inside_ == Inside::packets) return;
  for (const int rank : others_) b_.signal_pair(rank, kFolded);
}

void Member::await_readers() const {
  if (inside_ == Inside::packets) return;
  for (const int rank : others_) b_.wait_pair_credit(rank, kCopied);
}

void Member::finish(int part, std::span<const plan::Location> operands, bool keep) const {
  if (keep || (!alone() && inside_ == Inside::slots)) {
    b_.reduce(chunk(part), operands, {output(part), kept(part)}, true);
  } else {
    b_.reduce(chunk(part), operands, {output(part)}, true);
  }
}

void Member::deliver(int part, const plan::Location& from) const {
  if (alone() || inside_ == Inside::packets) {
    b_.copy(chunk(part), from, {output(part)});
  } else {
    b_.copy(chunk(part), from, {output(part), kept(part)});
  }
}

plan::Location Member::finished(int part) const {
  return alone() || inside_ == Inside::packets ? output(part) : kept(part);
}

void Member::publish() const {
  if (alone()) return;
  if (inside_ == Inside::packets) {
    b_.put_packets(output(0), b_.packets(me(), kResult));
  } else {
    b_.signal_board(kFinished);
  }
}

Folding folding_of(int members, int place) {
  Folding f;
  f.left = static_cast<int>(std::bit_floor(static_cast<unsigned>(members)));
  f.rounds = std::countr_zero(static_cast<unsigned>(f.left));
  f.extra = members - f.left;
  f.paired = place < 2 * f.extra;
  f.handed = f.paired && place % 2 == 1;
  f.place = f.paired ? place / 2 : place - f.extra;
  return f;
}

plan::Plan flat(plan::Algorithm algorithm, const plan::Shape& shape, const Exchange& exchange) {
  Nodes nodes;
  for (int r = 0; r < shape.ranks; ++r) nodes.ranks.push_back({r});
  nodes.mine = shape.rank;
  plan::Builder b(Collective::all_reduce, algorithm, shape);
  const Member member(b, nodes, 0, exchange.needs(shape.ranks), shape.credits, Member::Inside::slots);
  b.claim();
  b.block();
  exchange.emit(member);
  return b.take();
}

}  // namespace tutti::algorithms
