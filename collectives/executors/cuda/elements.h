// The arithmetic of every element type on the bytes of one load: unpack, fold, scale or divide, pack.
//
//   result = pack(divide(fold(fold(unpack(a), unpack(b)), unpack(c)) ...))
//
// The results are those of collectives/reduce/kernels.h, bit for bit, whether this is compiled for a GPU or for the host: every step is
// one correctly rounded operation (no fused multiply-add, no flush to zero); floats of 16 and 8 bits are folded in float32 and rounded
// once, to nearest even, a float8 saturating at its largest finite number; min and max propagate NaN and order -0 < +0; a result that is
// NaN leaves as the canonical one; integers wrap, and are divided after they have wrapped.
//
// For the host the conversions are bit arithmetic. For a GPU they are its instructions, of which one difference is made good here: its
// NaN is 0x7fff or 0x7fffffff, with all bits of the fraction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "collectives/executors/cuda/block.h"
#include "core/types.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#define TUTTI_UNROLL _Pragma("unroll")
#define TUTTI_ROLLED _Pragma("unroll 1")
#else
#include <cmath>
#define TUTTI_UNROLL
#define TUTTI_ROLLED
#endif

// The float8 conversions are instructions from compute capability 8.9 on.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
#define TUTTI_FLOAT8_INSTRUCTIONS 1
#endif

namespace tutti::cuda {

// ---- Bits

#if defined(__CUDACC__)
TUTTI_DEVICE_INLINE uint32_t word_of(float value) {
  return __float_as_uint(value);
}
TUTTI_DEVICE_INLINE float float_of(uint32_t word) {
  return __uint_as_float(word);
}
TUTTI_DEVICE_INLINE uint64_t word_of(double value) {
  return static_cast<uint64_t>(__double_as_longlong(value));
}
TUTTI_DEVICE_INLINE double double_of(uint64_t word) {
  return __longlong_as_double(static_cast<long long>(word));
}
#else
TUTTI_DEVICE_INLINE uint32_t word_of(float value) {
  return __builtin_bit_cast(uint32_t, value);
}
TUTTI_DEVICE_INLINE float float_of(uint32_t word) {
  return __builtin_bit_cast(float, word);
}
TUTTI_DEVICE_INLINE uint64_t word_of(double value) {
  return __builtin_bit_cast(uint64_t, value);
}
TUTTI_DEVICE_INLINE double double_of(uint64_t word) {
  return __builtin_bit_cast(double, word);
}
#endif

/// The bytes of one load, lowest address in the lowest bits; fewer than four are the low bytes of the word.
template <int kBytes>
struct Raw {
  uint32_t word[(kBytes + 3) / 4];
};

// ---- Operations on one number

TUTTI_DEVICE_INLINE bool is_nan(float value) {
  return value != value;
}
TUTTI_DEVICE_INLINE bool is_nan(double value) {
  return value != value;
}

#if defined(__CUDACC__)
// By name, because the compiler may fuse what operators say.
TUTTI_DEVICE_INLINE float add(float a, float b) {
  return __fadd_rn(a, b);
}
TUTTI_DEVICE_INLINE double add(double a, double b) {
  return __dadd_rn(a, b);
}
TUTTI_DEVICE_INLINE float multiply(float a, float b) {
  return __fmul_rn(a, b);
}
TUTTI_DEVICE_INLINE double multiply(double a, double b) {
  return __dmul_rn(a, b);
}
TUTTI_DEVICE_INLINE float quotient(float a, float b) {
  return __fdiv_rn(a, b);
}
TUTTI_DEVICE_INLINE double quotient(double a, double b) {
  return __ddiv_rn(a, b);
}
TUTTI_DEVICE_INLINE uint32_t high_product(uint32_t a, uint32_t b) {
  return __umulhi(a, b);
}
TUTTI_DEVICE_INLINE uint64_t high_product(uint64_t a, uint64_t b) {
  return __umul64hi(a, b);
}
#else
template <typename T>
TUTTI_DEVICE_INLINE T add(T a, T b) {
  return a + b;
}
template <typename T>
TUTTI_DEVICE_INLINE T multiply(T a, T b) {
  return a * b;
}
template <typename T>
TUTTI_DEVICE_INLINE T quotient(T a, T b) {
  return a / b;
}
TUTTI_DEVICE_INLINE uint32_t high_product(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(uint64_t{a} * b >> 32);
}
TUTTI_DEVICE_INLINE uint64_t high_product(uint64_t a, uint64_t b) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(a) * b >> 64);
}
#endif

