// How the threads of a block move and reduce data together: copies, reductions, packets.
//
// All threads of a block call these functions with the same arguments, and each does its share. Nothing here synchronises: the caller
// awaits what the sources need before, and synchronises the block before it tells anyone that the destinations are written. What peers
// have written may be read by plain loads once the caller has acquired it; packets carry their flags themselves.
//
// Access. Memory is moved in *units*: 16 bytes where all pointers are equally far from a 16-byte boundary (the elements before the first
// boundary and behind the last one singly), else single elements where all pointers are aligned to their element, else single bytes.
// Unit i of a range is handled by thread i modulo the number of threads, in batches: a thread loads its units of a batch from one
// source, or several, before it uses the first of them: four to sixteen loads of 16 bytes are on their way, for 72 to 106 registers of a
// thread (kernels have 128, by launch.h).
//
// In place. A destination may be the same memory as a source: each unit is read from all sources before it is written, by one thread.
// Other overlaps are not allowed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "collectives/executors/cuda/arithmetic.h"
#include "collectives/executors/cuda/block.h"
#include "collectives/executors/cuda/device_packet.h"
#include "collectives/executors/cuda/elements.h"

namespace tutti::cuda {

// ---- Loads and stores of plain memory

/// Memory that blocks use is global memory, never shared or local: the compiler is told, and chooses its instructions accordingly.
TUTTI_DEVICE_INLINE const unsigned char* global(const void* at) {
#if defined(__CUDA_ARCH__)
  __builtin_assume(__isGlobal(at));
#endif
  return static_cast<const unsigned char*>(at);
}
TUTTI_DEVICE_INLINE unsigned char* global(void* at) {
#if defined(__CUDA_ARCH__)
  __builtin_assume(__isGlobal(at));
#endif
  return static_cast<unsigned char*>(at);
}

#if defined(__CUDACC__)
template <int kBytes>
struct AccessOf;
template <>
struct AccessOf<1> : std::type_identity<uint8_t> {};
template <>
struct AccessOf<2> : std::type_identity<uint16_t> {};
template <>
struct AccessOf<4> : std::type_identity<uint32_t> {};
template <>
struct AccessOf<8> : std::type_identity<uint2> {};
template <>
struct AccessOf<16> : std::type_identity<uint4> {};
#endif

/// kBytes bytes at an address that is a multiple of kBytes.
template <int kBytes>
TUTTI_DEVICE_INLINE Raw<kBytes> load(const unsigned char* from) {
  Raw<kBytes> raw{};
#if defined(__CUDACC__)
  const auto value = *reinterpret_cast<const typename AccessOf<kBytes>::type*>(global(from));
  if constexpr (kBytes == 16) {
    raw.word[0] = value.x, raw.word[1] = value.y, raw.word[2] = value.z, raw.word[3] = value.w;
  } else if constexpr (kBytes == 8) {
    raw.word[0] = value.x, raw.word[1] = value.y;
  } else {
    raw.word[0] = value;
  }
#else
  __builtin_memcpy(&raw, __builtin_assume_aligned(from, kBytes), kBytes);
#endif
  return raw;
}

template <int kBytes>
TUTTI_DEVICE_INLINE void store(unsigned char* to, const Raw<kBytes>& raw) {
#if defined(__CUDACC__)
  using Access = typename AccessOf<kBytes>::type;
  auto* const at = reinterpret_cast<Access*>(global(to));
  if constexpr (kBytes == 16) {
    *at = make_uint4(raw.word[0], raw.word[1], raw.word[2], raw.word[3]);
  } else if constexpr (kBytes == 8) {
    *at = make_uint2(raw.word[0], raw.word[1]);
  } else {
    *at = static_cast<Access>(raw.word[0]);
  }
#else
  __builtin_memcpy(__builtin_assume_aligned(to, kBytes), &raw, kBytes);
#endif
}

/// At any address.
template <int kBytes>
TUTTI_DEVICE_INLINE Raw<kBytes> load_bytes(const unsigned char* from) {
  Raw<kBytes> raw{};
  TUTTI_UNROLL
  for (int i = 0; i < kBytes; ++i) raw.word[i / 4] |= load<1>(from + i).word[0] << (8 * (i % 4));
  return raw;
}
template <int kBytes>
TUTTI_DEVICE_INLINE void store_bytes(unsigned char* to, const Raw<kBytes>& raw) {
  TUTTI_UNROLL
  for (int i = 0; i < kBytes; ++i) store<1>(to + i, {{raw.word[i / 4] >> (8 * (i % 4))}});
}

/// What the low bits of addresses and sizes allow: bits that are zero in all of them.
class Alignment {
 public:
  TUTTI_DEVICE_INLINE void add(const void* pointer) {
    const auto address = static_cast<unsigned>(reinterpret_cast<uintptr_t>(pointer));
    if (seen_ == 0) first_ = address;
    seen_ = 1;
    all_ |= address;
    differ_ |= address ^ first_;
  }
  /// Every address is a multiple of `size`.
  TUTTI_DEVICE_INLINE bool aligned(unsigned size) const { return all_ % size == 0; }
  /// Every address is equally far from a multiple of `size`.
  TUTTI_DEVICE_INLINE bool agree(unsigned size) const { return differ_ % size == 0; }
  /// Bytes from each address to the next multiple of 16, where they agree.
  TUTTI_DEVICE_INLINE unsigned to_boundary() const { return (0u - first_) % 16; }

