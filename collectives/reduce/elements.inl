// The arithmetic of every element type on a block of 64 bytes: widen, fold, finish, narrow.
//
//   result = narrow(finish(fold(fold(widen(a), widen(b)), widen(c)) ...))
//
// Only float16 and bfloat16 widen (to float32); for the others a block is folded as it lies in memory. What makes
// results equal on every processor: each step is one correctly rounded operation; zeros and NaNs, where processors
// and compilers may pick either operand, are decided here by their bits; and a result that is NaN leaves as the one
// canonical quiet NaN.
#pragma once

#include "collectives/reduce/vectors.inl"

namespace tutti::reduce::TUTTI_REDUCE_ISA {
namespace {

// ---- Divisors

/// What `finish` divides by. Dividing by a power of two is done exactly by a multiplication or a shift.
template <typename T>
struct Divisor {
  T value;   // as the element type; for a power of two of a floating-point type: its reciprocal
  bool set;  // false: do not divide
  bool power_of_two;
};

template <typename T>
TUTTI_REDUCE_INLINE Divisor<T> divisor_of(uint32_t divisor) {
  const bool power_of_two = (divisor & (divisor - 1)) == 0;
  const T value = static_cast<T>(divisor);
  return {power_of_two ? T{1} / value : value, divisor != 0, power_of_two};
}

/// For integers the divisor stays 32 bits wide: it may exceed the element type.
struct IntegerDivisor {
  uint32_t value;
  bool set;
  bool power_of_two;
};

TUTTI_REDUCE_INLINE IntegerDivisor integer_divisor_of(uint32_t divisor) {
  return {divisor, divisor != 0, (divisor & (divisor - 1)) == 0};
}

// ---- Operators on one vector

template <typename T>
using UnsignedOf =
    std::conditional_t<std::is_floating_point_v<T>, std::type_identity<T>, std::make_unsigned<T>>;

/// The lesser of two floats: a NaN if there is one, and -0 before +0. Each comparison yields its second operand
/// when they are equal or unordered, so the two differ only for zeros (of which "or" keeps the sign) and NaNs
/// ("or" with a NaN is a NaN).
template <typename T>
TUTTI_REDUCE_INLINE Vec<T> lesser_float(Vec<T> a, Vec<T> b) {
  const Vec<T> forth = a < b ? a : b;
  const Vec<T> back = b < a ? b : a;
  return cast<Vec<T>>(cast<Vec<uint64_t>>(forth) | cast<Vec<uint64_t>>(back));
}

/// The greater of two floats. Here "and" keeps the plus of a zero, but does not keep a NaN.
template <typename T>
TUTTI_REDUCE_INLINE Vec<T> greater_float(Vec<T> a, Vec<T> b) {
  const Vec<T> forth = a > b ? a : b;
  const Vec<T> back = b > a ? b : a;
  const auto both = cast<Vec<T>>(cast<Vec<uint64_t>>(forth) & cast<Vec<uint64_t>>(back));
  const Vec<T> first = a == a ? both : a;
  return b == b ? first : b;
}

template <ReduceOp op, typename T>
TUTTI_REDUCE_INLINE Vec<T> combine(Vec<T> a, Vec<T> b) {
  using U = typename UnsignedOf<T>::type;  // unsigned: integers wrap
  if constexpr (op == ReduceOp::sum || op == ReduceOp::avg) {
    return cast<Vec<T>>(cast<Vec<U>>(a) + cast<Vec<U>>(b));
  } else if constexpr (op == ReduceOp::prod) {
    return cast<Vec<T>>(cast<Vec<U>>(a) * cast<Vec<U>>(b));
  } else if constexpr (op == ReduceOp::min) {
    if constexpr (std::is_floating_point_v<T>) return lesser_float<T>(a, b);
    return a < b ? a : b;
  } else {
    if constexpr (std::is_floating_point_v<T>) return greater_float<T>(a, b);
    return a > b ? a : b;
  }
}

template <typename T>
TUTTI_REDUCE_INLINE Vec<T> divide_float(Vec<T> value, const Divisor<T>& divisor) {
  return divisor.power_of_two ? value * divisor.value : value / divisor.value;
}

/// One canonical NaN: quiet, positive, no payload.
template <typename T>
TUTTI_REDUCE_INLINE Vec<T> canonical(Vec<T> value) {
  using U = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  constexpr U kNan = sizeof(T) == 4 ? U{0x7fc00000} : static_cast<U>(0x7ff8000000000000);
  return value == value ? value : cast<Vec<T>>(all<U>(kNan));
}

/// Truncates toward zero. Up to 32 bits the division is done in a floating-point type F with enough digits that
/// the quotient, which is at least 1/divisor away from the next integer if it is none, truncates correctly.
template <typename T>
TUTTI_REDUCE_INLINE Vec<T> divide_integer(Vec<T> value, const IntegerDivisor& divisor) {
  constexpr unsigned kBits = 8 * sizeof(T);
  if (divisor.power_of_two) {
    const unsigned shift = static_cast<unsigned>(__builtin_ctz(divisor.value));
    if (shift >= kBits) return Vec<T>{};
    const T below = static_cast<T>(divisor.value - 1);
    if constexpr (std::is_signed_v<T>) value += (value < 0) & below;
    return value >> static_cast<T>(shift);
  }
  constexpr int kLanes = sizeof(value) / sizeof(T);
  T lane[kLanes];
  __builtin_memcpy(lane, &value, sizeof(value));
  if constexpr (sizeof(T) == 8) {
    for (int i = 0; i < kLanes; ++i) lane[i] /= static_cast<T>(divisor.value);
  } else {
    using F = std::conditional_t<sizeof(T) == 4, double, float>;
    const F by = static_cast<F>(divisor.value);
    for (int i = 0; i < kLanes; ++i) lane[i] = static_cast<T>(static_cast<F>(lane[i]) / by);
  }
  __builtin_memcpy(&value, lane, sizeof(value));
  return value;
}

// ---- Element types

/// An element type that is folded as it lies in memory.
template <typename T>
struct Plain {
  static constexpr size_t kSize = sizeof(T);
  static constexpr int kVectors = kParts;
  using Scalar = T;
  using Block = Vec<T>[kVectors];

