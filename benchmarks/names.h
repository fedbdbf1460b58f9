// What datatypes and operators are called on the command line.
#pragma once

#include <fmt/format.h>
#include <tutti/tutti.h>

#include <algorithm>
#include <span>
#include <string>
#include <string_view>

namespace tutti::bench {

template <typename Value>
struct Named {
  std::string_view name;
  Value value;
};

/// First the names that are listed in messages, then other names for the same.
inline constexpr Named<tutti_datatype_t> kDatatypes[] = {
    {"int8", TUTTI_INT8},
    {"uint8", TUTTI_UINT8},
    {"int16", TUTTI_INT16},
    {"uint16", TUTTI_UINT16},
    {"int32", TUTTI_INT32},
    {"uint32", TUTTI_UINT32},
    {"int64", TUTTI_INT64},
    {"uint64", TUTTI_UINT64},
    {"float16", TUTTI_FLOAT16},
    {"bfloat16", TUTTI_BFLOAT16},
    {"float32", TUTTI_FLOAT32},
    {"float64", TUTTI_FLOAT64},
    {"float8_e4m3", TUTTI_FLOAT8_E4M3},
    {"float8_e5m2", TUTTI_FLOAT8_E5M2},
};
inline constexpr Named<tutti_datatype_t> kDatatypeAliases[] = {
    {"half", TUTTI_FLOAT16},  {"fp16", TUTTI_FLOAT16},       {"bf16", TUTTI_BFLOAT16},
    {"float", TUTTI_FLOAT32}, {"fp32", TUTTI_FLOAT32},       {"double", TUTTI_FLOAT64},
    {"fp64", TUTTI_FLOAT64},  {"f8e4m3", TUTTI_FLOAT8_E4M3}, {"f8e5m2", TUTTI_FLOAT8_E5M2},
};
inline constexpr Named<tutti_op_t> kOps[] = {
    {"sum", TUTTI_SUM}, {"prod", TUTTI_PROD}, {"min", TUTTI_MIN}, {"max", TUTTI_MAX}, {"avg", TUTTI_AVG}};

template <typename Value>
std::string names_of(std::span<const Named<Value>> table) {
  std::string text;
  for (const auto& entry : table) text += fmt::format("{}{}", text.empty() ? "" : ", ", entry.name);
  return text;
}

template <typename Value>
const Named<Value>* find_name(std::span<const Named<Value>> table, std::string_view name) {
  const auto found =
      std::find_if(table.begin(), table.end(), [name](const auto& entry) { return entry.name == name; });
  return found == table.end() ? nullptr : &*found;
}

}  // namespace tutti::bench
