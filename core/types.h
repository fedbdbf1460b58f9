// The words every layer shares: element types, reduction operators, collectives.
// The numeric values are part of the public C ABI (include/tutti/tutti.h) and never change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tutti {

enum class DataType : uint8_t {
  int8 = 0,
  uint8 = 1,
  int16 = 2,
  uint16 = 3,
  int32 = 4,
  uint32 = 5,
  int64 = 6,
  uint64 = 7,
  float16 = 8,
  bfloat16 = 9,
  float32 = 10,
  float64 = 11,
  float8_e4m3 = 12,  // no infinities; largest 448
  float8_e5m2 = 13,
};
inline constexpr int kDataTypes = 14;

/// `avg` is the sum divided by the number of ranks; integers are divided truncating toward zero.
enum class ReduceOp : uint8_t { sum = 0, prod = 1, min = 2, max = 3, avg = 4 };
inline constexpr int kReduceOps = 5;

enum class Collective : uint8_t { all_reduce = 0, broadcast = 1, barrier = 2 };
inline constexpr int kCollectives = 3;

/// Bytes of one element.
constexpr size_t size_of(DataType type) {
  constexpr uint8_t kSizes[kDataTypes] = {1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8, 1, 1};
  return kSizes[static_cast<size_t>(type)];
}

constexpr std::string_view name_of(DataType type) {
  constexpr std::string_view kNames[kDataTypes] = {
      "int8",   "uint8",   "int16",    "uint16",  "int32",   "uint32",      "int64",
      "uint64", "float16", "bfloat16", "float32", "float64", "float8_e4m3", "float8_e5m2"};
  return kNames[static_cast<size_t>(type)];
}

constexpr std::string_view name_of(ReduceOp op) {
  constexpr std::string_view kNames[kReduceOps] = {"sum", "prod", "min", "max", "avg"};
  return kNames[static_cast<size_t>(op)];
}

constexpr std::string_view name_of(Collective collective) {
  constexpr std::string_view kNames[kCollectives] = {"all_reduce", "broadcast", "barrier"};
  return kNames[static_cast<size_t>(collective)];
}

}  // namespace tutti
