// Double binary tree all-reduce (P. Sanders, J. Speck, J. L. Traeff, "Two-tree algorithms for full bandwidth broadcast, reduction and
// scan", Parallel Computing 35, 2009).
//
// Two binary trees span the same members, and each carries half of the slices: the rail has two parts, one for each tree. Members that are
// inner nodes of one tree are leaves of the other (but for one of an odd number), so everybody's both directions are in use. Partial sums
// travel up to the root, results down.
//
// The first tree is in order: place p > 0 with lowest bit b has the subtree of places (p - b, p + b), and place 0 is the root, with one
// child. The second one is its mirror image for an even number of members and shifted by one place for an odd one.
//
// Counter `tree` of each pair of neighbours carries both ways of that tree; the two trees never share one. Of both trees, in this order:
//     down   await the result from the parent, in the kept area; put it to the children; copy it to the output
//     up     await the children's partial sums; fold with the own operands; put to the parent, or, at the root, finish and put to the
//            children
// Leaves go up on lag 0 and come down on lag `credits`; the levels between share these lags evenly, so that nobody waits for what has just
// been sent, as far as credits reach.
//
// No credit is returned: a result tells that the parent has read the partial sum of the same slice, and a partial sum of slice s tells that
// its sender, and everybody below, is done with the result of slice s - credits.
//
// Cost: 2 log2 n trips for the first slice, `credits` slices under way; each member sends and receives at most 2 S.
#include <algorithm>
#include <bit>
#include <vector>

#include "collectives/algorithms/algorithms.h"
#include "collectives/algorithms/exchange.h"

namespace tutti::algorithms {

namespace {

constexpr int kTrees = 2;
constexpr int kSides = 2;
constexpr int kMostUnderWay = 128;  // lags are small numbers

Needs needs(int /*members*/) {
  return {.parts = kTrees, .arrivals = kTrees * kSides, .partials = true, .kept = true, .uses_per_slice = 1};
}

/// A place's neighbours in a tree; -1: none.
struct Neighbours {
  int parent = -1;
  int lower = -1;   // child whose subtree stands before this place
  int higher = -1;  // child whose subtree stands after it
};

Neighbours in_order(int n, int place) {
  const auto top = static_cast<int>(std::bit_ceil(static_cast<unsigned>(n)));
  const int bit = place == 0 ? top : place & -place;
  Neighbours result;
  if (place != 0) {
    result.parent = (place ^ bit) | (bit << 1);
    if (result.parent >= n) result.parent = place ^ bit;
    if (bit > 1) result.lower = place - bit / 2;
  }
  int step = bit / 2;
  while (step > 0 && place + step >= n) step /= 2;
  if (step > 0) result.higher = place + step;
  return result;
}

Neighbours neighbours_of(int tree, int n, int place) {
  if (tree == 0) return in_order(n, place);
  const bool mirrored = n % 2 == 0;
  const auto turn = [&](int p) { return p < 0 ? p : mirrored ? n - 1 - p : (p + 1) % n; };
  const Neighbours first = in_order(n, mirrored ? n - 1 - place : (place + n - 1) % n);
  if (mirrored) return {turn(first.parent), turn(first.higher), turn(first.lower)};
  return {turn(first.parent), turn(first.lower), turn(first.higher)};
}

class Tree {
 public:
  Tree(const Member& member, int tree)
      : m_(member),
        b_(member.builder()),
        tree_(tree),
        at_(neighbours_of(tree, member.count(), member.place())) {
    int height = 1;
    for (int place = 0; place < m_.count(); ++place) height = std::max(height, depth_of(place));
    const int depth = depth_of(m_.place());
    const int credits = std::min(m_.credits(), kMostUnderWay);
    const int top = credits / 2;
    up_ = (height - depth) * top / height;
    down_ = top + std::max(1, depth * (credits - top) / height);
  }

  int up_lag() const { return up_; }
  /// From which on the part has its result.
  int down_lag() const { return down_; }

  void down() const {
    if (at_.parent < 0) return;
    b_.lag(down_);
    b_.wait_pair(m_.at(at_.parent), tree_);
    put_down();
    b_.copy(m_.chunk(tree_), m_.kept(tree_), {m_.output(tree_)});
  }

  void up() const {
    b_.lag(up_);
    std::vector<plan::Location> operands = m_.operands(tree_);
    if (at_.lower >= 0) operands.insert(operands.begin(), await_child(at_.lower, 0));
    if (at_.higher >= 0) operands.push_back(await_child(at_.higher, 1));
    if (at_.parent < 0) {
      m_.finish(tree_, operands, true);
      put_down();
      return;
    }
    plan::Location from = operands[0];
    if (operands.size() > 1) {
      from = m_.partial(tree_);
      b_.reduce(m_.chunk(tree_), operands, {from}, false);
    }
    const int parent = m_.at(at_.parent);
    const int side = neighbours_of(tree_, m_.count(), at_.parent).lower == m_.place() ? 0 : 1;
    b_.put(m_.chunk(tree_), from, {b_.slot(parent, m_.arrival(tree_ * kSides + side))});
    b_.signal_pair(parent, tree_);
  }

 private:
  int depth_of(int place) const {
    int depth = 0;
    while ((place = neighbours_of(tree_, m_.count(), place).parent) >= 0) ++depth;
    return depth;
  }

  plan::Location await_child(int place, int side) const {
    b_.wait_pair(m_.at(place), tree_);
    return m_.arrived(tree_ * kSides + side);
  }

  void put_down() const {
    for (const int child : {at_.lower, at_.higher}) {
      if (child < 0) continue;
      b_.put(m_.chunk(tree_), m_.kept(tree_), {m_.kept(tree_, m_.at(child))});
      b_.signal_pair(m_.at(child), tree_);
    }
  }

  const Member& m_;
  plan::Builder& b_;
  int tree_;
  Neighbours at_;
  int up_ = 0;
  int down_ = 0;
};

void emit(const Member& m) {
  plan::Builder& b = m.builder();
  const std::vector<Tree> trees{Tree(m, 0), Tree(m, 1)};
  for (const Tree& tree : trees) tree.down();
  b.lag(std::max(trees[0].down_lag(), trees[1].down_lag()));
  m.publish();
  b.lag(0);
  m.await_contributions();
  m.await_readers();
  for (const Tree& tree : trees) tree.up();
  b.lag(std::max(trees[0].up_lag(), trees[1].up_lag()));
  m.end_contributions();
}

}  // namespace

const Exchange kDoubleBinaryTree{needs, emit};

Plan double_binary_tree(const Shape& shape) {
  return flat(Algorithm::double_binary_tree, shape, kDoubleBinaryTree);
}

}  // namespace tutti::algorithms