/// The lesser: a NaN if there is one, and -0 before +0. Where neither is less, both are equal or one is a NaN: "or" keeps the
/// minus of a zero, and is a NaN if one of them is.
TUTTI_DEVICE_INLINE double lesser(double a, double b) {
  return a < b ? a : b < a ? b : double_of(word_of(a) | word_of(b));
}
/// The greater. Here "and" keeps the plus of a zero, but does not keep a NaN.
TUTTI_DEVICE_INLINE double greater(double a, double b) {
  if (a > b) return a;
  if (b > a) return b;
  return is_nan(a) ? a : is_nan(b) ? b : double_of(word_of(a) & word_of(b));
}

#if defined(__CUDACC__)
TUTTI_DEVICE_INLINE float lesser(float a, float b) {
  float result;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}
TUTTI_DEVICE_INLINE float greater(float a, float b) {
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}
#else
TUTTI_DEVICE_INLINE float lesser(float a, float b) {
  return a < b ? a : b < a ? b : float_of(word_of(a) | word_of(b));
}
TUTTI_DEVICE_INLINE float greater(float a, float b) {
  if (a > b) return a;
  if (b > a) return b;
  return is_nan(a) ? a : is_nan(b) ? b : float_of(word_of(a) & word_of(b));
}
#endif

/// `T` is float, double, or an integer of 32 or 64 bits.
template <ReduceOp op, typename T>
TUTTI_DEVICE_INLINE T combine(T a, T b) {
  static_assert(op != ReduceOp::avg, "an avg folds as a sum");
  if constexpr (std::is_floating_point_v<T>) {
    if constexpr (op == ReduceOp::sum) return add(a, b);
    if constexpr (op == ReduceOp::prod) return multiply(a, b);
    if constexpr (op == ReduceOp::min) return lesser(a, b);
    return greater(a, b);
  } else {
    using U = std::make_unsigned_t<T>;  // integers wrap
    if constexpr (op == ReduceOp::sum) return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
    if constexpr (op == ReduceOp::prod) return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
    if constexpr (op == ReduceOp::min) return a < b ? a : b;
    return a > b ? a : b;
  }
}

// ---- Floats narrower than 32 bits
//
// Converted in pairs, as the instructions do it. The first of a pair is in the low bits.

struct FloatPair {
  float first;
  float second;
};

/// The bits of a word in which a NaN of the instructions differs from the canonical one, for those of the two that are NaN.
template <uint32_t kExcess>
TUTTI_DEVICE_INLINE uint32_t without_excess(uint32_t bits, FloatPair value) {
  const uint32_t first = is_nan(value.first) ? kExcess : 0;
  const uint32_t second = is_nan(value.second) ? kExcess << 16 : 0;
  return bits & ~(first | second);
}

/// An IEEE-like format with kDigits digits after the leading one, whose smallest normal number is 2^kLeast and whose largest has the
/// bits kLargest, by bit arithmetic; the number lies in the low bits of a word.
template <int kSize, int kDigits, int kLeast, uint32_t kLargest>
struct NarrowFloat {
  static constexpr int kShift = 23 - kDigits;  // from its place to a float's
  static constexpr uint32_t kRebase = static_cast<uint32_t>(kLeast - 1 + 127) << 23;  // of the exponent
  static constexpr uint32_t kSmallestNormal = kRebase + (uint32_t{1} << 23);          // as a float
  static constexpr uint32_t kSignBit = uint32_t{1} << (8 * kSize - 1);

