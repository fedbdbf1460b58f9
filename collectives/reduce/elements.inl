// The arithmetic of every element type on a block of 64 bytes: widen, fold, finish, narrow.
//
//   result = narrow(finish(fold(fold(widen(a), widen(b)), widen(c)) ...))
//
// Only floats of 16 and 8 bits widen (to float32); for the others a block is folded as it lies in memory. What makes
// results equal on every processor: each step is one correctly rounded operation; zeros and NaNs, where processors
// and compilers may pick either operand, are decided here by their bits; and a result that is NaN leaves as the one
// canonical quiet NaN.
#pragma once

#include "collectives/reduce/vectors.inl"

namespace tutti::reduce::TUTTI_REDUCE_ISA {
namespace {

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
  if constexpr (op == ReduceOp::sum) {
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

/// One canonical NaN: quiet, positive, no payload.
template <typename T>
using WordOf = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
template <typename T>
inline constexpr WordOf<T> kNan = sizeof(T) == 4 ? WordOf<T>{0x7fc00000}
                                                 : static_cast<WordOf<T>>(0x7ff8000000000000);

template <typename T>
TUTTI_REDUCE_INLINE Vec<T> canonical(Vec<T> value) {
  const auto nan = cast<Vec<T>>(all<WordOf<T>>(kNan<T>));
#if defined(TUTTI_REDUCE_FIXUP)
  return replace_nans(value, nan);
#else
  return value == value ? value : nan;
#endif
}

// ---- Division of the finished sum
//
// One type for each way to divide, so that the choice is made once per call and not once per vector.

struct Undivided {};

/// A power of two divides floats exactly as its reciprocal multiplies them.
template <typename T>
struct Times {
  T factor;
};
template <typename T>
struct Over {
  T divisor;
};

/// A power of two divides integers by a shift.
struct Shift {
  unsigned by;
};
/// Stays 32 bits wide, because it may exceed the element type.
struct Quotient {
  uint32_t divisor;
};

template <typename T>
TUTTI_REDUCE_INLINE Vec<T> divide(Vec<T> value, Undivided) {
  return value;
}
template <typename T>
TUTTI_REDUCE_INLINE Vec<T> divide(Vec<T> value, Times<T> times) {
  return value * times.factor;
}
template <typename T>
TUTTI_REDUCE_INLINE Vec<T> divide(Vec<T> value, Over<T> over) {
  return value / over.divisor;
}

/// Toward zero: a negative number is first raised by divisor - 1.
template <typename T>
TUTTI_REDUCE_INLINE Vec<T> divide(Vec<T> value, Shift shift) {
  if (shift.by >= 8 * sizeof(T)) return Vec<T>{};
  if constexpr (std::is_signed_v<T>) {
    const auto below_divisor = all<T>(static_cast<T>((uint64_t{1} << shift.by) - 1));
    value += value < Vec<T>{} ? below_divisor : Vec<T>{};
  }
  return value >> static_cast<T>(shift.by);
}

/// Toward zero. Up to 32 bits the division is done in a floating-point type F with enough digits that the quotient,
/// which is at least 1 / divisor away from the next integer if it is none, truncates correctly.
template <typename T>
TUTTI_REDUCE_INLINE Vec<T> divide(Vec<T> value, Quotient quotient) {
  constexpr int kLanes = sizeof(value) / sizeof(T);
  T lane[kLanes];
  __builtin_memcpy(lane, &value, sizeof(value));
  if constexpr (sizeof(T) == 8) {
    for (int i = 0; i < kLanes; ++i) lane[i] /= static_cast<T>(quotient.divisor);
  } else {
    using F = std::conditional_t<sizeof(T) == 4, double, float>;
    const F by = static_cast<F>(quotient.divisor);
    for (int i = 0; i < kLanes; ++i) lane[i] = static_cast<T>(static_cast<F>(lane[i]) / by);
  }
  __builtin_memcpy(&value, lane, sizeof(value));
  return value;
}

/// Calls body with the way in which T is divided by `divisor`; 0: not at all.
template <typename T, typename Body>
TUTTI_REDUCE_INLINE auto with_divisor(uint32_t divisor, const Body& body) {
  if (divisor == 0) return body(Undivided{});
  const bool power_of_two = (divisor & (divisor - 1)) == 0;
  if constexpr (std::is_floating_point_v<T>) {
    const T value = static_cast<T>(divisor);
    return power_of_two ? body(Times<T>{T{1} / value}) : body(Over<T>{value});
  } else {
    return power_of_two ? body(Shift{static_cast<unsigned>(__builtin_ctz(divisor))})
                        : body(Quotient{divisor});
  }
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
  TUTTI_REDUCE_INLINE static void load_wide(const unsigned char* from, Block& to) { widen(load(from), to); }
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

  TUTTI_REDUCE_INLINE static void load_wide(const unsigned char* from, Block& to) { widen(load(from), to); }

  /// Adds half of the last place kept where that place is odd, and just under half where it is even. NaNs come in
  /// canonical. With mask registers the choice costs one instruction less than computing the addend.
  TUTTI_REDUCE_INLINE static Vec<uint32_t> round(Vec<float> value) {
    const auto word = cast<Vec<uint32_t>>(value);
#if defined(__AVX512F__)
    return (word & 0x10000u) != 0 ? word + 0x8000u : word + 0x7fffu;
#else
    return word + 0x7fffu + ((word >> 16) & 1u);
#endif
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
  TUTTI_REDUCE_INLINE static void load_wide(const unsigned char* from, Block& to) { load_halves(from, to); }
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
  TUTTI_REDUCE_INLINE static void load_wide(const unsigned char* from, Block& to) { widen(load(from), to); }
  TUTTI_REDUCE_INLINE static Raw narrow(const Block& from) {
    Raw to;
    for (int i = 0; i < kParts; ++i) {
      to.part[i] = cast<Vec<uint64_t>>(to_half(from[2 * i]) | (to_half(from[2 * i + 1]) << 16));
    }
    return to;
  }
};
#endif

/// An 8-bit float with kDigits digits after the leading one, whose smallest normal number is 2^kLeast, in the low 8 bits of a
/// word. Four vectors of floats hold a register of bytes: the first, second, third and last byte of every word. A block is widened and
/// narrowed by functions that are called: each is some hundred instructions, and inlined they would be a third of all kernels.
template <int kDigits, int kLeast, uint32_t kLargest>
struct Float8 {
  static constexpr size_t kSize = 1;
  static constexpr int kVectors = 4 * kParts;
  using Scalar = float;
  using Block = Vec<float>[kVectors];
  using Words = Vec<uint32_t>;

  static constexpr int kShift = 23 - kDigits;  // from its place to a float's
  static constexpr uint32_t kRebase = static_cast<uint32_t>(kLeast - 1 + 127) << 23;  // of the exponent

  /// As Float16 does it.
  TUTTI_REDUCE_INLINE static Vec<float> from_byte(Words byte) {
    constexpr uint32_t kSmallestNormal = uint32_t{1} << 23, kSpecial = (kLargest + 1) << kShift;
    const Words sign = (byte & 0x80u) << 24;
    const Words magnitude = (byte & 0x7fu) << kShift;
    const Words normal = magnitude + kRebase;
    const auto unit = __builtin_bit_cast(float, kRebase + kSmallestNormal);
    const Vec<float> lifted = cast<Vec<float>>(magnitude | (kRebase + kSmallestNormal)) - unit;
    Words result = magnitude >= kSpecial ? magnitude | 0x7f800000u : normal;
    result = magnitude < kSmallestNormal ? cast<Words>(lifted) : result;
    return cast<Vec<float>>(result | sign);
  }

  /// To nearest even; beyond kLargest it stays there. Below the smallest normal number it becomes a multiple of the last
  /// place, by addition of the number that has its last place there.
  TUTTI_REDUCE_INLINE static Words to_byte(Vec<float> value) {
    constexpr uint32_t kSmallestNormal = kRebase + (uint32_t{1} << 23);
    constexpr uint32_t kHalf = uint32_t{1} << (kShift - 1);
    constexpr uint32_t kLastPlace = static_cast<uint32_t>(kLeast - kDigits + 23 + 127) << 23;
    const Words word = cast<Words>(value);
    const Words magnitude = word & 0x7fffffffu;
    const Words sign = (word >> 24) & 0x80u;
    const Words normal = (magnitude + (kHalf - 1) + ((magnitude >> kShift) & 1u) - kRebase) >> kShift;
    const Vec<float> raised = cast<Vec<float>>(magnitude) + __builtin_bit_cast(float, kLastPlace);
    Words result = magnitude < kSmallestNormal ? cast<Words>(raised) - kLastPlace : normal;
    result = magnitude >= (kLargest << kShift) + kRebase ? all<uint32_t>(kLargest) : result;
    return magnitude > 0x7f800000u ? all<uint32_t>(0x7f) : result | sign;
  }

  [[gnu::noinline]] static void widen(const Raw& from, Block& to) {
    for (int i = 0; i < kParts; ++i) {
      const auto words = cast<Words>(from.part[i]);
      for (int byte = 0; byte < 4; ++byte) to[4 * i + byte] = from_byte((words >> (8 * byte)) & 0xffu);
    }
  }
  TUTTI_REDUCE_INLINE static void load_wide(const unsigned char* from, Block& to) { widen(load(from), to); }
  [[gnu::noinline]] static Raw narrow(const Block& from) {
    Raw to;
    for (int i = 0; i < kParts; ++i) {
      Words words = to_byte(from[4 * i]);
      for (int byte = 1; byte < 4; ++byte) words |= to_byte(from[4 * i + byte]) << (8 * byte);
      to.part[i] = cast<Vec<uint64_t>>(words);
    }
    return to;
  }
};

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
template <>
struct ElementOf<DataType::float8_e4m3> : std::type_identity<Float8<3, -6, 0x7e>> {};
template <>
struct ElementOf<DataType::float8_e5m2> : std::type_identity<Float8<2, -14, 0x7b>> {};

template <typename Element, ReduceOp op>
TUTTI_REDUCE_INLINE void fold(typename Element::Block& into, const typename Element::Block& right) {
  for (int i = 0; i < Element::kVectors; ++i) {
    into[i] = combine<op, typename Element::Scalar>(into[i], right[i]);
  }
}

/// Folds an operand that is in registers, and one that is 64 bytes in memory.
template <typename Element, ReduceOp op>
TUTTI_REDUCE_INLINE void fold_raw(typename Element::Block& into, const Raw& operand) {
  typename Element::Block right;
  Element::widen(operand, right);
  fold<Element, op>(into, right);
}
template <typename Element, ReduceOp op>
TUTTI_REDUCE_INLINE void fold_from(typename Element::Block& into, const unsigned char* operand) {
  typename Element::Block right;
  Element::load_wide(operand, right);
  fold<Element, op>(into, right);
}

/// Divides, settles NaNs and narrows.
template <typename Element, typename By>
TUTTI_REDUCE_INLINE Raw finish(typename Element::Block& value, By by) {
  using T = typename Element::Scalar;
  for (int i = 0; i < Element::kVectors; ++i) {
    value[i] = divide<T>(value[i], by);
    if constexpr (std::is_floating_point_v<T>) value[i] = canonical<T>(value[i]);
  }
  return Element::narrow(value);
}

}  // namespace
}  // namespace tutti::reduce::TUTTI_REDUCE_ISA
