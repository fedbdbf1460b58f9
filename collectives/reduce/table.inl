// The table of one instruction set: every operator for every element type.
#pragma once

#include "collectives/reduce/packets.inl"

#define TUTTI_REDUCE_TEXT(word) #word
#define TUTTI_REDUCE_NAME(word) TUTTI_REDUCE_TEXT(word)

namespace tutti::reduce::TUTTI_REDUCE_ISA {

extern const Kernels kTable;

namespace {

/// Signed sums and products have the bits of unsigned ones: one kernel serves both.
constexpr DataType folded_as(ReduceOp op, DataType type) {
  if (op != ReduceOp::sum && op != ReduceOp::prod) return type;
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

template <ReduceOp op, DataType type>
constexpr void fill_cell(Kernels& table) {
  using Element = typename ElementOf<folded_as(op, type)>::type;
  table.reduce[static_cast<size_t>(op)][static_cast<size_t>(type)] = &reduce<Element, op>;
  table.reduce_packets[static_cast<size_t>(op)][static_cast<size_t>(type)] = &reduce_packets<Element, op>;
}

template <int... cell>
constexpr Kernels make_table(std::integer_sequence<int, cell...>) {
  Kernels table{};
  table.name = TUTTI_REDUCE_NAME(TUTTI_REDUCE_ISA);
  (fill_cell<static_cast<ReduceOp>(cell / kDataTypes), static_cast<DataType>(cell % kDataTypes)>(table), ...);
  table.copy = &copy;
  table.put_packets = &put_packets;
  return table;
}

}  // namespace

constinit const Kernels kTable = make_table(std::make_integer_sequence<int, kReduceOps * kDataTypes>{});

}  // namespace tutti::reduce::TUTTI_REDUCE_ISA