  /// Sign and magnitude move to their places; the exponent is rebased by integer addition, or, for a subnormal, by letting the
  /// smallest normal number carry it through an exact subtraction.
  TUTTI_DEVICE_INLINE static float widen(uint32_t bits) {
    const uint32_t sign = (bits & kSignBit) << (32 - 8 * kSize);
    const uint32_t magnitude = (bits & (kSignBit - 1)) << kShift;
    uint32_t result = magnitude + kRebase;
    if (magnitude < uint32_t{1} << 23) {
      result = word_of(add(float_of(magnitude | kSmallestNormal), -float_of(kSmallestNormal)));
    }
    if (magnitude >= (kLargest + 1) << kShift) result = magnitude | 0x7f800000u;
    return float_of(result | sign);
  }

  /// To nearest even; what is then more than the largest finite number becomes `beyond`. Below the smallest normal number it becomes a
  /// multiple of the last place, by addition of the number that has its last place there.
  TUTTI_DEVICE_INLINE static uint32_t narrow(float value, uint32_t beyond, uint32_t nan) {
    constexpr uint32_t kHalf = uint32_t{1} << (kShift - 1);
    constexpr uint32_t kLastPlace = static_cast<uint32_t>(kLeast - kDigits + 23 + 127) << 23;
    const uint32_t magnitude = word_of(value) & 0x7fffffffu;
    const uint32_t sign = (word_of(value) >> (32 - 8 * kSize)) & kSignBit;
    uint32_t result = (magnitude + (kHalf - 1) + ((magnitude >> kShift) & 1u) - kRebase) >> kShift;
    if (magnitude < kSmallestNormal)
      result = word_of(add(float_of(magnitude), float_of(kLastPlace))) - kLastPlace;
    if (result > kLargest) result = beyond;
    return magnitude > 0x7f800000u ? nan : result | sign;
  }
};

template <DataType type>
struct Narrow;

template <>
struct Narrow<DataType::float16> {
  TUTTI_DEVICE_INLINE static FloatPair widen(uint32_t bits) {
#if defined(__CUDACC__)
    return {__half2float(__ushort_as_half(static_cast<unsigned short>(bits))),
            __half2float(__ushort_as_half(static_cast<unsigned short>(bits >> 16)))};
#else
    return {Format::widen(bits & 0xffffu), Format::widen(bits >> 16)};
#endif
  }
  TUTTI_DEVICE_INLINE static uint32_t narrow(FloatPair value) {
#if defined(__CUDACC__)
    uint32_t bits;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(value.second), "f"(value.first));
    return without_excess<0x01ff>(bits, value);
#else
    return Format::narrow(value.first, 0x7c00, 0x7e00) | Format::narrow(value.second, 0x7c00, 0x7e00) << 16;
#endif
  }

 private:
  using Format = NarrowFloat<2, 10, -14, 0x7bff>;
};

template <>
struct Narrow<DataType::bfloat16> {
  TUTTI_DEVICE_INLINE static FloatPair widen(uint32_t bits) {
    return {float_of(bits << 16), float_of(bits & 0xffff0000u)};
  }
  TUTTI_DEVICE_INLINE static uint32_t narrow(FloatPair value) {
#if defined(__CUDACC__)
    uint32_t bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(value.second), "f"(value.first));
    return without_excess<0x003f>(bits, value);
#else
    return rounded(value.first) | rounded(value.second) << 16;
#endif
  }

 private:
  /// Adds half of the last place kept where that place is odd, and just under half where it is even.
  TUTTI_DEVICE_INLINE static uint32_t rounded(float value) {
    const uint32_t word = word_of(value);
    return is_nan(value) ? 0x7fc0u : (word + 0x7fffu + ((word >> 16) & 1u)) >> 16;
  }
};

#if defined(__CUDACC__)
#define TUTTI_FLOAT8_KIND(kind) static constexpr __nv_fp8_interpretation_t kKind = kind
#else
#define TUTTI_FLOAT8_KIND(kind)
#endif

