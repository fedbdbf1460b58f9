// The kernels for processors with AVX2 and F16C: a block is two registers.
#include <immintrin.h>

#define TUTTI_REDUCE_ISA avx2
#define TUTTI_REDUCE_WIDTH 32
#define TUTTI_REDUCE_F16C 1
#include "collectives/reduce/vectors.inl"

namespace tutti::reduce::avx2 {
namespace {

TUTTI_REDUCE_INLINE Vec<uint64_t> words(__m256i value) {
  return cast<Vec<uint64_t>>(value);
}

// Masks of 4-byte units: a load at (16 - n) units from the middle selects the first n.
alignas(64) constexpr int32_t kUnitMasks[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                                -1, -1, -1, -1, -1, 0,  0,  0,  0,  0,  0,
                                                0,  0,  0,  0,  0,  0,  0,  0,  0,  0};

TUTTI_REDUCE_INLINE Raw load(const unsigned char* from) {
  return {{read<Vec<uint64_t>>(from), read<Vec<uint64_t>>(from + 32)}};
}
TUTTI_REDUCE_INLINE Raw load_line(const unsigned char* from) {
  const __m256i three = _mm256_setr_epi64x(-1, -1, -1, 0);
  const auto* rest = reinterpret_cast<const long long*>(from + 32);
  return {{read<Vec<uint64_t>>(from), words(_mm256_maskload_epi64(rest, three))}};
}
TUTTI_REDUCE_INLINE Raw load_some(const unsigned char* from, size_t n) {
  if (n % 4 == 0) {  // every message of 4- and 8-byte elements
    const int32_t* mask = kUnitMasks + 16 - n / 4;
    const auto* units = reinterpret_cast<const int*>(from);
    const auto low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(mask));
    const auto high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(mask + 8));
    return {{words(_mm256_maskload_epi32(units, low)), words(_mm256_maskload_epi32(units + 8, high))}};
  }
  alignas(64) unsigned char buffer[kBlock] = {};
  move_some(buffer, from, n);
  return load(buffer);
}

TUTTI_REDUCE_INLINE void store(unsigned char* to, const Raw& value) {
  write(to, value.part[0]);
  write(to + 32, value.part[1]);
}
TUTTI_REDUCE_INLINE void store_line(unsigned char* to, const Raw& value) {
  const auto high = cast<__m256i>(value.part[1]);
  write(to, value.part[0]);
  write(to + 32, _mm256_castsi256_si128(high));
  write(to + 48, _mm256_extract_epi64(high, 2));
}
TUTTI_REDUCE_INLINE void store_some(unsigned char* to, const Raw& value, size_t n) {
  alignas(64) unsigned char buffer[kBlock];
  store(buffer, value);
  move_some(to, buffer, n);
}

TUTTI_REDUCE_INLINE void stream(unsigned char* to, const Raw& value) {
  auto* at = reinterpret_cast<__m256i*>(to);
  _mm256_stream_si256(at, cast<__m256i>(value.part[0]));
  _mm256_stream_si256(at + 1, cast<__m256i>(value.part[1]));
}
TUTTI_REDUCE_INLINE void order_streams() {
  _mm_sfence();
}

TUTTI_REDUCE_INLINE void widen_halves(const Raw& from, Vec<float> (&to)[4]) {
  for (int i = 0; i < 2; ++i) {
    const auto value = cast<__m256i>(from.part[i]);
    to[2 * i] = cast<Vec<float>>(_mm256_cvtph_ps(_mm256_castsi256_si128(value)));
    to[2 * i + 1] = cast<Vec<float>>(_mm256_cvtph_ps(_mm256_extracti128_si256(value, 1)));
  }
}
/// From memory, where the conversion can take its operand without a shuffle.
TUTTI_REDUCE_INLINE void load_halves(const unsigned char* from, Vec<float> (&to)[4]) {
  for (int i = 0; i < 4; ++i) to[i] = cast<Vec<float>>(_mm256_cvtph_ps(read<__m128i>(from + 16 * i)));
}
TUTTI_REDUCE_INLINE Raw narrow_halves(const Vec<float> (&from)[4]) {
  Raw to;
  for (int i = 0; i < 2; ++i) {
    const __m128i low = _mm256_cvtps_ph(cast<__m256>(from[2 * i]), _MM_FROUND_TO_NEAREST_INT);
    const __m128i high = _mm256_cvtps_ph(cast<__m256>(from[2 * i + 1]), _MM_FROUND_TO_NEAREST_INT);
    to.part[i] = words(_mm256_set_m128i(high, low));
  }
  return to;
}

}  // namespace
}  // namespace tutti::reduce::avx2

#include "collectives/reduce/bulk.inl"
#include "collectives/reduce/elements.inl"
#include "collectives/reduce/packets.inl"
#include "collectives/reduce/table.inl"
