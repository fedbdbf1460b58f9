// The list of algorithms, and the one entry point through which plans are built.
#include "collectives/algorithms/algorithms.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace tutti::algorithms {

std::span<const Algorithm> algorithms_of(Collective collective) {
  static constexpr std::array kAllReduce = {Algorithm::one_shot, Algorithm::all_pairs, Algorithm::two_shot,
                                            Algorithm::ring, Algorithm::recursive_doubling};
  static constexpr std::array kBroadcast = {Algorithm::one_writer_packets, Algorithm::one_writer,
                                            Algorithm::chain};
  static constexpr std::array kBarrier = {Algorithm::one_shot};
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

int least_credits(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::all_pairs:  // a slice is folded by some while others stage the next one
    case Algorithm::two_shot:
    case Algorithm::ring:  // a slice is handed on before its slot is free
      return 2;
    default:
      return 1;
  }
}

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
    default:
      break;
  }
  raise(Result::internal_error, "no builder for algorithm {}", static_cast<int>(algorithm));
}

}  // namespace tutti::algorithms
