#include "collectives/executors/sim/memory.h"

#include <cstring>

namespace tutti::sim {

namespace {
constexpr int kPoison = 0xa5;
}

void Buffer::fill(int value) {
  if (!lines_.empty()) std::memset(lines_.data(), value, lines_.size() * sizeof(Line));
}

Memory::Memory(size_t ranks, uint64_t slots_bytes, uint64_t packets_bytes) : slots_(ranks), packets_(ranks) {
  for (Buffer& window : slots_) {
    window.resize(slots_bytes);
    window.fill(kPoison);
  }
  for (Buffer& window : packets_) {
    window.resize(packets_bytes);
    window.fill(0);  // a flag word is zero or a flag
  }
}

void Move::reset(const What& what) {
  what_ = what;
  plain_.clear();
  packets_.clear();
}

void Move::begin() {
  result_bytes_ = what_.count * size_of(what_.type);
  result_.resize(result_bytes_);
  fold(0, what_.count / 2);
}

void Move::end() {
  fold(what_.count / 2, what_.count);
}

void Move::fold(size_t first, size_t last) {
  if (first == last) return;
  const size_t element = size_of(what_.type);
  const size_t offset = first * element;
  std::byte* to = result_.data() + offset;
  shifted_.clear();
  for (const void* source : plain_) shifted_.push_back(static_cast<const std::byte*>(source) + offset);
  const reduce::Kernels& kernels = reduce::kernels();
  if (shifted_.size() == 1 && what_.divisor == 0) {
    kernels.copy(to, shifted_[0], (last - first) * element, reduce::Store::cached);
    return;
  }
  kernels.reduce[static_cast<size_t>(what_.op)][static_cast<size_t>(what_.type)](
      {.dst = to,
       .dst2 = nullptr,
       .src = shifted_.data(),
       .sources = static_cast<int>(shifted_.size()),
       .count = last - first,
       .divisor = what_.divisor,
       .store = reduce::Store::cached});
}

void Move::end_post() {
  const size_t bytes = what_.count * size_of(what_.type);
  result_bytes_ = packets_for(bytes) * sizeof(Packet);
  result_.resize(result_bytes_);
  std::memset(result_.data(), 0, result_bytes_);
  reduce::kernels().put_packets(reinterpret_cast<Packet*>(result_.data()), plain_[0], bytes, what_.flag);
}

bool Move::end_read() {
  result_bytes_ = what_.count * size_of(what_.type);
  result_.resize(result_bytes_ + 1);
  const size_t lines = packets_for(result_bytes_);
  return reduce::kernels().reduce_packets[static_cast<size_t>(what_.op)][static_cast<size_t>(what_.type)](
             {.dst = result_.data(),
              .src = packets_.data(),
              .sources = static_cast<int>(packets_.size()),
              .bytes = result_bytes_,
              .flag = what_.flag,
              .divisor = what_.divisor},
             0) == lines;
}

}  // namespace tutti::sim