 private:
  unsigned first_ = 0;
  unsigned seen_ = 0;
  unsigned all_ = 0;
  unsigned differ_ = 0;
};

// ---- Ranges

/// Units from byte `begin` to byte `end` of every pointer.
struct Range {
  size_t begin;
  size_t end;
};

/// Elements that stand alone: those before `head`, and those from `tail` to `end`. Where there are units of 16 bytes they are few, and taken
/// by the last threads, which have the least to do else.
struct Edges {
  size_t head;
  size_t tail;
  size_t end;

  TUTTI_DEVICE_INLINE size_t count() const { return head + (end - tail); }
  TUTTI_DEVICE_INLINE size_t element(size_t i) const { return i < head ? i : tail + (i - head); }
};

TUTTI_DEVICE_INLINE unsigned from_last(const Block& block) {
  return block.threads() - 1 - block.thread();
}

/// This thread's units of a range: a batch is kUnroll of them, one block of units apart.
template <int kBytes, int kUnroll>
class Batches {
 public:
  TUTTI_DEVICE_INLINE Batches(const Block& block, Range range)
      : at_(range.begin + block.thread() * kBytes), end_(range.end), step_(block.threads() * kBytes) {}

  TUTTI_DEVICE_INLINE bool more() const { return at_ < end_; }
  TUTTI_DEVICE_INLINE void advance() { at_ += size_t{step_} * kUnroll; }

  /// Those units of the batch that are in the range.
  TUTTI_DEVICE_INLINE void load_from(const void* from, Raw<kBytes> (&raw)[kUnroll]) const {
    const unsigned char* const first = global(from) + at_;
    const unsigned left = bytes_left();
    TUTTI_UNROLL
    for (int u = 0; u < kUnroll; ++u) {
      if (distance(u) < left) raw[u] = load<kBytes>(first + distance(u));
    }
  }
  TUTTI_DEVICE_INLINE void store_to(void* to, const Raw<kBytes> (&raw)[kUnroll]) const {
    unsigned char* const first = global(to) + at_;
    const unsigned left = bytes_left();
    TUTTI_UNROLL
    for (int u = 0; u < kUnroll; ++u) {
      if (distance(u) < left) store<kBytes>(first + distance(u), raw[u]);
    }
  }

 private:
  TUTTI_DEVICE_INLINE unsigned distance(int u) const { return step_ * static_cast<unsigned>(u); }
  /// Up to the end of the range, or more than a batch.
  TUTTI_DEVICE_INLINE unsigned bytes_left() const {
    constexpr size_t kMore = ~uint32_t{0};
    return static_cast<unsigned>(end_ - at_ < kMore ? end_ - at_ : kMore);
  }

