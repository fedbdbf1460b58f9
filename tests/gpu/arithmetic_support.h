// Every (type, operator) pair of the device code, as a table of functions, for tests that go through all of them.
#pragma once

#include <array>
#include <string>
#include <utility>

#include "collectives/executors/cuda/arithmetic.h"
#include "core/types.h"

namespace device {

inline constexpr int kPairs = tutti::kDataTypes * tutti::kReduceOps;

struct Pair {
  tutti::DataType type;
  tutti::ReduceOp op;
};

constexpr Pair pair_of(int i) {
  return {static_cast<tutti::DataType>(i / tutti::kReduceOps),
          static_cast<tutti::ReduceOp>(i % tutti::kReduceOps)};
}

inline std::string describe(Pair pair) {
  return std::string(name_of(pair.op)) + " of " + std::string(name_of(pair.type));
}

template <int i>
using ArithmeticOf = tutti::cuda::Arithmetic<pair_of(i).type, pair_of(i).op>;

/// Tool::template run<A>, for the arithmetic of every pair.
template <typename Function, template <typename> class Tool, int... i>
constexpr std::array<Function, kPairs> table_of(std::integer_sequence<int, i...>) {
  return {&Tool<ArithmeticOf<i>>::run...};
}
template <typename Function, template <typename> class Tool>
inline constexpr std::array<Function, kPairs> kTable =
    table_of<Function, Tool>(std::make_integer_sequence<int, kPairs>{});

}  // namespace device
