// What a kernel that reduces is instantiated over: an element type and the operator that folds it.
//
// An avg is a sum with something to divide by.
#pragma once

#include "collectives/executors/cuda/elements.h"
#include "core/types.h"

namespace tutti::cuda {

template <DataType type, ReduceOp op>
struct Arithmetic {
  static constexpr DataType kType = type;
  static constexpr ReduceOp kOp = op == ReduceOp::avg ? ReduceOp::sum : op;
  static constexpr int kSize = static_cast<int>(size_of(type));
  /// Only a sum may be divided; the other operators ignore a divisor.
  static constexpr bool kDivisible = kOp == ReduceOp::sum;
  /// Registers that the elements of one 32-bit word take.
  static constexpr int kWidening = kSize < 4 ? 4 / kSize : 1;
};

}  // namespace tutti::cuda
