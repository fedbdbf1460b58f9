// Reductions and copies of plain memory.
//
// A range of bytes is walked in groups of blocks: a group's accumulators stay in registers while the sources are
// folded into them from left to right, so every source is read once and the destination written once. All loads of
// a group stand before its stores, which is what makes working in place safe.
//
//   | head | group | group | ... | block | block | tail |      head: up to the first 64-byte boundary of dst
//
// Long ranges are walked on two tracks, a group of the first half, then one of the second. Sources are often lines that
// another core has just written; the processor's prefetcher fetches ahead within a page only, so two tracks keep twice as
// many lines on their way (measured: 64 KiB read from the other core in 3.4 instead of 4.0 us). Destinations in
// scratch are often lines that the other core has just read; asking for their ownership kAhead bytes before the store
// makes writing them 12 to 25 % faster (tests/reduce/kernels_bench.cpp).
#pragma once

#include "collectives/reduce/elements.inl"

namespace tutti::reduce::TUTTI_REDUCE_ISA {
namespace {

TUTTI_REDUCE_INLINE const unsigned char* bytes_of(const void* at) {
  return static_cast<const unsigned char*>(at);
}
TUTTI_REDUCE_INLINE unsigned char* bytes_of(void* at) {
  return static_cast<unsigned char*>(at);
}

/// Bytes up to the next 64-byte boundary.
TUTTI_REDUCE_INLINE size_t to_boundary(const void* at) {
  return -reinterpret_cast<uintptr_t>(at) % kBlock;
}

// ---- copy

/// At most 64 bytes.
TUTTI_REDUCE_INLINE void copy_short(unsigned char* to, const unsigned char* from, size_t bytes) {
  if (bytes == kBlock) {
    store(to, load(from));
  } else {
    store_some(to, load_some(from, bytes), bytes);
  }
}

/// kBlocks blocks by loads that all stand before the stores.
template <int kBlocks>
TUTTI_REDUCE_INLINE void copy_group(unsigned char* to, const unsigned char* from) {
  Raw group[kBlocks];
  for (int i = 0; i < kBlocks; ++i) group[i] = load(from + kBlock * i);
  for (int i = 0; i < kBlocks; ++i) store(to + kBlock * i, group[i]);
}

inline constexpr size_t kTrackWorth = 4096;  // bytes of a half from which on two tracks pay
inline constexpr size_t kAhead = 1024;

/// Asks for the ownership of the lines of [at, at + bytes), which will be written soon. Any address is allowed.
TUTTI_REDUCE_INLINE void own_soon(const unsigned char* at, size_t bytes) {
  for (size_t i = 0; i < bytes; i += kBlock) __builtin_prefetch(at + i, 1);
}

/// What a half of [at, end) has in whole groups, or 0 where it is too short for two tracks.
constexpr size_t half_in_groups(size_t at, size_t end, size_t group) {
  const size_t half = end > at ? (end - at) / 2 / group * group : 0;
  return half >= kTrackWorth ? half : 0;
}

inline constexpr int kCopyBlocks = 4;
inline constexpr size_t kCopyGroup = kCopyBlocks * kBlock;

/// Through the cache at every size. (The C library's memcpy goes around it above some size, which is wrong for
/// scratch that a peer reads at once.) The last group overlaps the one before instead of being cut into pieces.
void copy_cached(unsigned char* to, const unsigned char* from, size_t bytes) {
  if (bytes <= kBlock) return copy_short(to, from, bytes);
  if (bytes <= 2 * kBlock) {
    const Raw head = load(from), tail = load(from + bytes - kBlock);
    store(to, head);
    return store(to + bytes - kBlock, tail);
  }
  if (bytes <= kCopyGroup) {
    const Raw a = load(from), b = load(from + kBlock);
    const Raw c = load(from + bytes - 2 * kBlock), d = load(from + bytes - kBlock);
    store(to, a);
    store(to + kBlock, b);
    store(to + bytes - 2 * kBlock, c);
    return store(to + bytes - kBlock, d);
  }
  const size_t end = bytes - kCopyGroup;
  store(to, load(from));
  size_t at = kBlock - reinterpret_cast<uintptr_t>(to) % kBlock;
  const size_t half = half_in_groups(at, end, kCopyGroup);
  for (const size_t middle = at + half; at < middle; at += kCopyGroup) {
#pragma GCC unroll 1
    for (size_t track = at; track <= at + half; track += half) {
      own_soon(to + track + kAhead, kCopyGroup);
      copy_group<kCopyBlocks>(to + track, from + track);
    }
  }
  for (at += half; at < end; at += kCopyGroup) copy_group<kCopyBlocks>(to + at, from + at);
  copy_group<kCopyBlocks>(to + end, from + end);
}

void copy_streaming(unsigned char* to, const unsigned char* from, size_t bytes) {
  const size_t head = to_boundary(to);
  if (bytes < head + kBlock) return copy_cached(to, from, bytes);
  copy_short(to, from, head);
  size_t at = head;
  for (; at + kCopyGroup <= bytes; at += kCopyGroup) {
    Raw group[kCopyBlocks];
    for (int i = 0; i < kCopyBlocks; ++i) group[i] = load(from + at + kBlock * i);
    for (int i = 0; i < kCopyBlocks; ++i) stream(to + at + kBlock * i, group[i]);
  }
  for (; at + kBlock <= bytes; at += kBlock) stream(to + at, load(from + at));
  copy_short(to + at, from + at, bytes - at);
  order_streams();
}

void copy(void* dst, const void* src, size_t bytes, Store store_as) {
  note_read(src, bytes);
  note_write(dst, bytes);
  if (store_as == Store::streaming && !kThreadSanitizer) {
    copy_streaming(bytes_of(dst), bytes_of(src), bytes);
  } else {
    copy_cached(bytes_of(dst), bytes_of(src), bytes);
  }
}

// ---- reduce

struct Output {
  unsigned char* dst;
  unsigned char* dst2;  // or null
  bool streaming;
};

/// A ReduceJob with its first two sources at hand.
struct Operands {
  const unsigned char* first;
  const unsigned char* second;  // only when there are two or more
  const void* const* all;
  int count;
};

/// Folds kBlocks blocks from byte `at` on. kPair: there are exactly two operands.
template <typename Element, ReduceOp op, bool kPair, int kBlocks, typename By>
TUTTI_REDUCE_INLINE void reduce_group(const Output& out, const Operands& in, By by, size_t at) {
  typename Element::Block value[kBlocks];
  for (int i = 0; i < kBlocks; ++i) Element::load_wide(in.first + at + kBlock * i, value[i]);
  if constexpr (kPair) {
    for (int i = 0; i < kBlocks; ++i) fold_from<Element, op>(value[i], in.second + at + kBlock * i);
  } else {
    for (int s = 1; s < in.count; ++s) {
      const unsigned char* from = bytes_of(in.all[s]) + at;
      for (int i = 0; i < kBlocks; ++i) fold_from<Element, op>(value[i], from + kBlock * i);
    }
  }
  Raw result[kBlocks];
  for (int i = 0; i < kBlocks; ++i) result[i] = finish<Element>(value[i], by);
  if (out.streaming) {
    for (int i = 0; i < kBlocks; ++i) stream(out.dst + at + kBlock * i, result[i]);
  } else {
    for (int i = 0; i < kBlocks; ++i) store(out.dst + at + kBlock * i, result[i]);
  }
  if (out.dst2 != nullptr) {
    for (int i = 0; i < kBlocks; ++i) store(out.dst2 + at + kBlock * i, result[i]);
  }
}

/// The same for fewer than 64 bytes: the head or the tail.
template <typename Element, ReduceOp op, typename By>
[[gnu::noinline]] void reduce_some(const Output& out, const Operands& in, By by, size_t at, size_t bytes) {
  typename Element::Block value;
  Element::widen(load_some(in.first + at, bytes), value);
  for (int s = 1; s < in.count; ++s) fold_raw<Element, op>(value, load_some(bytes_of(in.all[s]) + at, bytes));
  const Raw result = finish<Element>(value, by);
  store_some(out.dst + at, result, bytes);
  if (out.dst2 != nullptr) store_some(out.dst2 + at, result, bytes);
}

template <typename Element, ReduceOp op, bool kPair, typename By>
TUTTI_REDUCE_INLINE void reduce_range(const Output& out, const Operands& in, By by, size_t at, size_t end) {
  // Eight vectors of accumulators hide the latency of the arithmetic and leave registers for the operands. An integer
  // quotient is so slow that more than one block would only be more code.
  constexpr int kBlocks = Element::kVectors >= 8 || std::is_same_v<By, Quotient> ? 1 : 8 / Element::kVectors;
  constexpr size_t kGroup = kBlocks * kBlock;
  const size_t half = half_in_groups(at, end, kGroup);
  for (const size_t middle = at + half; at < middle; at += kGroup) {
#pragma GCC unroll 1
    for (size_t track = at; track <= at + half; track += half) {
      if (out.dst2 != nullptr) own_soon(out.dst2 + track + kAhead, kGroup);
      reduce_group<Element, op, kPair, kBlocks>(out, in, by, track);
    }
  }
  at += half;
  for (; at + kGroup <= end; at += kGroup) reduce_group<Element, op, kPair, kBlocks>(out, in, by, at);
  for (; at + kBlock <= end; at += kBlock) reduce_group<Element, op, kPair, 1>(out, in, by, at);
  if (at < end) reduce_some<Element, op>(out, in, by, at, end - at);
}

/// Aligned stores are worth a head only for some length.
inline constexpr size_t kWorthAligning = 1024;

/// Where a division follows, a loop of its own for two operands gains nothing that could be measured.
template <typename By>
inline constexpr bool kWorthPairing = std::is_same_v<By, Undivided>;

template <typename Element, ReduceOp op, typename By>
void reduce_with(const ReduceJob& job, size_t bytes, By by) {
  const Operands in{bytes_of(job.src[0]), job.sources > 1 ? bytes_of(job.src[1]) : nullptr, job.src,
                    job.sources};
  const size_t head = to_boundary(job.dst);
  const bool align = bytes >= kWorthAligning && head % Element::kSize == 0;
  Output out{bytes_of(job.dst), bytes_of(job.dst2), false};
  if (align && head != 0) reduce_some<Element, op>(out, in, by, 0, head);
  const size_t at = align ? head : 0;
  out.streaming = align && job.store == Store::streaming && !kThreadSanitizer;
  if (kWorthPairing<By> && job.sources == 2) {
    reduce_range<Element, op, true>(out, in, by, at, bytes);
  } else {
    reduce_range<Element, op, false>(out, in, by, at, bytes);
  }
  if (out.streaming) order_streams();
}

/// One operand, not divided: it passes bit by bit.
void reduce_nothing(const ReduceJob& job, size_t bytes) {
  copy(job.dst, job.src[0], bytes, job.store);
  if (job.dst2 != nullptr) copy(job.dst2, job.src[0], bytes, Store::cached);
}

/// An avg is a sum with something to divide by.
template <ReduceOp op>
inline constexpr ReduceOp kFoldOf = op == ReduceOp::avg ? ReduceOp::sum : op;

template <typename Element, ReduceOp op>
void reduce(const ReduceJob& job) {
  const size_t bytes = job.count * Element::kSize;
  const uint32_t divisor = op == ReduceOp::avg ? job.divisor : 0;
  if (job.sources == 1 && divisor == 0) return reduce_nothing(job, bytes);
  for (int s = 0; s < job.sources; ++s) note_read(job.src[s], bytes);
  note_write(job.dst, bytes);
  if (job.dst2 != nullptr) note_write(job.dst2, bytes);
  if constexpr (op == ReduceOp::avg) {
    with_divisor<typename Element::Scalar>(
        divisor, [&](auto by) { reduce_with<Element, kFoldOf<op>>(job, bytes, by); });
  } else {
    reduce_with<Element, op>(job, bytes, Undivided{});
  }
}

}  // namespace
}  // namespace tutti::reduce::TUTTI_REDUCE_ISA
