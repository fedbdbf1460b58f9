// The words in which the kernels are written: Raw, 64 bytes of user data in registers, whatever their width.
//
// Included by each isa_*.cpp, which has defined before
//   TUTTI_REDUCE_ISA    the name of its namespace,
//   TUTTI_REDUCE_WIDTH  bytes of one vector register,
// and which defines after it, in the same namespace, how a Raw is loaded and stored:
//   load, load_line, load_some      64, 56 and n < 64 bytes; bytes not loaded are zero and are never touched
//   store, store_line, store_some   the same sizes; bytes beyond are never touched
//   stream, order_streams           64 bytes to an address aligned to 64, not through the cache; the fence after
//
// The linker may keep any one of several equal inline functions. If it kept one that was compiled for AVX-512, the
// library would crash on a lesser processor. So everything here has internal linkage, and no function of the
// standard library is called: only its types and compile-time values are used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "collectives/reduce/annotate.h"
#include "collectives/reduce/kernels.h"

#define TUTTI_REDUCE_INLINE [[gnu::always_inline]] inline

namespace tutti::reduce::TUTTI_REDUCE_ISA {
namespace {

inline constexpr size_t kBlock = 64;
inline constexpr int kParts = kBlock / TUTTI_REDUCE_WIDTH;

template <typename T>
struct VecOf {
  typedef T type __attribute__((vector_size(TUTTI_REDUCE_WIDTH)));
};
template <typename T>
using Vec = typename VecOf<T>::type;

/// 64 bytes of user data, uninterpreted.
struct Raw {
  Vec<uint64_t> part[kParts];
};

template <typename To, typename From>
TUTTI_REDUCE_INLINE To cast(From value) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, value);
}

template <typename T>
TUTTI_REDUCE_INLINE T read(const unsigned char* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof(T));
  return value;
}

template <typename T>
TUTTI_REDUCE_INLINE void write(unsigned char* to, T value) {
  __builtin_memcpy(to, &value, sizeof(T));
}

template <typename T>
TUTTI_REDUCE_INLINE Vec<T> all(T value) {
  return Vec<T>{} + value;
}

/// Copies n bytes, at most 2 * sizeof(T) and at least sizeof(T), by two moves that may overlap.
template <typename T>
TUTTI_REDUCE_INLINE void move_ends(unsigned char* to, const unsigned char* from, size_t n) {
  const T head = read<T>(from);
  const T tail = read<T>(from + n - sizeof(T));
  write(to, head);
  write(to + n - sizeof(T), tail);
}

/// Copies n < 64 bytes without a call.
TUTTI_REDUCE_INLINE void move_some(unsigned char* to, const unsigned char* from, size_t n) {
  struct Quad {
    uint64_t word[4];
  };
  struct Pair {
    uint64_t word[2];
  };
  if (n >= 32) {
    move_ends<Quad>(to, from, n);
  } else if (n >= 16) {
    move_ends<Pair>(to, from, n);
  } else if (n >= 8) {
    move_ends<uint64_t>(to, from, n);
  } else if (n >= 4) {
    move_ends<uint32_t>(to, from, n);
  } else if (n >= 2) {
    move_ends<uint16_t>(to, from, n);
  } else if (n == 1) {
    *to = *from;
  }
}

}  // namespace
}  // namespace tutti::reduce::TUTTI_REDUCE_ISA