  size_t at_;
  size_t end_;
  unsigned step_;
};

// ---- copy

/// One source, and destinations that all get the same.
struct CopyJob {
  void* const* dsts;
  int dst_count;
  const void* src;
};

template <int kBytes>
TUTTI_DEVICE_INLINE void copy_units(const Block& block, const CopyJob& job, Range range) {
  constexpr int kUnroll = 8;
  TUTTI_ROLLED
  for (Batches<kBytes, kUnroll> batch(block, range); batch.more(); batch.advance()) {
    Raw<kBytes> raw[kUnroll] = {};
    batch.load_from(job.src, raw);
    TUTTI_ROLLED
    for (int d = 0; d < job.dst_count; ++d) batch.store_to(job.dsts[d], raw);
  }
}

TUTTI_DEVICE_INLINE void copy_edges(const Block& block, const CopyJob& job, Edges edges) {
  TUTTI_ROLLED
  for (size_t i = from_last(block); i < edges.count(); i += block.threads()) {
    const size_t at = edges.element(i);
    const Raw<1> raw = load<1>(global(job.src) + at);
    TUTTI_ROLLED
    for (int d = 0; d < job.dst_count; ++d) store<1>(global(job.dsts[d]) + at, raw);
  }
}

/// Units of kBytes bytes, after `boundary` bytes and before the rest.
template <int kBytes>
TUTTI_DEVICE_INLINE void copy_aligned(const Block& block, const CopyJob& job, size_t bytes,
                                      unsigned boundary) {
  const size_t head = boundary < bytes ? boundary : bytes;
  const size_t tail = head + (bytes - head) / kBytes * kBytes;
  copy_edges(block, job, {head, tail, bytes});
  copy_units<kBytes>(block, job, {head, tail});
}

/// Copies `bytes` bytes to every destination.
TUTTI_DEVICE_INLINE void copy(const Block& block, const CopyJob& job, size_t bytes) {
  Alignment alignment;
  alignment.add(job.src);
  TUTTI_ROLLED
  for (int d = 0; d < job.dst_count; ++d) alignment.add(job.dsts[d]);
  const unsigned boundary = alignment.to_boundary();
  if (alignment.agree(16)) {
    copy_aligned<16>(block, job, bytes, boundary);
  } else if (alignment.agree(4)) {
    copy_aligned<4>(block, job, bytes, boundary % 4);
  } else if (alignment.agree(2)) {
    copy_aligned<2>(block, job, bytes, boundary % 2);
  } else {
    copy_units<1>(block, job, {0, bytes});
  }
}

TUTTI_DEVICE_INLINE void copy(const Block& block, void* dst, const void* src, size_t bytes) {
  copy(block, CopyJob{&dst, 1, src}, bytes);
}

// ---- reduce

/// What is folded: srcs[0], srcs[1] and so on, in this order, into every destination.
struct Operands {
  void* const* dsts;
  int dst_count;
  const void* const* srcs;
  int src_count;
};

/// Divides, or scales, what has been folded.
template <typename A, int kBytes>
TUTTI_DEVICE_INLINE void finish(Lanes<A::kType, kBytes>& value, const DivisionOf<A::kType>& division) {
  if constexpr (A::kDivisible) {
    if (division.scales) {
      scale<A::kType>(value, division);
    } else {
      divide<A::kType>(value, division);
    }
  }
}

/// Exactly two sources, the case of most algorithms: all loads of a batch are on their way before the first is used. Not for a `divide`.
template <typename A, int kBytes, int kUnroll>
TUTTI_DEVICE_INLINE void reduce_pair(const Block& block, const Operands& operands, Range range,
                                     const DivisionOf<A::kType>& division) {
  const void* const first = operands.srcs[0];
  const void* const second = operands.srcs[1];
  TUTTI_ROLLED
  for (Batches<kBytes, kUnroll> batch(block, range); batch.more(); batch.advance()) {
    Raw<kBytes> a[kUnroll] = {}, b[kUnroll] = {};
    batch.load_from(first, a);
    batch.load_from(second, b);
    TUTTI_UNROLL
    for (int u = 0; u < kUnroll; ++u) {
      auto value = unpack<A::kType>(a[u]);
      fold<A::kOp>(value, unpack<A::kType>(b[u]));
      if constexpr (A::kDivisible) scale<A::kType>(value, division);
      a[u] = pack<A::kType>(value);
    }
    TUTTI_ROLLED
    for (int d = 0; d < operands.dst_count; ++d) batch.store_to(operands.dsts[d], a);
  }
}

/// Any number of sources, and any division: a batch is loaded from up to kGroup sources before the first is used.
template <typename A, int kBytes, int kUnroll>
TUTTI_DEVICE_INLINE void reduce_units(const Block& block, const Operands& operands, Range range,
                                      const DivisionOf<A::kType>& division) {
  constexpr int kGroup = 4;
  TUTTI_ROLLED
  for (Batches<kBytes, kUnroll> batch(block, range); batch.more(); batch.advance()) {
    Lanes<A::kType, kBytes> value[kUnroll] = {};
    TUTTI_ROLLED
    for (int s = 0; s < operands.src_count; s += kGroup) {
      Raw<kBytes> raw[kGroup][kUnroll] = {};
      TUTTI_UNROLL
      for (int g = 0; g < kGroup; ++g) {
        if (s + g < operands.src_count) batch.load_from(operands.srcs[s + g], raw[g]);
      }
      TUTTI_UNROLL
      for (int g = 0; g < kGroup; ++g) {
        if (s + g >= operands.src_count) break;
        TUTTI_UNROLL
        for (int u = 0; u < kUnroll; ++u) {
          if (s + g == 0) {
            value[u] = unpack<A::kType>(raw[g][u]);
          } else {
            fold<A::kOp>(value[u], unpack<A::kType>(raw[g][u]));
          }
        }
      }
    }
    Raw<kBytes> result[kUnroll];
    TUTTI_UNROLL
    for (int u = 0; u < kUnroll; ++u) {
      finish<A>(value[u], division);
      result[u] = pack<A::kType>(value[u]);
    }
    TUTTI_ROLLED
    for (int d = 0; d < operands.dst_count; ++d) batch.store_to(operands.dsts[d], result);
  }
}

/// Single elements, at any address.
template <typename A>
TUTTI_DEVICE_INLINE void reduce_edges(const Block& block, const Operands& operands, Edges edges,
                                      const DivisionOf<A::kType>& division) {
  constexpr int kSize = A::kSize;
  TUTTI_ROLLED
  for (size_t i = from_last(block); i < edges.count(); i += block.threads()) {
    const size_t at = edges.element(i) * kSize;
    auto value = unpack<A::kType>(load_bytes<kSize>(global(operands.srcs[0]) + at));
    TUTTI_ROLLED
    for (int s = 1; s < operands.src_count; ++s) {
      fold<A::kOp>(value, unpack<A::kType>(load_bytes<kSize>(global(operands.srcs[s]) + at)));
    }
    finish<A>(value, division);
    const Raw<kSize> result = pack<A::kType>(value);
    TUTTI_ROLLED
    for (int d = 0; d < operands.dst_count; ++d) store_bytes<kSize>(global(operands.dsts[d]) + at, result);
  }
}

/// Folds `count` elements of every source and writes the result to every destination. `divisor` is what an avg divides by in its last
/// step; 0: do not divide. A single source that is not divided passes bit by bit.
template <typename A>
TUTTI_DEVICE_INLINE void reduce(const Block& block, const Operands& operands, size_t count,
                                uint32_t divisor) {
  constexpr int kSize = A::kSize;
  if (operands.src_count == 1 && (!A::kDivisible || divisor == 0)) {
    return copy(block, CopyJob{operands.dsts, operands.dst_count, operands.srcs[0]}, count * kSize);
  }
  const DivisionOf<A::kType> division(A::kDivisible ? divisor : 0);
  Alignment alignment;
  TUTTI_ROLLED
  for (int s = 0; s < operands.src_count; ++s) alignment.add(operands.srcs[s]);
  TUTTI_ROLLED
  for (int d = 0; d < operands.dst_count; ++d) alignment.add(operands.dsts[d]);
  if (!alignment.aligned(kSize)) return reduce_edges<A>(block, operands, {0, 0, count}, division);
  if (!alignment.agree(16)) return reduce_units<A, kSize, 4>(block, operands, {0, count * kSize}, division);

  constexpr size_t kPerUnit = 16 / kSize;
  const size_t boundary = alignment.to_boundary() / kSize;
  const size_t head = boundary < count ? boundary : count;
  const size_t tail = head + (count - head) / kPerUnit * kPerUnit;
  reduce_edges<A>(block, operands, {head, tail, count}, division);
  const Range units{head * kSize, tail * kSize};
  // Elements narrower than 32 bits take more registers once they are unpacked.
  constexpr int kUnroll = A::kWidening == 1 ? 8 : 4;
  if (operands.src_count == 2 && division.scales) {
    reduce_pair<A, 16, kUnroll>(block, operands, units, division);
  } else {
    reduce_units<A, 16, kUnroll / 4>(block, operands, units, division);
  }
}

// ---- Packets

struct PacketWords {
  uint64_t data;
  uint64_t flag;
};

#if defined(__CUDACC__)
TUTTI_DEVICE_INLINE PacketWords load_packet(const DevicePacket* from) {
  PacketWords words;
  asm volatile(
      "{\n\t"
      ".reg .b128 packet;\n\t"
      "ld.relaxed.sys.global.b128 packet, [%2];\n\t"
      "mov.b128 {%0, %1}, packet;\n\t"
      "}"
      : "=l"(words.data), "=l"(words.flag)
      : "l"(__cvta_generic_to_global(from))
      : "memory");
  return words;
}
TUTTI_DEVICE_INLINE void store_packet(DevicePacket* to, PacketWords words) {
  asm volatile(
      "{\n\t"
      ".reg .b128 packet;\n\t"
      "mov.b128 packet, {%1, %2};\n\t"
      "st.relaxed.sys.global.b128 [%0], packet;\n\t"
      "}"
      :
      : "l"(__cvta_generic_to_global(to)), "l"(words.data), "l"(words.flag)
      : "memory");
}
#else
/// Two words in place of one: a reader that sees the flag (acquire) sees the data stored before it (release). Data that come with
/// another flag are not looked at.
TUTTI_DEVICE_INLINE PacketWords load_packet(const DevicePacket* from) {
  const uint64_t flag = __atomic_load_n(&from->flag, __ATOMIC_ACQUIRE);
  return {__atomic_load_n(&from->data, __ATOMIC_RELAXED), flag};
}
TUTTI_DEVICE_INLINE void store_packet(DevicePacket* to, PacketWords words) {
  __atomic_store_n(&to->data, words.data, __ATOMIC_RELAXED);
  __atomic_store_n(&to->flag, words.flag, __ATOMIC_RELEASE);
}
#endif

/// At most 8 bytes at any address; the others are zero.
TUTTI_DEVICE_INLINE uint64_t load_some(const unsigned char* from, unsigned bytes) {
  const unsigned low = (static_cast<unsigned>(reinterpret_cast<uintptr_t>(from)) | bytes) % 8;
  if (low == 0 && bytes == 8) {
    const Raw<8> raw = load<8>(from);
    return raw.word[0] | static_cast<uint64_t>(raw.word[1]) << 32;
  }
  uint64_t value = 0;
  if (low % 4 == 0) {
    TUTTI_ROLLED
    for (unsigned i = 0; i < bytes; i += 4)
      value |= static_cast<uint64_t>(load<4>(from + i).word[0]) << (8 * i);
  } else if (low % 2 == 0) {
    TUTTI_ROLLED
    for (unsigned i = 0; i < bytes; i += 2)
      value |= static_cast<uint64_t>(load<2>(from + i).word[0]) << (8 * i);
  } else {
    TUTTI_ROLLED
    for (unsigned i = 0; i < bytes; ++i) value |= static_cast<uint64_t>(load<1>(from + i).word[0]) << (8 * i);
  }
  return value;
}

TUTTI_DEVICE_INLINE void store_some(unsigned char* to, uint64_t value, unsigned bytes) {
  const unsigned low = (static_cast<unsigned>(reinterpret_cast<uintptr_t>(to)) | bytes) % 8;
  if (low == 0 && bytes == 8) {
    store<8>(to, {{static_cast<uint32_t>(value), static_cast<uint32_t>(value >> 32)}});
  } else if (low % 4 == 0) {
    TUTTI_ROLLED
    for (unsigned i = 0; i < bytes; i += 4) store<4>(to + i, {{static_cast<uint32_t>(value >> (8 * i))}});
  } else if (low % 2 == 0) {
    TUTTI_ROLLED
    for (unsigned i = 0; i < bytes; i += 2) store<2>(to + i, {{static_cast<uint32_t>(value >> (8 * i))}});
  } else {
    TUTTI_ROLLED
    for (unsigned i = 0; i < bytes; ++i) store<1>(to + i, {{static_cast<uint32_t>(value >> (8 * i))}});
  }
}

/// User bytes of packet i of a message.
TUTTI_DEVICE_INLINE unsigned bytes_in_packet(size_t i, size_t bytes) {
  const size_t rest = bytes - i * kDevicePacketData;
  return static_cast<unsigned>(rest < kDevicePacketData ? rest : kDevicePacketData);
}

/// Writes a message of `bytes` bytes as packets to every destination; behind its end the last packet holds zeros.
TUTTI_DEVICE_INLINE void put_packets(const Block& block, DevicePacket* const* dsts, int dst_count,
                                     const void* src, size_t bytes, uint64_t flag) {
  const size_t packets = device_packets_for(bytes);
  TUTTI_ROLLED
  for (size_t i = block.thread(); i < packets; i += block.threads()) {
    const unsigned n = bytes_in_packet(i, bytes);
    const uint64_t data = n != 0 ? load_some(global(src) + i * kDevicePacketData, n) : 0;
    TUTTI_ROLLED
    for (int d = 0; d < dst_count; ++d) store_packet(dsts[d] + i, {data, flag});
  }
}

TUTTI_DEVICE_INLINE void put_packets(const Block& block, DevicePacket* dst, const void* src, size_t bytes,
                                     uint64_t flag) {
  put_packets(block, &dst, 1, src, bytes, flag);
}

/// One operand of a packet reduction: packets of some rank, or (lines == null) plain memory.
struct PacketSource {
  const DevicePacket* lines;
  const void* plain;
};

struct PacketOperands {
  void* dst;
  const PacketSource* srcs;  // folded in this order
  int src_count;
};

/// Packet i of up to kGroup sources from `first` on. All are loaded before the first is looked at; then each is loaded again until it has
/// come. False: given up.
template <int kGroup, typename Spin>
TUTTI_DEVICE_INLINE bool await_packets(const PacketOperands& operands, int first, size_t i, unsigned bytes,
                                       uint64_t flag, Spin& spin, uint64_t (&data)[kGroup]) {
  PacketWords words[kGroup];
  TUTTI_UNROLL
  for (int g = 0; g < kGroup; ++g) {
    words[g] = {0, flag};
    if (first + g >= operands.src_count) continue;
    const PacketSource source = operands.srcs[first + g];
    if (source.lines != nullptr) {
      words[g] = load_packet(source.lines + i);
    } else if (bytes != 0) {
      words[g].data = load_some(global(source.plain) + i * kDevicePacketData, bytes);
    }
  }
  TUTTI_UNROLL
  for (int g = 0; g < kGroup; ++g) {
    while (words[g].flag != flag) {
      if (!spin.keep_waiting(words[g].flag, first + g)) return false;
      words[g] = load_packet(operands.srcs[first + g].lines + i);
    }
    data[g] = words[g].data;
  }
  return true;
}

/// Folds the packets of a message and writes the result to plain memory. Each thread awaits the packets that it folds; between two looks
/// at one it calls `spin.keep_waiting(flag seen, index of the source)`, which may give up by returning false. False: this thread has
/// given up, and what it should have written is not. A message of no bytes is awaited and nothing is written.
template <typename A, typename Spin>
TUTTI_DEVICE_INLINE bool reduce_packets(const Block& block, const PacketOperands& operands, size_t bytes,
                                        uint64_t flag, uint32_t divisor, Spin& spin) {
  constexpr int kGroup = 4;
  const DivisionOf<A::kType> division(A::kDivisible ? divisor : 0);
  const bool copies = operands.src_count == 1 && (!A::kDivisible || divisor == 0);
  const size_t packets = device_packets_for(bytes);
  TUTTI_ROLLED
  for (size_t i = block.thread(); i < packets; i += block.threads()) {
    const unsigned n = bytes_in_packet(i, bytes);
    Lanes<A::kType, 8> value{};
    uint64_t data[kGroup] = {};
    TUTTI_ROLLED
    for (int first = 0; first < operands.src_count; first += kGroup) {
      if (!await_packets(operands, first, i, n, flag, spin, data)) return false;
      TUTTI_UNROLL
      for (int g = 0; g < kGroup; ++g) {
        if (first + g >= operands.src_count) continue;
        const Raw<8> raw{{static_cast<uint32_t>(data[g]), static_cast<uint32_t>(data[g] >> 32)}};
        if (first + g == 0) {
          value = unpack<A::kType>(raw);
        } else {
          fold<A::kOp>(value, unpack<A::kType>(raw));
        }
      }
    }
    uint64_t result = data[0];
    if (!copies) {
      finish<A>(value, division);
      const Raw<8> raw = pack<A::kType>(value);
      result = raw.word[0] | static_cast<uint64_t>(raw.word[1]) << 32;
    }
    if (n != 0) store_some(global(operands.dst) + i * kDevicePacketData, result, n);
  }
  return true;
}

}  // namespace tutti::cuda
