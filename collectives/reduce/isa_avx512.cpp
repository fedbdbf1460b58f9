// The kernels for processors with AVX-512 (F, BW, DQ, VL): a block, and a packet line, is one register.
#include <immintrin.h>

#define TUTTI_REDUCE_ISA avx512
#define TUTTI_REDUCE_WIDTH 64
#define TUTTI_REDUCE_F16C 1
#define TUTTI_REDUCE_FIXUP 1
#include "collectives/reduce/vectors.inl"

namespace tutti::reduce::avx512 {
namespace {

// The seven data words of a packet line. Words, not bytes: some processors mask bytes more slowly.
constexpr __mmask8 kLineWords = 0x7f;

TUTTI_REDUCE_INLINE Raw raw(__m512i value) {
  return {{cast<Vec<uint64_t>>(value)}};
}
TUTTI_REDUCE_INLINE __m512i bits(const Raw& value) {
  return cast<__m512i>(value.part[0]);
}
TUTTI_REDUCE_INLINE __mmask64 first_bytes(size_t n) {
  return (uint64_t{1} << n) - 1;
}

TUTTI_REDUCE_INLINE Raw load(const unsigned char* from) {
  return raw(_mm512_loadu_si512(from));
}
TUTTI_REDUCE_INLINE Raw load_line(const unsigned char* from) {
  return raw(_mm512_maskz_loadu_epi64(kLineWords, from));
}
TUTTI_REDUCE_INLINE Raw load_some(const unsigned char* from, size_t n) {
  return raw(_mm512_maskz_loadu_epi8(first_bytes(n), from));
}

TUTTI_REDUCE_INLINE void store(unsigned char* to, const Raw& value) {
  _mm512_storeu_si512(to, bits(value));
}
TUTTI_REDUCE_INLINE void store_line(unsigned char* to, const Raw& value) {
  _mm512_mask_storeu_epi64(to, kLineWords, bits(value));
}
TUTTI_REDUCE_INLINE void store_some(unsigned char* to, const Raw& value, size_t n) {
  _mm512_mask_storeu_epi8(to, first_bytes(n), bits(value));
}

TUTTI_REDUCE_INLINE void stream(unsigned char* to, const Raw& value) {
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), bits(value));
}
TUTTI_REDUCE_INLINE void order_streams() {
  _mm_sfence();
}

// Masks of all ones cost nothing: they only keep the compiler's headers from naming an undefined register, of which
// gcc 12 warns.
TUTTI_REDUCE_INLINE void widen_halves(const Raw& from, Vec<float> (&to)[2]) {
  const __m512i value = bits(from);
  const __m256i low = _mm512_maskz_extracti64x4_epi64(0xff, value, 0);
  const __m256i high = _mm512_maskz_extracti64x4_epi64(0xff, value, 1);
  to[0] = cast<Vec<float>>(_mm512_maskz_cvtph_ps(0xffff, low));
  to[1] = cast<Vec<float>>(_mm512_maskz_cvtph_ps(0xffff, high));
}
/// From memory, where the conversion can take its operand without a shuffle.
TUTTI_REDUCE_INLINE void load_halves(const unsigned char* from, Vec<float> (&to)[2]) {
  to[0] = cast<Vec<float>>(_mm512_maskz_cvtph_ps(0xffff, read<__m256i>(from)));
  to[1] = cast<Vec<float>>(_mm512_maskz_cvtph_ps(0xffff, read<__m256i>(from + 32)));
}
TUTTI_REDUCE_INLINE Raw narrow_halves(const Vec<float> (&from)[2]) {
  constexpr int kNearestEven = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  const __m256i low = _mm512_maskz_cvtps_ph(0xffff, cast<__m512>(from[0]), kNearestEven);
  const __m256i high = _mm512_maskz_cvtps_ph(0xffff, cast<__m512>(from[1]), kNearestEven);
  return raw(_mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(low), high, 1));
}

// The response of VFIXUPIMM to each class of number, four bits each: 0 keeps the destination, 1 takes the source. The two
// lowest classes are the quiet and the signalling NaN.
constexpr int kKeepForNans = 0x11111100;

TUTTI_REDUCE_INLINE Vec<float> replace_nans(Vec<float> value, Vec<float> nan) {
  const __m512i table = _mm512_set1_epi32(kKeepForNans);
  return cast<Vec<float>>(_mm512_fixupimm_ps(cast<__m512>(nan), cast<__m512>(value), table, 0));
}
TUTTI_REDUCE_INLINE Vec<double> replace_nans(Vec<double> value, Vec<double> nan) {
  const __m512i table = _mm512_set1_epi64(kKeepForNans);
  return cast<Vec<double>>(_mm512_fixupimm_pd(cast<__m512d>(nan), cast<__m512d>(value), table, 0));
}

}  // namespace
}  // namespace tutti::reduce::avx512

#include "collectives/reduce/bulk.inl"
#include "collectives/reduce/elements.inl"
#include "collectives/reduce/packets.inl"
#include "collectives/reduce/table.inl"
