#include "collectives/plan/verifier_values.h"

#include <fmt/format.h>

namespace tutti::plan {

namespace {
constexpr size_t kFirstTable = 256;

size_t hash(uint32_t kind, Expression left, Expression right) {
  uint64_t x = (uint64_t{left} << 32 | right) + uint64_t{kind} * 0x9e3779b97f4a7c15ULL;
  x ^= x >> 29;
  x *= 0xbf58476d1ce4e5b9ULL;
  return static_cast<size_t>(x ^ (x >> 32));
}
}  // namespace

Values::Values(uint32_t ranks) : ranks_(ranks), table_(kFirstTable, kUndefined) {
  nodes_.push_back({Kind::undefined, 0, 0});
  for (uint32_t r = 0; r < ranks; ++r) nodes_.push_back({Kind::leaf, r, 0});
}

Expression Values::intern(Kind kind, Expression left, Expression right) {
  const size_t mask = table_.size() - 1;
  size_t at = hash(static_cast<uint32_t>(kind), left, right) & mask;
  for (; table_[at] != kUndefined; at = (at + 1) & mask) {
    const Node& node = nodes_[table_[at]];
    if (node.kind == kind && node.left == left && node.right == right) return table_[at];
  }
  const auto id = static_cast<Expression>(nodes_.size());
  nodes_.push_back({kind, left, right});
  table_[at] = id;
  if (nodes_.size() * 2 > table_.size()) grow();
  return id;
}

void Values::grow() {
  std::vector<Expression> wider(table_.size() * 2, kUndefined);
  const size_t mask = wider.size() - 1;
  for (const Expression id : table_) {
    if (id == kUndefined) continue;
    size_t at = hash(static_cast<uint32_t>(nodes_[id].kind), nodes_[id].left, nodes_[id].right) & mask;
    while (wider[at] != kUndefined) at = (at + 1) & mask;
    wider[at] = id;
  }
  table_ = std::move(wider);
}

void Values::leaves(Expression value, std::vector<uint32_t>& ranks, int& finals) const {
  const Node& node = nodes_[value];
  switch (node.kind) {
    case Kind::undefined:
      break;
    case Kind::leaf:
      ranks.push_back(node.left);
      break;
    case Kind::fold:
      leaves(node.left, ranks, finals);
      leaves(node.right, ranks, finals);
      break;
    case Kind::final:
      ++finals;
      leaves(node.left, ranks, finals);
      break;
    case Kind::rounded:
      leaves(node.left, ranks, finals);
      break;
  }
}

const Values::Summary& Values::summary(Expression value) {
  if (summaries_.size() <= value) summaries_.resize(nodes_.size());
  Summary& result = summaries_[value];
  if (result.known) return result;
  std::vector<uint32_t> order;
  int finals = 0;
  leaves(value, order, finals);
  std::vector<int> seen(ranks_, 0);
  for (const uint32_t r : order) ++seen[r];
  result.known = true;
  result.once = order.size() == ranks_;
  for (const int times : seen) result.once = result.once && times == 1;
  result.first = order.empty() ? 0 : order.front();
  result.cyclic = result.once;
  for (size_t i = 0; i < order.size(); ++i) {
    result.cyclic = result.cyclic && order[i] == (result.first + i) % ranks_;
  }
  result.final_once = finals == 1 && nodes_[value].kind == Kind::final;
  return result;
}

std::string Values::text(Expression value) const {
  const Node& node = nodes_[value];
  switch (node.kind) {
    case Kind::undefined:
      return "undefined";
    case Kind::leaf:
      return fmt::format("r{}", node.left);
    case Kind::fold:
      return fmt::format("{} + {}", text(node.left), text(node.right));
    case Kind::rounded:
      return fmt::format("({})", text(node.left));
    case Kind::final:
      return fmt::format("final({})", text(node.left));
  }
  return {};
}

}  // namespace tutti::plan
