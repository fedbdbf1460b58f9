// The table of one instruction set: every operator for every element type.
#pragma once

#include "collectives/reduce/packets.inl"

#define TUTTI_REDUCE_TEXT(word) #word
#define TUTTI_REDUCE_NAME(word) TUTTI_REDUCE_TEXT(word)

namespace tutti::reduce::TUTTI_REDUCE_ISA {

extern const Kernels kTable;

namespace {

template <int... cell>
constexpr Kernels make_table(std::integer_sequence<int, cell...>) {
  Kernels table{};
  table.name = TUTTI_REDUCE_NAME(TUTTI_REDUCE_ISA);
  ((table.reduce[cell / kDataTypes][cell % kDataTypes] =
        &reduce<typename ElementOf<static_cast<DataType>(cell % kDataTypes)>::type,
                static_cast<ReduceOp>(cell / kDataTypes)>),
   ...);
  ((table.reduce_packets[cell / kDataTypes][cell % kDataTypes] =
        &reduce_packets<typename ElementOf<static_cast<DataType>(cell % kDataTypes)>::type,
                        static_cast<ReduceOp>(cell / kDataTypes)>),
   ...);
  table.copy = &copy;
  table.put_packets = &put_packets;
  return table;
}

}  // namespace

constinit const Kernels kTable = make_table(std::make_integer_sequence<int, kReduceOps * kDataTypes>{});

}  // namespace tutti::reduce::TUTTI_REDUCE_ISA
