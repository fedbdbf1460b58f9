// What a reduction must give, computed one element at a time in the plainest way: the measure for every kernel.
//
// Nothing of the library's arithmetic is used here. float16 and bfloat16 are decoded and encoded by scaling with powers
// of two instead of moving bits, and a float8 is encoded by looking for the nearest in the list of all, so the library
// can hardly share a mistake with this file.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "core/types.h"

namespace reference {

using Bytes = std::vector<unsigned char>;

struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};

/// The format of a 16-bit float: digits after the leading one, and the exponent of the smallest normal number.
struct Format {
  int digits;
  int least;
  uint16_t infinity;
  uint16_t nan;
};
inline constexpr Format kHalf{10, -14, 0x7c00, 0x7e00};
inline constexpr Format kBFloat{7, -126, 0x7f80, 0x7fc0};

inline float decode(uint16_t bits, const Format& format) {
  const int magnitude = bits & 0x7fff;
  const float sign = (bits & 0x8000) != 0 ? -1.0f : 1.0f;
  if (magnitude > format.infinity) return std::numeric_limits<float>::quiet_NaN();
  if (magnitude == format.infinity) return sign * std::numeric_limits<float>::infinity();
  const int one = 1 << format.digits;
  const int exponent = magnitude / one;
  const int fraction = magnitude % one;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), format.least - format.digits);
  return sign * std::ldexp(static_cast<float>(one + fraction), format.least - format.digits + exponent - 1);
}

inline uint16_t encode(float value, const Format& format) {
  if (std::isnan(value)) return format.nan;
  const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
  if (value == 0) return sign;
  if (std::isinf(value)) return static_cast<uint16_t>(sign | format.infinity);
  const double size = std::fabs(static_cast<double>(value));
  const int exponent = std::max(std::ilogb(size), format.least);
  // nearbyint rounds to even; a carry into the next power of two lands in the exponent, where it belongs.
  const auto places = static_cast<int>(std::nearbyint(std::ldexp(size, format.digits - exponent)));
  const int bits = ((exponent - format.least) << format.digits) + places;
  return static_cast<uint16_t>(sign | std::min<int>(bits, format.infinity));
}

struct E4m3 {
  uint8_t bits;
};
struct E5m2 {
  uint8_t bits;
};

/// The format of an 8-bit float.
struct Format8 {
  int digits;
  int least;        // exponent of the smallest normal number
  uint8_t largest;  // finite number
  bool infinities;  // right behind the largest finite number; the rest is NaN
};
inline constexpr Format8 kE4m3{3, -6, 0x7e, false};
inline constexpr Format8 kE5m2{2, -14, 0x7b, true};

inline float decode(uint8_t bits, const Format8& format) {
  const int magnitude = bits & 0x7f;
  const float sign = (bits & 0x80) != 0 ? -1.0f : 1.0f;
  if (format.infinities && magnitude == format.largest + 1)
    return sign * std::numeric_limits<float>::infinity();
  if (magnitude > format.largest) return std::numeric_limits<float>::quiet_NaN();
  const int one = 1 << format.digits;
  const int exponent = magnitude / one;
  const int fraction = magnitude % one;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), format.least - format.digits);
  return sign * std::ldexp(static_cast<float>(one + fraction), format.least - format.digits + exponent - 1);
}

/// All numbers from 0 to the largest finite one, which their bits number in order.
inline std::array<float, 128> numbers_of(const Format8& format) {
  std::array<float, 128> numbers{};
  for (uint8_t bits = 0; bits < 128; ++bits) {
    numbers[bits] = bits <= format.largest ? decode(bits, format) : std::numeric_limits<float>::infinity();
  }
  return numbers;
}

/// The nearest; of two the one with even bits; beyond the largest finite number, that one.
inline uint8_t encode(float value, const Format8& format, const std::array<float, 128>& numbers) {
  if (std::isnan(value)) return 0x7f;
  const auto sign = static_cast<uint8_t>(std::signbit(value) ? 0x80 : 0);
  const float size = std::fabs(value);
  if (size >= numbers[format.largest]) return sign | format.largest;
  const auto above =
      static_cast<size_t>(std::upper_bound(numbers.begin(), numbers.end(), size) - numbers.begin());
  const double down = static_cast<double>(size) - static_cast<double>(numbers[above - 1]);
  const double up = static_cast<double>(numbers[above]) - static_cast<double>(size);
  const bool rounds_up = up < down || (up == down && above % 2 == 0);
  return static_cast<uint8_t>(sign | (rounds_up ? above : above - 1));
}

inline uint8_t encode(float value, const Format8& format) {
  static const std::array<float, 128> e4m3 = numbers_of(kE4m3), e5m2 = numbers_of(kE5m2);
  return encode(value, format, format.infinities ? e5m2 : e4m3);
}

inline float widen(E4m3 value) {
  return decode(value.bits, kE4m3);
}
inline float widen(E5m2 value) {
  return decode(value.bits, kE5m2);
}
inline float widen(Half value) {
  return decode(value.bits, kHalf);
}
inline float widen(BFloat value) {
  return decode(value.bits, kBFloat);
}
template <typename T>
T widen(T value) {
  return value;
}