  TUTTI_REDUCE_INLINE static void widen(const Raw& from, Block& to) {
    for (int i = 0; i < kVectors; ++i) to[i] = cast<Vec<T>>(from.part[i]);
  }
  TUTTI_REDUCE_INLINE static Raw narrow(const Block& from) {
    Raw to;
    for (int i = 0; i < kVectors; ++i) to.part[i] = cast<Vec<uint64_t>>(from[i]);
    return to;
  }
};

/// A 16-bit element type, folded in float32. The order of elements inside a block is free as long as narrow undoes
/// what widen did; where it takes shifts, even elements come first and then odd ones.
struct Wide {
  static constexpr size_t kSize = 2;
  static constexpr int kVectors = 2 * kParts;
  using Scalar = float;
  using Block = Vec<float>[kVectors];
};

struct BFloat16 : Wide {
  TUTTI_REDUCE_INLINE static void widen(const Raw& from, Block& to) {
    for (int i = 0; i < kParts; ++i) {
      const auto pairs = cast<Vec<uint32_t>>(from.part[i]);
      to[2 * i] = cast<Vec<float>>(pairs << 16);
      to[2 * i + 1] = cast<Vec<float>>(pairs & 0xffff0000u);
    }
  }

  /// Adds just under half of the last place kept, and one more where that place is odd. NaNs come in canonical.
  TUTTI_REDUCE_INLINE static Vec<uint32_t> round(Vec<float> value) {
    const auto word = cast<Vec<uint32_t>>(value);
    return word + 0x7fffu + ((word >> 16) & 1u);
  }

  TUTTI_REDUCE_INLINE static Raw narrow(const Block& from) {
    Raw to;
    for (int i = 0; i < kParts; ++i) {
      const auto even = round(from[2 * i]) >> 16;
      const auto odd = round(from[2 * i + 1]) & 0xffff0000u;
      to.part[i] = cast<Vec<uint64_t>>(even | odd);
    }
    return to;
  }
};

#if defined(TUTTI_REDUCE_F16C)
struct Float16 : Wide {
  TUTTI_REDUCE_INLINE static void widen(const Raw& from, Block& to) { widen_halves(from, to); }
  TUTTI_REDUCE_INLINE static Raw narrow(const Block& from) { return narrow_halves(from); }
};
#else
struct Float16 : Wide {
  using Words = Vec<uint32_t>;

  /// `half` in the low 16 bits. Sign and magnitude move to their places; the exponent is rebased by integer
  /// addition, or, for a subnormal, by letting 2^-14 carry it through an exact subtraction.
  TUTTI_REDUCE_INLINE static Vec<float> from_half(Words half) {
    const Words sign = (half & 0x8000u) << 16;
    const Words magnitude = (half & 0x7fffu) << 13;
    constexpr uint32_t kInfinity = 0x7c00u << 13, kSmallestNormal = 0x0400u << 13;
    const Words normal = magnitude + (112u << 23);
    const Words special = magnitude | 0x7f800000u;
    const Vec<float> lifted = cast<Vec<float>>(magnitude | (113u << 23)) - 0x1p-14f;
    Words result = magnitude >= kInfinity ? special : normal;
    result = magnitude < kSmallestNormal ? cast<Words>(lifted) : result;
    return cast<Vec<float>>(result | sign);
  }

