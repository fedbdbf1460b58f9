// Symbolic values of the verifier: what an element holds, as a hash-consed expression over the ranks' inputs.
//
// All steps work element by element, so an expression speaks about one element index, which the cell that holds it keeps
// beside it. Expressions: 0 is undefined; leaf(rank); fold(left, right); rounded(x), the end of a reduce step, because
// values are rounded to the user's type only there; final(x), the end of the reduce step in which avg divides.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tutti::plan {

using Expression = uint32_t;
inline constexpr Expression kUndefined = 0;

class Values {
 public:
  explicit Values(uint32_t ranks);

  Expression leaf(uint32_t rank) const { return rank + 1; }
  Expression fold(Expression left, Expression right) { return intern(Kind::fold, left, right); }
  Expression rounded(Expression value) { return intern(Kind::rounded, value, 0); }
  Expression final(Expression value) { return intern(Kind::final, value, 0); }

  /// What an all-reduce may hold at the end.
  struct Summary {
    bool known = false;
    bool once = false;        // every rank's leaf exactly once
    bool cyclic = false;      // leaves are first, first + 1, ..., modulo the number of ranks
    bool final_once = false;  // `final` once, outermost
    uint32_t first = 0;       // rank of the leftmost leaf
  };
  const Summary& summary(Expression value);

  /// For messages: "final(0 + 1 + 2)".
  std::string text(Expression value) const;

 private:
  enum class Kind : uint8_t { undefined, leaf, fold, rounded, final };
  struct Node {
    Kind kind;
    Expression left;
    Expression right;
  };

  Expression intern(Kind kind, Expression left, Expression right);
  void grow();
  void leaves(Expression value, std::vector<uint32_t>& ranks, int& finals) const;

  uint32_t ranks_;
  std::vector<Node> nodes_;
  std::vector<Expression> table_;  // open addressing; 0 = empty
  std::vector<Summary> summaries_;
};

}  // namespace tutti::plan
