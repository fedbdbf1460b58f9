// Elements of all types, from and to numbers. The two 16-bit formats are converted here bit by bit: the checks of a
// benchmark must not rest on the code that they check.
#include "benchmarks/elements.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace tutti::bench {
namespace {

struct Format {
  int exact_bits;
  bool is_signed;
  double epsilon;
};

constexpr Format kFormats[] = {
    {7, true, 0},        {8, false, 0},     {15, true, 0},       {16, false, 0},
    {31, true, 0},       {32, false, 0},    {63, true, 0},       {63, false, 0},
    {11, true, 0x1p-10}, {8, true, 0x1p-7}, {24, true, 0x1p-23}, {53, true, 0x1p-52},
};

const Format& format_of(tutti_datatype_t datatype) {
  return kFormats[static_cast<size_t>(datatype)];
}

template <typename T>
void store(T value, std::byte* element) {
  std::memcpy(element, &value, sizeof value);
}

template <typename T>
T load(const std::byte* element) {
  T value;
  std::memcpy(&value, element, sizeof value);
  return value;
}

/// A 16-bit format with `mantissa` explicit bits and the given exponent bias: normal numbers and zero.
uint16_t to_16_bits(double value, int mantissa, int bias) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (value == 0) return sign;
  int exponent = 0;
  const double fraction = std::frexp(std::fabs(value), &exponent);  // in [1/2, 1)
  // nearbyint rounds to nearest even; a carry out of the mantissa raises the exponent by itself.
  const auto digits = static_cast<uint32_t>(std::nearbyint(std::ldexp(fraction, mantissa + 1)));
  const auto biased = static_cast<uint32_t>(exponent - 1 + bias);
  return static_cast<uint16_t>(sign | ((biased << mantissa) + (digits - (1U << mantissa))));
}

double from_16_bits(uint16_t bits, int mantissa, int bias) {
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  const int exponent = (bits & 0x7fff) >> mantissa;
  const int digits = bits & ((1 << mantissa) - 1);
  const int all_ones = 0x7fff >> mantissa;
  if (exponent == all_ones) {
    return digits == 0 ? sign * std::numeric_limits<double>::infinity()
                       : std::numeric_limits<double>::quiet_NaN();
  }
  if (exponent == 0) return sign * std::ldexp(digits, 1 - bias - mantissa);
  return sign * std::ldexp(digits + (1 << mantissa), exponent - bias - mantissa);
}

}  // namespace

int exact_bits(tutti_datatype_t datatype) {
  return format_of(datatype).exact_bits;
}
bool is_signed(tutti_datatype_t datatype) {
  return format_of(datatype).is_signed;
}
bool is_floating(tutti_datatype_t datatype) {
  return format_of(datatype).epsilon > 0;
}
double epsilon(tutti_datatype_t datatype) {
  return format_of(datatype).epsilon;
}

void store_whole(tutti_datatype_t datatype, int64_t value, std::byte* element) {
  switch (datatype) {
    case TUTTI_INT8:
    case TUTTI_UINT8:
      return store(static_cast<uint8_t>(value), element);
    case TUTTI_INT16:
    case TUTTI_UINT16:
      return store(static_cast<uint16_t>(value), element);
    case TUTTI_INT32:
    case TUTTI_UINT32:
      return store(static_cast<uint32_t>(value), element);
    case TUTTI_INT64:
    case TUTTI_UINT64:
      return store(value, element);
    default:
      return store_real(datatype, static_cast<double>(value), element);
  }
}

void store_real(tutti_datatype_t datatype, double value, std::byte* element) {
  switch (datatype) {
    case TUTTI_FLOAT16:
      return store(to_16_bits(value, 10, 15), element);
    case TUTTI_BFLOAT16:
      return store(to_16_bits(value, 7, 127), element);
    case TUTTI_FLOAT32:
      return store(static_cast<float>(value), element);
    default:
      return store(value, element);
  }
}

double load_real(tutti_datatype_t datatype, const std::byte* element) {
  switch (datatype) {
    case TUTTI_FLOAT16:
      return from_16_bits(load<uint16_t>(element), 10, 15);
    case TUTTI_BFLOAT16:
      return from_16_bits(load<uint16_t>(element), 7, 127);
    case TUTTI_FLOAT32:
      return static_cast<double>(load<float>(element));
    default:
      return load<double>(element);
  }
}

}  // namespace tutti::bench
