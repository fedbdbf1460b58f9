// The kernels for every processor: 16-byte vectors of the compiler, which x86-64 (SSE2) and AArch64 have in hardware.
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define TUTTI_REDUCE_ISA portable
#define TUTTI_REDUCE_WIDTH 16
#include "collectives/reduce/vectors.inl"

namespace tutti::reduce::portable {
namespace {

TUTTI_REDUCE_INLINE Raw load(const unsigned char* from) {
  Raw value;
  for (int i = 0; i < kParts; ++i) value.part[i] = read<Vec<uint64_t>>(from + 16 * i);
  return value;
}
TUTTI_REDUCE_INLINE Raw load_line(const unsigned char* from) {
  Raw value;
  for (int i = 0; i < 3; ++i) value.part[i] = read<Vec<uint64_t>>(from + 16 * i);
  value.part[3] = Vec<uint64_t>{read<uint64_t>(from + 48), 0};
  return value;
}
TUTTI_REDUCE_INLINE Raw load_some(const unsigned char* from, size_t n) {
  alignas(64) unsigned char buffer[kBlock] = {};
  move_some(buffer, from, n);
  return load(buffer);
}

TUTTI_REDUCE_INLINE void store(unsigned char* to, const Raw& value) {
  for (int i = 0; i < kParts; ++i) write(to + 16 * i, value.part[i]);
}
TUTTI_REDUCE_INLINE void store_line(unsigned char* to, const Raw& value) {
  for (int i = 0; i < 3; ++i) write(to + 16 * i, value.part[i]);
  write(to + 48, value.part[3][0]);
}
TUTTI_REDUCE_INLINE void store_some(unsigned char* to, const Raw& value, size_t n) {
  alignas(64) unsigned char buffer[kBlock];
  store(buffer, value);
  move_some(to, buffer, n);
}

#if defined(__SSE2__)
TUTTI_REDUCE_INLINE void stream(unsigned char* to, const Raw& value) {
  for (int i = 0; i < kParts; ++i) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + 16 * i), cast<__m128i>(value.part[i]));
  }
}
TUTTI_REDUCE_INLINE void order_streams() {
  _mm_sfence();
}
#else
TUTTI_REDUCE_INLINE void stream(unsigned char* to, const Raw& value) {
  store(to, value);
}
TUTTI_REDUCE_INLINE void order_streams() {}
#endif

}  // namespace
}  // namespace tutti::reduce::portable

#include "collectives/reduce/bulk.inl"
#include "collectives/reduce/elements.inl"
#include "collectives/reduce/packets.inl"
#include "collectives/reduce/table.inl"
