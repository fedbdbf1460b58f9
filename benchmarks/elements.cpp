// Elements of all types, from and to numbers. The floats of 16 and 8 bits are converted here bit by bit: the checks of a
// benchmark must not rest on the code that they check.
#include "benchmarks/elements.h"

#include <algorithm>
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
    {7, true, 0},        {8, false, 0},       {15, true, 0},     {16, false, 0},      {31, true, 0},
    {32, false, 0},      {63, true, 0},       {63, false, 0},    {11, true, 0x1p-10}, {8, true, 0x1p-7},
    {24, true, 0x1p-23}, {53, true, 0x1p-52}, {4, true, 0x1p-3}, {3, true, 0x1p-2},
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

/// A format of 16 or 8 bits: `mantissa` explicit digits, and an exponent with this bias. Behind the largest finite number come infinity, if
/// there is one, and NaN.
struct SmallFloat {
  int bits;
  int mantissa;
  int bias;
  int largest;
  bool has_infinity;
};
constexpr SmallFloat kFloat16{16, 10, 15, 0x7bff, true};
constexpr SmallFloat kBFloat16{16, 7, 127, 0x7f7f, true};
constexpr SmallFloat kE4m3{8, 3, 7, 0x7e, false};
constexpr SmallFloat kE5m2{8, 2, 15, 0x7b, true};

uint16_t to_small(double value, const SmallFloat& format) {
  const int sign = std::signbit(value) ? 1 << (format.bits - 1) : 0;
  if (value == 0) return static_cast<uint16_t>(sign);
  const int least = 1 - format.bias;
  const int exponent = std::max(std::ilogb(value), least);
  // nearbyint rounds to nearest even; a carry out of the mantissa raises the exponent by itself.
  const auto digits =
      static_cast<int>(std::nearbyint(std::ldexp(std::fabs(value), format.mantissa - exponent)));
  const int magnitude = ((exponent - least) << format.mantissa) + digits;
  return static_cast<uint16_t>(sign | std::min(magnitude, format.largest));
}

double from_small(uint16_t bits, const SmallFloat& format) {
  const int sign_bit = 1 << (format.bits - 1);
  const double sign = (bits & sign_bit) != 0 ? -1 : 1;
  const int magnitude = bits & (sign_bit - 1);
  if (format.has_infinity && magnitude == format.largest + 1) {
    return sign * std::numeric_limits<double>::infinity();
  }
  if (magnitude > format.largest) return std::numeric_limits<double>::quiet_NaN();
  const int exponent = magnitude >> format.mantissa;
  const int digits = magnitude & ((1 << format.mantissa) - 1);
  if (exponent == 0) return sign * std::ldexp(digits, 1 - format.bias - format.mantissa);
  return sign * std::ldexp(digits + (1 << format.mantissa), exponent - format.bias - format.mantissa);
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
      return store(to_small(value, kFloat16), element);
    case TUTTI_BFLOAT16:
      return store(to_small(value, kBFloat16), element);
    case TUTTI_FLOAT8_E4M3:
      return store(static_cast<uint8_t>(to_small(value, kE4m3)), element);
    case TUTTI_FLOAT8_E5M2:
      return store(static_cast<uint8_t>(to_small(value, kE5m2)), element);
    case TUTTI_FLOAT32:
      return store(static_cast<float>(value), element);
    default:
      return store(value, element);
  }
}

double load_real(tutti_datatype_t datatype, const std::byte* element) {
  switch (datatype) {
    case TUTTI_FLOAT16:
      return from_small(load<uint16_t>(element), kFloat16);
    case TUTTI_BFLOAT16:
      return from_small(load<uint16_t>(element), kBFloat16);
    case TUTTI_FLOAT8_E4M3:
      return from_small(load<uint8_t>(element), kE4m3);
    case TUTTI_FLOAT8_E5M2:
      return from_small(load<uint8_t>(element), kE5m2);
    case TUTTI_FLOAT32:
      return static_cast<double>(load<float>(element));
    default:
      return load<double>(element);
  }
}

}  // namespace tutti::bench