/// A format of 8 bits: NaN is 0x7f, and whatever is too large is the largest finite number.
template <typename Kind>
struct NarrowFloat8 {
  using Format = typename Kind::Format;

  TUTTI_DEVICE_INLINE static FloatPair widen(uint32_t bits) {
#if defined(TUTTI_FLOAT8_INSTRUCTIONS)
    const __half2_raw halves =
        __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(bits), Kind::kKind);
    return {__half2float(__ushort_as_half(halves.x)), __half2float(__ushort_as_half(halves.y))};
#else
    return {Format::widen(bits & 0xffu), Format::widen((bits >> 8) & 0xffu)};
#endif
  }
  TUTTI_DEVICE_INLINE static uint32_t narrow(FloatPair value) {
#if defined(TUTTI_FLOAT8_INSTRUCTIONS)
    return __nv_cvt_float2_to_fp8x2(make_float2(value.first, value.second), __NV_SATFINITE, Kind::kKind);
#else
    return Format::narrow(value.first, Kind::kLargest, 0x7f) |
           Format::narrow(value.second, Kind::kLargest, 0x7f) << 8;
#endif
  }
};

struct KindE4m3 {
  static constexpr uint32_t kLargest = 0x7e;
  using Format = NarrowFloat<1, 3, -6, kLargest>;
  TUTTI_FLOAT8_KIND(__NV_E4M3);
};
struct KindE5m2 {
  static constexpr uint32_t kLargest = 0x7b;
  using Format = NarrowFloat<1, 2, -14, kLargest>;
  TUTTI_FLOAT8_KIND(__NV_E5M2);
};
#undef TUTTI_FLOAT8_KIND

template <>
struct Narrow<DataType::float8_e4m3> : NarrowFloat8<KindE4m3> {};
template <>
struct Narrow<DataType::float8_e5m2> : NarrowFloat8<KindE5m2> {};

// ---- Element types

/// `Lane` is what an element is in a register. Small integers fill 32 bits there; what is above their own bits does not count
/// until they are compared or divided, and is then an extension of the element.
template <typename Integer>
struct IntegerElement {
  using Storage = Integer;
  using Lane = std::conditional_t<sizeof(Integer) >= 4, Integer,
                                  std::conditional_t<std::is_signed_v<Integer>, int32_t, uint32_t>>;
  static constexpr bool kNarrow = false;
};
template <typename Float>
struct FloatElement {
  using Storage = Float;
  using Lane = Float;
  static constexpr bool kNarrow = false;
};
struct NarrowElement {
  using Lane = float;
  static constexpr bool kNarrow = true;
};

template <DataType type>
struct ElementOf : NarrowElement {};
template <>
struct ElementOf<DataType::int8> : IntegerElement<int8_t> {};
template <>
struct ElementOf<DataType::uint8> : IntegerElement<uint8_t> {};
template <>
struct ElementOf<DataType::int16> : IntegerElement<int16_t> {};
template <>
struct ElementOf<DataType::uint16> : IntegerElement<uint16_t> {};
template <>
struct ElementOf<DataType::int32> : IntegerElement<int32_t> {};
template <>
struct ElementOf<DataType::uint32> : IntegerElement<uint32_t> {};
template <>
struct ElementOf<DataType::int64> : IntegerElement<int64_t> {};
template <>
struct ElementOf<DataType::uint64> : IntegerElement<uint64_t> {};
template <>
struct ElementOf<DataType::float32> : FloatElement<float> {};
template <>
struct ElementOf<DataType::float64> : FloatElement<double> {};

template <DataType type>
using LaneOf = typename ElementOf<type>::Lane;

/// The elements of kBytes bytes, each in a register.
template <DataType type, int kBytes>
struct Lanes {
  static constexpr int kCount = kBytes / static_cast<int>(size_of(type));
  static_assert(kCount >= 1);
  LaneOf<type> at[kCount];
};