template <typename T>
using Wide = decltype(widen(T{}));

template <typename T>
T narrow(Wide<T> value) {
  if constexpr (std::is_same_v<T, Half>) {
    return {encode(value, kHalf)};
  } else if constexpr (std::is_same_v<T, BFloat>) {
    return {encode(value, kBFloat)};
  } else if constexpr (std::is_same_v<T, E4m3>) {
    return {encode(value, kE4m3)};
  } else if constexpr (std::is_same_v<T, E5m2>) {
    return {encode(value, kE5m2)};
  } else if constexpr (std::is_same_v<T, float>) {
    const uint32_t nan = 0x7fc00000;
    if (std::isnan(value)) std::memcpy(&value, &nan, sizeof value);
    return value;
  } else if constexpr (std::is_same_v<T, double>) {
    const uint64_t nan = 0x7ff8000000000000;
    if (std::isnan(value)) std::memcpy(&value, &nan, sizeof value);
    return value;
  } else {
    return value;
  }
}

template <typename T>
T extreme(T a, T b, bool lesser) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a)) return a;
    if (std::isnan(b)) return b;
    if (a == 0 && b == 0) return std::signbit(a) == lesser ? a : b;
  }
  return (a < b) == lesser ? a : b;
}

template <typename T>
T combine(tutti::ReduceOp op, T a, T b) {
  using tutti::ReduceOp;
  if (op == ReduceOp::min || op == ReduceOp::max) return extreme(a, b, op == ReduceOp::min);
  if constexpr (std::is_floating_point_v<T>) {
    return op == ReduceOp::prod ? a * b : a + b;
  } else {  // modulo 2^64 and then modulo the type
    const auto x = static_cast<uint64_t>(a), y = static_cast<uint64_t>(b);
    return static_cast<T>(op == ReduceOp::prod ? x * y : x + y);
  }
}

template <typename T>
T divide(T value, uint32_t divisor) {
  if constexpr (std::is_floating_point_v<T>) {
    return value / static_cast<T>(divisor);
  } else if constexpr (std::is_signed_v<T>) {
    return static_cast<T>(static_cast<int64_t>(value) / static_cast<int64_t>(divisor));
  } else {
    return static_cast<T>(static_cast<uint64_t>(value) / uint64_t{divisor});
  }
}

template <typename T>
T element(const unsigned char* bytes, size_t i) {
  T value;
  std::memcpy(&value, bytes + i * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
Bytes reduce(tutti::ReduceOp op, const std::vector<Bytes>& sources, size_t count, uint32_t divisor) {
  Bytes result(count * sizeof(T));
  const bool divided = op == tutti::ReduceOp::avg && divisor != 0;
  for (size_t i = 0; i < count; ++i) {
    Wide<T> value = widen(element<T>(sources[0].data(), i));
    for (size_t s = 1; s < sources.size(); ++s)
      value = combine(op, value, widen(element<T>(sources[s].data(), i)));
    if (divided) value = divide(value, divisor);
    // One operand that is not divided passes bit by bit, whatever NaN it is.
    const bool passes = sources.size() == 1 && !divided;
    const T out = passes ? element<T>(sources[0].data(), i) : narrow<T>(value);
    std::memcpy(result.data() + i * sizeof(T), &out, sizeof(T));
  }
  return result;
}

/// What `op` over the sources gives, as bytes.
inline Bytes reduce(tutti::DataType type, tutti::ReduceOp op, const std::vector<Bytes>& sources, size_t count,
                    uint32_t divisor) {
  using tutti::DataType;
  switch (type) {
    case DataType::int8:
      return reduce<int8_t>(op, sources, count, divisor);
    case DataType::uint8:
      return reduce<uint8_t>(op, sources, count, divisor);
    case DataType::int16:
      return reduce<int16_t>(op, sources, count, divisor);
    case DataType::uint16:
      return reduce<uint16_t>(op, sources, count, divisor);
    case DataType::int32:
      return reduce<int32_t>(op, sources, count, divisor);
    case DataType::uint32:
      return reduce<uint32_t>(op, sources, count, divisor);
    case DataType::int64:
      return reduce<int64_t>(op, sources, count, divisor);
    case DataType::uint64:
      return reduce<uint64_t>(op, sources, count, divisor);
    case DataType::float16:
      return reduce<Half>(op, sources, count, divisor);
    case DataType::bfloat16:
      return reduce<BFloat>(op, sources, count, divisor);
    case DataType::float32:
      return reduce<float>(op, sources, count, divisor);
    case DataType::float64:
      return reduce<double>(op, sources, count, divisor);
    case DataType::float8_e4m3:
      return reduce<E4m3>(op, sources, count, divisor);
    case DataType::float8_e5m2:
      return reduce<E5m2>(op, sources, count, divisor);
  }
  return {};
}

}  // namespace reference
