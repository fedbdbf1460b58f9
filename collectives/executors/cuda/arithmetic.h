// What a kernel that reduces is instantiated over: an element type and the operator that folds it.
//
// An avg is a sum with something to divide by, and an unsigned product has the bits of a signed one, so fewer kernels than (type,
// operator) pairs are needed: `kernel_op` and `kernel_type` name the one that serves a pair.
#pragma once

#include "collectives/executors/cuda/elements.h"
#include "core/types.h"

namespace tutti::cuda {

/// The operator that folds for `op`.
constexpr ReduceOp kernel_op(ReduceOp op) {
  return op == ReduceOp::avg ? ReduceOp::sum : op;
}

/// The element type whose kernel serves `op` on `type`. (A sum that is divided has a sign.)
constexpr DataType kernel_type(DataType type, ReduceOp op) {
  if (op != ReduceOp::prod) return type;
  switch (type) {
    case DataType::int8:
      return DataType::uint8;
    case DataType::int16:
      return DataType::uint16;
    case DataType::int32:
      return DataType::uint32;
    case DataType::int64:
      return DataType::uint64;
    default:
      return type;
  }
}

template <DataType type, ReduceOp op>
struct Arithmetic {
  static constexpr DataType kType = type;
  static constexpr ReduceOp kOp = kernel_op(op);
  static constexpr int kSize = static_cast<int>(size_of(type));
  /// Only a sum may be divided; the other operators ignore a divisor.
  static constexpr bool kDivisible = kOp == ReduceOp::sum;
  /// Registers that the elements of one 32-bit word take.
  static constexpr int kWidening = kSize < 4 ? 4 / kSize : 1;
};

}  // namespace tutti::cuda
