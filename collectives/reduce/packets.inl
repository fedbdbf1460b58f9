// Messages in packets: see packet.h for the line, kernels.h for what a packet reduction promises.
//
// Order, for the reader: first the flags of a line (acquire), then its data. For the writer: first the data, then the
// flag (release). No byte beyond the end of a message is read from or written to plain memory; the data of a line
// may hold bytes of older messages behind the end, so a line is cut to the message before it is folded.
#pragma once

#include "collectives/reduce/bulk.inl"

namespace tutti::reduce::TUTTI_REDUCE_ISA {
namespace {

// An atomic word and the integer in it share their address. The compiler's built-ins, and not std::atomic's members,
// because those are inline functions that the linker merges across instruction sets.
TUTTI_REDUCE_INLINE bool arrived(const Packet& line, uint64_t flag) {
  return __atomic_load_n(reinterpret_cast<const uint64_t*>(&line.flag), __ATOMIC_ACQUIRE) == flag;
}
TUTTI_REDUCE_INLINE void raise_flag(Packet& line, uint64_t flag) {
  __atomic_store_n(reinterpret_cast<uint64_t*>(&line.flag), flag, __ATOMIC_RELEASE);
}

/// Lines whose ownership is asked for ahead of the line being written. They are usually where the reader of an earlier
/// message left them, and taking them back one by one would cost a trip each (measured between two cores: 1 to 8 KiB
/// all-reduced in 7 to 20 % less time).
inline constexpr size_t kLinesAhead = 16;

void put_packets(Packet* dst, const void* src, size_t bytes, uint64_t flag) {
  note_read(src, bytes);
  const unsigned char* from = bytes_of(src);
  if (bytes > kPacketData) {
    const size_t ahead = bytes < kLinesAhead * kPacketData ? bytes : kLinesAhead * kPacketData;
    for (size_t line = 0; line * kPacketData < ahead; ++line) own_soon(dst[line].data, kPacketData);
  }
  while (bytes >= kPacketData) {
    if (bytes > kLinesAhead * kPacketData) own_soon(dst[kLinesAhead].data, kPacketData);
    note_write(dst->data, kPacketData);
    store_line(dst->data, load_line(from));
    raise_flag(*dst, flag);
    from += kPacketData;
    bytes -= kPacketData;
    ++dst;
    if (bytes == 0) return;
  }
  if (bytes != 0) {
    note_write(dst->data, kPacketData);
    store_line(dst->data, load_some(from, bytes));
  }
  raise_flag(*dst, flag);
}

/// One operand; line i of it is 56 bytes, or the `rest` < 56 bytes of the last line.
TUTTI_REDUCE_INLINE bool line_arrived(const PacketSource& source, size_t i, uint64_t flag) {
  return source.lines == nullptr || arrived(source.lines[i], flag);
}

template <bool kLast>
TUTTI_REDUCE_INLINE Raw load_packet(const PacketSource& source, size_t i, size_t rest) {
  const unsigned char* from =
      source.lines != nullptr ? source.lines[i].data : bytes_of(source.plain) + i * kPacketData;
  note_read(from, kLast ? rest : kPacketData);
  if constexpr (kLast) {
    return load_some(from, rest);
  } else {
    return load_line(from);
  }
}

/// The operands of a job. The first two are kept at hand; kPair: there are exactly two.
template <bool kPair>
struct PacketOperands {
  PacketSource first, second;
  const PacketSource* all;
  int count;

  TUTTI_REDUCE_INLINE bool arrived_at(size_t i, uint64_t flag) const {
    if (!line_arrived(first, i, flag)) return false;
    if constexpr (kPair) return line_arrived(second, i, flag);
    for (int s = 1; s < count; ++s) {
      if (!line_arrived(all[s], i, flag)) return false;
    }
    return true;
  }
};

/// Folds line i of all operands into dst. `copies`: one operand and no divisor, so it passes bit by bit.
template <typename Element, ReduceOp op, bool kLast, bool kPair, typename By>
TUTTI_REDUCE_INLINE void reduce_line(unsigned char* dst, const PacketOperands<kPair>& in, By by, bool copies,
                                     size_t i, size_t rest) {
  Raw result = load_packet<kLast>(in.first, i, rest);
  if (kPair || !copies) {
    typename Element::Block value;
    Element::widen(result, value);
    if constexpr (kPair) {
      fold_raw<Element, op>(value, load_packet<kLast>(in.second, i, rest));
    } else {
      for (int s = 1; s < in.count; ++s) fold_raw<Element, op>(value, load_packet<kLast>(in.all[s], i, rest));
    }
    result = finish<Element>(value, by);
  }
  unsigned char* to = dst + i * kPacketData;
  note_write(to, kLast ? rest : kPacketData);
  if constexpr (kLast) {
    store_some(to, result, rest);
  } else {
    store_line(to, result);
  }
}

// By value, so that no store to dst can change the operands as far as the compiler knows.
template <typename Element, ReduceOp op, bool kPair, typename By>
TUTTI_REDUCE_INLINE size_t reduce_lines(const PacketJob job, const PacketOperands<kPair> in, size_t first,
                                        By by) {
  const bool copies = in.count == 1 && std::is_same_v<By, Undivided>;
  unsigned char* dst = bytes_of(job.dst);
  size_t i = first, at = first * kPacketData;
  for (; at + kPacketData <= job.bytes; at += kPacketData, ++i) {
    if (!in.arrived_at(i, job.flag)) return i;
    reduce_line<Element, op, false>(dst, in, by, copies, i, kPacketData);
  }
  if (at < job.bytes) {
    if (!in.arrived_at(i, job.flag)) return i;
    reduce_line<Element, op, true>(dst, in, by, copies, i, job.bytes - at);
    return i + 1;
  }
  if (job.bytes == 0 && i == 0) return in.arrived_at(0, job.flag) ? 1 : 0;
  return i;
}

template <typename Element, ReduceOp op, typename By>
TUTTI_REDUCE_INLINE size_t reduce_packets_with(const PacketJob& job, size_t first, By by) {
  if (kWorthPairing<By> && job.sources == 2) {
    return reduce_lines<Element, op, true>(job, {job.src[0], job.src[1], job.src, 2}, first, by);
  }
  return reduce_lines<Element, op, false>(job, {job.src[0], {}, job.src, job.sources}, first, by);
}

template <typename Element, ReduceOp op>
size_t reduce_packets(const PacketJob& job, size_t first) {
  if constexpr (op == ReduceOp::avg) {
    return with_divisor<typename Element::Scalar>(
        job.divisor, [&](auto by) { return reduce_packets_with<Element, kFoldOf<op>>(job, first, by); });
  } else {
    return reduce_packets_with<Element, op>(job, first, Undivided{});
  }
}

}  // namespace
}  // namespace tutti::reduce::TUTTI_REDUCE_ISA