  /// To nearest even, into the low 16 bits. A float below 2^-14 becomes a multiple of 2^-24, which is the last
  /// place of 0.5: adding 0.5 rounds it. From 65520 on it becomes infinity. NaNs come in canonical.
  TUTTI_REDUCE_INLINE static Words to_half(Vec<float> value) {
    const Words word = cast<Words>(value);
    const Words magnitude = word & 0x7fffffffu;
    const Words sign = (word >> 16) & 0x8000u;
    const Words normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
    const Words subnormal = cast<Words>(cast<Vec<float>>(magnitude) + 0.5f) - 0x3f000000u;
    Words result = magnitude < 0x38800000u ? subnormal : normal;
    result = magnitude >= 0x477ff000u ? all<uint32_t>(0x7c00u) : result;
    result = magnitude > 0x7f800000u ? all<uint32_t>(0x7e00u) : result;
    return result | sign;
  }

  TUTTI_REDUCE_INLINE static void widen(const Raw& from, Block& to) {
    for (int i = 0; i < kParts; ++i) {
      const auto pairs = cast<Words>(from.part[i]);
      to[2 * i] = from_half(pairs & 0xffffu);
      to[2 * i + 1] = from_half(pairs >> 16);
    }
  }
  TUTTI_REDUCE_INLINE static Raw narrow(const Block& from) {
    Raw to;
    for (int i = 0; i < kParts; ++i) {
      to.part[i] = cast<Vec<uint64_t>>(to_half(from[2 * i]) | (to_half(from[2 * i + 1]) << 16));
    }
    return to;
  }
};
#endif

// ---- What the kernels use

template <DataType type>
struct ElementOf;
template <>
struct ElementOf<DataType::int8> : std::type_identity<Plain<int8_t>> {};
template <>
struct ElementOf<DataType::uint8> : std::type_identity<Plain<uint8_t>> {};
template <>
struct ElementOf<DataType::int16> : std::type_identity<Plain<int16_t>> {};
template <>
struct ElementOf<DataType::uint16> : std::type_identity<Plain<uint16_t>> {};
template <>
struct ElementOf<DataType::int32> : std::type_identity<Plain<int32_t>> {};
template <>
struct ElementOf<DataType::uint32> : std::type_identity<Plain<uint32_t>> {};
template <>
struct ElementOf<DataType::int64> : std::type_identity<Plain<int64_t>> {};
template <>
struct ElementOf<DataType::uint64> : std::type_identity<Plain<uint64_t>> {};
template <>
struct ElementOf<DataType::float16> : std::type_identity<Float16> {};
template <>
struct ElementOf<DataType::bfloat16> : std::type_identity<BFloat16> {};
template <>
struct ElementOf<DataType::float32> : std::type_identity<Plain<float>> {};
template <>
struct ElementOf<DataType::float64> : std::type_identity<Plain<double>> {};

template <typename Element>
inline constexpr bool kIsFloat = std::is_floating_point_v<typename Element::Scalar>;

/// The divisor of a job in the form that `finish` takes.
template <typename Element>
TUTTI_REDUCE_INLINE auto divisor_for(uint32_t divisor) {
  if constexpr (kIsFloat<Element>) {
    return divisor_of<typename Element::Scalar>(divisor);
  } else {
    return integer_divisor_of(divisor);
  }
}

template <typename Element, ReduceOp op>
TUTTI_REDUCE_INLINE void fold(typename Element::Block& into, const Raw& operand) {
  typename Element::Block right;
  Element::widen(operand, right);
  for (int i = 0; i < Element::kVectors; ++i) {
    into[i] = combine<op, typename Element::Scalar>(into[i], right[i]);
  }
}

/// Divides where asked, settles NaNs and narrows.
template <typename Element, ReduceOp op, typename By>
TUTTI_REDUCE_INLINE Raw finish(typename Element::Block& value, const By& divisor) {
  using T = typename Element::Scalar;
  for (int i = 0; i < Element::kVectors; ++i) {
    if constexpr (kIsFloat<Element>) {
      if constexpr (op == ReduceOp::avg) {
        if (divisor.set) value[i] = divide_float<T>(value[i], divisor);
      }
      value[i] = canonical<T>(value[i]);
    } else if constexpr (op == ReduceOp::avg) {
      if (divisor.set) value[i] = divide_integer<T>(value[i], divisor);
    }
  }
  return Element::narrow(value);
}

}  // namespace
}  // namespace tutti::reduce::TUTTI_REDUCE_ISA
