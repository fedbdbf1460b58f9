#include "collectives/algorithms/spread.h"

#include <algorithm>

namespace tutti::algorithms {

namespace {
enum Way : uint8_t { kData };        // to higher places
enum WayBack : uint8_t { kCredit };  // to lower places
}  // namespace

Holder::Holder(plan::Builder& b, const Nodes& nodes, int rail, const SpreadNeeds& needs, int credits)
    : b_(b),
      nodes_(nodes),
      others_(nodes.others_here(nodes.owner(nodes.mine, rail))),
      rail_(rail),
      parts_(needs.parts),
      credits_(credits) {
  const int first = nodes.node_of(b.root());
  for (int i = 0; i < nodes.count(); ++i) members_.push_back(nodes.owner((first + i) % nodes.count(), rail));
  place_ = (nodes.mine - first + nodes.count()) % nodes.count();
  const bool staged = nodes.ranks[static_cast<size_t>(first)].size() > 1;
  kept_ = staged ? nodes.rails * parts_ : 0;
  b.chunks(nodes.rails * parts_).areas(kept_ + parts_, needs.uses_per_slice);
}

int Holder::behind() const {
  return std::clamp(credits_ / 2, 1, kLongestHop);
}

plan::Location Holder::source(int part) const {
  if (place_ > 0) return kept(part);
  if (others_.empty()) return output(part);
  return b_.slot(b_.root(), rail_ * parts_ + part);
}

void Holder::begin() const {
  if (b_.rank() != b_.root()) {
    b_.wait_board(b_.root(), kStaged);
  } else if (others_.empty()) {
    // The output is never overwritten again, so it is what puts may read.
    for (int part = 0; part < parts_; ++part) b_.copy(chunk(part), b_.input(chunk(part)), {output(part)});
  } else {
    stage();
  }
}

void Holder::stage() const {
  for (const int rank : others_) {
    b_.wait_pair_credit(rank, kCopied);
    if (nodes_.rail_of(rank) >= 0) b_.wait_pair_credit(rank, kSent);
  }
  for (int c = 0; c < nodes_.rails * parts_; ++c) {
    b_.copy(b_.chunk(c), b_.input(b_.chunk(c)), {b_.output(b_.chunk(c)), b_.slot(b_.rank(), c)});
  }
  b_.signal_board(kStaged);
}

void Holder::publish() const {
  if (place_ == 0) return;
  if (!others_.empty()) b_.signal_board(kFinished);
  for (int part = 0; part < parts_; ++part) b_.copy(chunk(part), kept(part), {output(part)});
}

void Holder::release(const std::vector<int>& receivers, int source) const {
  const bool root = b_.rank() == b_.root();
  if (root && others_.empty()) return;
  for (const int receiver : receivers) b_.flush(receiver);
  if (root) return;
  if (place_ == 0) {
    b_.signal_pair(b_.root(), kSent);
    return;
  }
  for (const int rank : others_) b_.wait_pair(rank, kCopied);
  b_.signal_pair(source, kCredit);
}

void hand_on(const Holder& h, int parent, const std::vector<int>& children) {
  plan::Builder& b = h.builder();
  b.lag(h.behind());
  h.release(children, parent);
  b.lag(0);
  if (parent < 0) {
    h.begin();
  } else {
    b.wait_pair(parent, kData);
  }
  for (const int child : children) {
    b.wait_pair_credit(child, kCredit);
    b.put(h.chunk(0), h.source(0), {h.kept(0, child)});
    b.signal_pair(child, kData);
  }
  h.publish();
}

plan::Plan flat(plan::Algorithm algorithm, const plan::Shape& shape, const Spread& spread) {
  Nodes nodes;
  for (int r = 0; r < shape.ranks; ++r) nodes.ranks.push_back({r});
  nodes.mine = shape.rank;
  plan::Builder b(Collective::broadcast, algorithm, shape);
  const Holder holder(b, nodes, 0, spread.needs(shape.ranks), shape.credits);
  b.claim();
  b.block();
  spread.emit(holder);
  return b.take();
}

}  // namespace tutti::algorithms
