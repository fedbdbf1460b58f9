// The windows of all simulated ranks as real memory, and the moves that the steps make in it.
//
// A move takes virtual time, from its begin to its end. The first half of its elements is read at the beginning,
// the second half at the end; what it writes is there at the end, in a peer's window one alpha later. So a plan
// that reads too early, or lets somebody overwrite what is still being read, gives wrong results here too, and
// not only on a machine with the right timing. Windows start out poisoned. To touch the buffers of a rank that has not entered
// the operation or has left it is an error.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "collectives/reduce/kernels.h"

namespace tutti::sim {

struct alignas(kCacheLine) Line {
  std::array<std::byte, kCacheLine> bytes;
};

/// Bytes that begin on a cache line.
class Buffer {
 public:
  void resize(size_t bytes) { lines_.resize((bytes + kCacheLine - 1) / kCacheLine); }
  void fill(int value);
  std::byte* data() { return reinterpret_cast<std::byte*>(lines_.data()); }

 private:
  std::vector<Line> lines_;
};

class Memory {
 public:
  Memory(size_t ranks, uint64_t slots_bytes, uint64_t packets_bytes);

  std::byte* slots(size_t rank, uint64_t offset) { return slots_[rank].data() + offset; }
  std::byte* packets(size_t rank, uint64_t offset) { return packets_[rank].data() + offset; }

 private:
  std::vector<Buffer> slots_;
  std::vector<Buffer> packets_;
};

/// What one executing step computes, between its begin and its end.
class Move {
 public:
  struct What {
    DataType type = DataType::uint8;
    ReduceOp op = ReduceOp::sum;
    size_t count = 0;      // elements
    uint32_t divisor = 0;  // avg in its last step
    uint64_t flag = 0;     // packets
  };

  /// Forgets what came before. Sources and targets are added next.
  void reset(const What& what);
  void add_source(const void* from) { plain_.push_back(from); }
  void add_packets(const void* from) { packets_.push_back({static_cast<const Packet*>(from), nullptr}); }
  void add_plain_to_packets(const void* from) { packets_.push_back({nullptr, from}); }

  // copy, put, reduce: two halves.
  void begin();
  void end();
  // put_packets; and copy_packets, reduce_packets, which are false if a packet carries another flag.
  void end_post();
  bool end_read();

  const std::byte* result() { return result_.data(); }
  size_t result_bytes() const { return result_bytes_; }

 private:
  void fold(size_t first, size_t last);

  What what_;
  std::vector<const void*> plain_;
  std::vector<const void*> shifted_;
  std::vector<reduce::PacketSource> packets_;
  Buffer result_;
  size_t result_bytes_ = 0;
};

}  // namespace tutti::sim