/// The `kSize` bytes of element i, in the low bits.
template <int kSize, int kBytes>
TUTTI_DEVICE_INLINE uint32_t bits_at(const Raw<kBytes>& raw, int i) {
  static_assert(kSize <= 4);
  return raw.word[i * kSize / 4] >> (8 * (i * kSize % 4));
}

template <DataType type, int kBytes>
TUTTI_DEVICE_INLINE Lanes<type, kBytes> unpack(const Raw<kBytes>& raw) {
  using Element = ElementOf<type>;
  constexpr int kSize = static_cast<int>(size_of(type));
  Lanes<type, kBytes> lanes;
  constexpr int kCount = Lanes<type, kBytes>::kCount;
  if constexpr (Element::kNarrow) {
    if constexpr (kCount == 1) {
      lanes.at[0] = Narrow<type>::widen(raw.word[0]).first;
    } else {
      TUTTI_UNROLL
      for (int i = 0; i < kCount; i += 2) {
        const FloatPair pair = Narrow<type>::widen(bits_at<kSize>(raw, i));
        lanes.at[i] = pair.first;
        lanes.at[i + 1] = pair.second;
      }
    }
  } else {
    TUTTI_UNROLL
    for (int i = 0; i < kCount; ++i) {
      if constexpr (kSize == 8) {
        const uint64_t bits = raw.word[2 * i] | static_cast<uint64_t>(raw.word[2 * i + 1]) << 32;
        if constexpr (type == DataType::float64) {
          lanes.at[i] = double_of(bits);
        } else {
          lanes.at[i] = static_cast<LaneOf<type>>(bits);
        }
      } else if constexpr (type == DataType::float32) {
        lanes.at[i] = float_of(raw.word[i]);
      } else {
        lanes.at[i] = static_cast<typename Element::Storage>(bits_at<kSize>(raw, i));
      }
    }
  }
  return lanes;
}

template <ReduceOp op, DataType type, int kBytes>
TUTTI_DEVICE_INLINE void fold(Lanes<type, kBytes>& into, const Lanes<type, kBytes>& right) {
  TUTTI_UNROLL
  for (int i = 0; i < Lanes<type, kBytes>::kCount; ++i) into.at[i] = combine<op>(into.at[i], right.at[i]);
}

// ---- Division of the finished sum

/// How to divide by one divisor, prepared once. A power of two divides floats exactly as its reciprocal multiplies them; that is
/// `scale`, which with divisor 0 changes nothing. Everything else is `divide`.
template <typename T>
struct Division {
  T factor;
  T by;
  bool scales;

  TUTTI_DEVICE_INLINE explicit Division(uint32_t divisor)
      : factor(1), by(static_cast<T>(divisor)), scales((divisor & (divisor - 1)) == 0) {
    if (scales && divisor != 0) factor = reciprocal(by);
  }
  TUTTI_DEVICE_INLINE T scale(T value) const { return multiply(value, factor); }
  TUTTI_DEVICE_INLINE T divide(T value) const { return quotient(value, by); }

 private:
  /// Of a power of two: the exponent, biased, is subtracted from twice the bias.
  TUTTI_DEVICE_INLINE static float reciprocal(float power) { return float_of((254u << 23) - word_of(power)); }
  TUTTI_DEVICE_INLINE static double reciprocal(double power) {
    return double_of((uint64_t{2046} << 52) - word_of(power));
  }
};

/// Integers, truncating toward zero. With m = floor((2^w - 1) / d), which is at least 2^w / d - 1, floor(x * m / 2^w) is the quotient or
/// one less, for all x < 2^w.
template <typename T>
struct IntegerDivision {
  using U = std::make_unsigned_t<T>;
  U reciprocal;
  U by;
  bool scales;

