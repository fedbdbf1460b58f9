// The list of algorithms, and the one entry point through which plans are built.
#include "collectives/algorithms/algorithms.h"

#include <algorithm>
#include <array>

#include "collectives/algorithms/hierarchical.h"
#include "core/error.h"

namespace tutti::algorithms {

std::span<const Algorithm> algorithms_of(Collective collective) {
  static constexpr std::array kAllReduce = {Algorithm::one_shot,
                                            Algorithm::all_pairs,
                                            Algorithm::two_shot,
                                            Algorithm::ring,
                                            Algorithm::recursive_doubling,
                                            Algorithm::halving_doubling,
                                            Algorithm::double_binary_tree,
                                            Algorithm::direct,
                                            Algorithm::hierarchical_small,
                                            Algorithm::hierarchical_direct,
                                            Algorithm::hierarchical_ring,
                                            Algorithm::hierarchical_doubling,
                                            Algorithm::hierarchical_halving,
                                            Algorithm::hierarchical_tree};
  static constexpr std::array kBroadcast = {
      Algorithm::one_writer_packets,  Algorithm::one_writer,         Algorithm::chain,
      Algorithm::binomial_tree,       Algorithm::scatter_all_gather, Algorithm::direct,
      Algorithm::hierarchical_small,  Algorithm::hierarchical_chain, Algorithm::hierarchical_binomial,
      Algorithm::hierarchical_scatter};
  static constexpr std::array kBarrier = {Algorithm::one_shot, Algorithm::hierarchical_small};
  switch (collective) {
    case Collective::all_reduce:
      return kAllReduce;
    case Collective::broadcast:
      return kBroadcast;
    case Collective::barrier:
      return kBarrier;
  }
  return {};
}

bool suits(Algorithm algorithm, const Shape& shape) {
  switch (algorithm) {
    case Algorithm::one_shot:
    case Algorithm::all_pairs:
    case Algorithm::two_shot:
    case Algorithm::one_writer_packets:
    case Algorithm::one_writer:
      return !spans_nodes(shape);
    case Algorithm::hierarchical_small:
    case Algorithm::hierarchical_direct:
    case Algorithm::hierarchical_ring:
    case Algorithm::hierarchical_doubling:
    case Algorithm::hierarchical_halving:
    case Algorithm::hierarchical_tree:
    case Algorithm::hierarchical_chain:
    case Algorithm::hierarchical_binomial:
    case Algorithm::hierarchical_scatter:
      return spans_nodes(shape);
    case Algorithm::direct:
      return shape.one_process && !spans_nodes(shape);
    case Algorithm::local:
    case Algorithm::ring:
    case Algorithm::recursive_doubling:
    case Algorithm::chain:
    case Algorithm::halving_doubling:
    case Algorithm::double_binary_tree:
    case Algorithm::binomial_tree:
    case Algorithm::scatter_all_gather:
      return true;
  }
  return false;
}

int least_credits(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::all_pairs:  // a slice is folded by some while others stage the next one
    case Algorithm::two_shot:
    case Algorithm::ring:  // a slice is handed on before its slot is free
    case Algorithm::halving_doubling:
    case Algorithm::scatter_all_gather:  // a slice is passed around while the next one is scattered
    case Algorithm::hierarchical_direct:
    case Algorithm::hierarchical_ring:
    case Algorithm::hierarchical_doubling:
    case Algorithm::hierarchical_halving:
    case Algorithm::hierarchical_scatter:
      return 2;
    default:
      return 1;
  }
}

namespace {

/// Nodes are numbered from 0 without gaps.
void check_nodes(Algorithm algorithm, const Shape& shape) {
  if (shape.nodes.empty()) return;
  uint16_t last = 0;
  for (const uint16_t node : shape.nodes) last = std::max(last, node);
  for (int node = 0; node <= last; ++node) {
    if (std::find(shape.nodes.begin(), shape.nodes.end(), node) != shape.nodes.end()) continue;
    raise(Result::invalid_argument, "plan {}: node {} of {} has no ranks", name_of(algorithm), node,
          last + 1);
  }
}

}  // namespace

Plan local(Collective collective, const Shape& shape) {
  plan::Builder b(collective, Algorithm::local, shape);
  b.block();
  if (collective != Collective::barrier) b.copy({}, b.input(), {b.output()});
  return b.take();
}

Plan build(Collective collective, Algorithm algorithm, const Shape& shape) {
  if (shape.ranks == 0 || shape.rank >= shape.ranks || shape.root >= shape.ranks) {
    raise(Result::invalid_argument, "plan {}: rank {} and root {} must be below the number of ranks, {}",
          name_of(algorithm), shape.rank, shape.root, shape.ranks);
  }
  if (shape.ranks == 1) return local(collective, shape);
  const auto known = algorithms_of(collective);
  if (std::find(known.begin(), known.end(), algorithm) == known.end()) {
    raise(Result::invalid_argument, "{} has no algorithm {}", name_of(collective), name_of(algorithm));
  }
  check_nodes(algorithm, shape);
  if (!suits(algorithm, shape)) {
    raise(Result::invalid_argument, "algorithm {} needs {}", name_of(algorithm),
          algorithm == Algorithm::direct ? "all ranks in one process"
          : spans_nodes(shape)           ? "all ranks on one node"
                                         : "ranks on several nodes");
  }
  if (shape.credits < least_credits(algorithm)) {
    raise(Result::invalid_argument, "algorithm {} needs at least {} credits, not {}", name_of(algorithm),
          least_credits(algorithm), shape.credits);
  }
  switch (algorithm) {
    case Algorithm::local:
      return local(collective, shape);
    case Algorithm::one_shot:
      return one_shot(collective, shape);
    case Algorithm::all_pairs:
      return all_pairs(shape);
    case Algorithm::two_shot:
      return two_shot(shape);
    case Algorithm::ring:
      return ring(shape);
    case Algorithm::recursive_doubling:
      return recursive_doubling(shape);
    case Algorithm::one_writer_packets:
      return one_writer_packets(shape);
    case Algorithm::one_writer:
      return one_writer(shape);
    case Algorithm::chain:
      return chain(shape);
    case Algorithm::halving_doubling:
      return halving_doubling(shape);
    case Algorithm::double_binary_tree:
      return double_binary_tree(shape);
    case Algorithm::binomial_tree:
      return binomial_tree(shape);
    case Algorithm::scatter_all_gather:
      return scatter_all_gather(shape);
    case Algorithm::direct:
      return collective == Collective::broadcast ? direct_broadcast(shape) : direct_all_reduce(shape);
    case Algorithm::hierarchical_small:
      return hierarchical_small(collective, shape);
    case Algorithm::hierarchical_direct:
      return hierarchical(algorithm, shape, kDirect);
    case Algorithm::hierarchical_ring:
      return hierarchical(algorithm, shape, kRing);
    case Algorithm::hierarchical_doubling:
      return hierarchical(algorithm, shape, kDoubling);
    case Algorithm::hierarchical_halving:
      return hierarchical(algorithm, shape, kHalving);
    case Algorithm::hierarchical_tree:
      return hierarchical(algorithm, shape, kDoubleBinaryTree);
    case Algorithm::hierarchical_chain:
      return hierarchical(algorithm, shape, kChain);
    case Algorithm::hierarchical_binomial:
      return hierarchical(algorithm, shape, kBinomialTree);
    case Algorithm::hierarchical_scatter:
      return hierarchical(algorithm, shape, kScatterAllGather);
  }
  raise(Result::internal_error, "no builder for algorithm {}", static_cast<int>(algorithm));
}

}  // namespace tutti::algorithms