  TUTTI_DEVICE_INLINE explicit IntegerDivision(uint32_t divisor)
      : reciprocal(divisor == 0 ? U{0} : static_cast<U>(~U{0}) / divisor),
        by(divisor),
        scales(divisor == 0) {}
  TUTTI_DEVICE_INLINE T scale(T value) const { return value; }
  TUTTI_DEVICE_INLINE T divide(T value) const {
    bool negative = false;
    if constexpr (std::is_signed_v<T>) negative = value < 0;
    const U magnitude = negative ? U{0} - static_cast<U>(value) : static_cast<U>(value);
    U result = high_product(magnitude, reciprocal);
    if (magnitude - result * by >= by) ++result;
    return static_cast<T>(negative ? U{0} - result : result);
  }
};
template <>
struct Division<int32_t> : IntegerDivision<int32_t> {
  using IntegerDivision::IntegerDivision;
};
template <>
struct Division<uint32_t> : IntegerDivision<uint32_t> {
  using IntegerDivision::IntegerDivision;
};
template <>
struct Division<int64_t> : IntegerDivision<int64_t> {
  using IntegerDivision::IntegerDivision;
};
template <>
struct Division<uint64_t> : IntegerDivision<uint64_t> {
  using IntegerDivision::IntegerDivision;
};

template <DataType type>
using DivisionOf = Division<LaneOf<type>>;

/// For a division that `scales`.
template <DataType type, int kBytes>
TUTTI_DEVICE_INLINE void scale(Lanes<type, kBytes>& lanes, const DivisionOf<type>& division) {
  TUTTI_UNROLL
  for (int i = 0; i < Lanes<type, kBytes>::kCount; ++i) lanes.at[i] = division.scale(lanes.at[i]);
}

/// For any other. Of a small integer only the element counts, without what the sum carried beyond it.
template <DataType type, int kBytes>
TUTTI_DEVICE_INLINE void divide(Lanes<type, kBytes>& lanes, const DivisionOf<type>& division) {
  TUTTI_UNROLL
  for (int i = 0; i < Lanes<type, kBytes>::kCount; ++i) {
    if constexpr (!ElementOf<type>::kNarrow) {
      lanes.at[i] = division.divide(static_cast<typename ElementOf<type>::Storage>(lanes.at[i]));
    } else {
      lanes.at[i] = division.divide(lanes.at[i]);
    }
  }
}

// ---- Back to bytes

template <DataType type, int kBytes>
TUTTI_DEVICE_INLINE Raw<kBytes> pack(const Lanes<type, kBytes>& lanes) {
  constexpr int kSize = static_cast<int>(size_of(type));
  constexpr int kCount = Lanes<type, kBytes>::kCount;
  Raw<kBytes> raw{};
  if constexpr (ElementOf<type>::kNarrow) {
    if constexpr (kCount == 1) {
      raw.word[0] = Narrow<type>::narrow({lanes.at[0], 0.0f}) & ((uint32_t{1} << (8 * kSize)) - 1);
    } else {
      TUTTI_UNROLL
      for (int i = 0; i < kCount; i += 2) {
        raw.word[i * kSize / 4] |= Narrow<type>::narrow({lanes.at[i], lanes.at[i + 1]})
                                   << (8 * (i * kSize % 4));
      }
    }
  } else {
    TUTTI_UNROLL
    for (int i = 0; i < kCount; ++i) {
      const LaneOf<type> lane = lanes.at[i];
      if constexpr (type == DataType::float32) {
        raw.word[i] = is_nan(lane) ? 0x7fc00000u : word_of(lane);
      } else if constexpr (kSize == 8) {
        uint64_t bits = 0;
        if constexpr (type == DataType::float64) {
          bits = is_nan(lane) ? uint64_t{0x7ff8000000000000} : word_of(lane);
        } else {
          bits = static_cast<uint64_t>(lane);
        }
        raw.word[2 * i] = static_cast<uint32_t>(bits);
        raw.word[2 * i + 1] = static_cast<uint32_t>(bits >> 32);
      } else {
        constexpr uint32_t kMask = kSize == 4 ? ~uint32_t{0} : (uint32_t{1} << (8 * kSize % 32)) - 1;
        raw.word[i * kSize / 4] |= (static_cast<uint32_t>(lane) & kMask) << (8 * (i * kSize % 4));
      }
    }
  }
  return raw;
}

}  // namespace tutti::cuda
