// Operands for kernel tests: values that are hard for arithmetic, and memory in which a byte too far is found out.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "collectives/reduce/kernels.h"
#include "tests/reduce/reference.h"

namespace operands {

using reference::Bytes;

/// Memory that ends at a page no one may touch: a load or store beyond the end is a fault, masked ones included.
class Guarded {
 public:
  explicit Guarded(size_t capacity) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    usable_ = (capacity + page - 1) / page * page;
    mapped_ = usable_ + page;
    void* at = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw std::runtime_error("mmap of guarded test memory failed");
    start_ = static_cast<unsigned char*>(at);
    if (mprotect(start_ + usable_, page, PROT_NONE) != 0) throw std::runtime_error("mprotect failed");
  }
  ~Guarded() { munmap(start_, mapped_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  /// `bytes` bytes that end `before` bytes before the forbidden page.
  unsigned char* last(size_t bytes, size_t before = 0) { return start_ + usable_ - before - bytes; }
  void fill(unsigned char value) { std::memset(start_, value, usable_); }

  /// True when no byte close to, but outside [at, at + bytes) differs from `value`. (No kernel moves more than 512
  /// bytes at once.)
  bool only_within(const unsigned char* at, size_t bytes, unsigned char value) const {
    const unsigned char* end = start_ + usable_;
    for (const unsigned char* p = at - start_ > 512 ? at - 512 : start_; p < at; ++p) {
      if (*p != value) return false;
    }
    for (const unsigned char* p = at + bytes; p < end && p < at + bytes + 512; ++p) {
      if (*p != value) return false;
    }
    return true;
  }

 private:
  unsigned char* start_ = nullptr;
  size_t usable_ = 0;
  size_t mapped_ = 0;
};

/// Bit patterns on which implementations differ: zeros of both signs, infinities, NaNs with payload, subnormals, the
/// largest finite numbers, rounding ties; for integers the extremes.
inline const std::vector<uint64_t>& hard_values(tutti::DataType type) {
  using tutti::DataType;
  static const std::vector<uint64_t> half = {0x0000, 0x8000, 0x7c00, 0xfc00, 0x7e00, 0xfe01, 0x7c01, 0xfdff,
                                             0x0001, 0x8001, 0x03ff, 0x83ff, 0x0400, 0x7bff, 0xfbff, 0x3c00,
                                             0x3c01, 0xbc00, 0x1000, 0x0800, 0x6800, 0x4c00};
  static const std::vector<uint64_t> bfloat = {0x0000, 0x8000, 0x7f80, 0xff80, 0x7fc0, 0xffc1, 0x7f81, 0xffff,
                                               0x0001, 0x8001, 0x007f, 0x807f, 0x0080, 0x7f7f, 0xff7f, 0x3f80,
                                               0x3f81, 0xbf80, 0x3b80, 0x3b00, 0x4380, 0x4300};
  static const std::vector<uint64_t> single = {0x00000000, 0x80000000, 0x7f800000, 0xff800000, 0x7fc00000,
                                               0xffc00001, 0x7f800001, 0xffbfffff, 0x00000001, 0x80000001,
                                               0x007fffff, 0x807fffff, 0x00800000, 0x7f7fffff, 0xff7fffff,
                                               0x3f800000, 0x3f800001, 0xbf800000, 0x33800000, 0x4b800000};
  static const std::vector<uint64_t> twice = {
      0x0000000000000000, 0x8000000000000000, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000,
      0xfff8000000000001, 0x7ff0000000000001, 0xfff7ffffffffffff, 0x0000000000000001, 0x8000000000000001,
      0x000fffffffffffff, 0x0010000000000000, 0x7fefffffffffffff, 0xffefffffffffffff, 0x3ff0000000000000,
      0x3ff0000000000001, 0xbff0000000000000, 0x3ca0000000000000};
  static const std::vector<uint64_t> e4m3 = {0x00, 0x80, 0x7f, 0xff, 0x7e, 0xfe, 0x7d, 0xfd, 0x01, 0x81,
                                             0x07, 0x87, 0x08, 0x88, 0x38, 0x39, 0xb8, 0x18, 0x17, 0x58};
  static const std::vector<uint64_t> e5m2 = {0x00, 0x80, 0x7c, 0xfc, 0x7d, 0xfd, 0x7e, 0xfe,
                                             0x7f, 0xff, 0x7b, 0xfb, 0x7a, 0x01, 0x81, 0x03,
                                             0x83, 0x04, 0x84, 0x3c, 0x3d, 0xbc};
  static const std::vector<uint64_t> integer = {0,
                                                1,
                                                ~uint64_t{0},
                                                0x80,
                                                0x7f,
                                                0x81,
                                                0x8000,
                                                0x7fff,
                                                0x8001,
                                                0x80000000,
                                                0x7fffffff,
                                                0x80000001,
                                                0x8000000000000000,
                                                0x7fffffffffffffff,
                                                0x8000000000000001,
                                                2,
                                                ~uint64_t{1}};
  switch (type) {
    case DataType::float16:
      return half;
    case DataType::bfloat16:
      return bfloat;
    case DataType::float32:
      return single;
    case DataType::float64:
      return twice;
    case DataType::float8_e4m3:
      return e4m3;
    case DataType::float8_e5m2:
      return e5m2;
    default:
      return integer;
  }
}

/// A value near one: sums and products of these round, and neither vanish nor overflow.
inline uint64_t tame_value(tutti::DataType type, uint64_t random) {
  using tutti::DataType;
  switch (type) {
    case DataType::float16:
      return 0x3000 + (random & 0x8fff);
    case DataType::bfloat16:
      return 0x3e00 + (random & 0x81ff);
    case DataType::float32:
      return 0x3e800000 + (random & 0x80ffffff);
    case DataType::float64:
      return 0x3fd0000000000000 + (random & 0x801fffffffffffff);
    case DataType::float8_e4m3:
      return 0x30 + (random & 0x8f);
    case DataType::float8_e5m2:
      return 0x38 + (random & 0x87);
    default:
      return random % 16;
  }
}

/// `count` elements: a third each of hard values, random bits and tame values.
inline Bytes random_elements(tutti::DataType type, size_t count, std::mt19937_64& random) {
  const size_t size = tutti::size_of(type);
  const std::vector<uint64_t>& hard = hard_values(type);
  Bytes bytes(count * size);
  for (size_t i = 0; i < count; ++i) {
    uint64_t value = random();
    const uint64_t kind = random() % 3;
    if (kind == 0) value = hard[value % hard.size()];
    if (kind == 1) value = tame_value(type, value);
    std::memcpy(bytes.data() + i * size, &value, size);  // little-endian: the low bytes
  }
  return bytes;
}

/// The kernels of every instruction set that this build and this processor have.
inline std::vector<const tutti::reduce::Kernels*> all_kernels() {
  std::vector<const tutti::reduce::Kernels*> found;
  for (const char* name : {"portable", "avx2", "avx512"}) {
    if (const auto* kernels = tutti::reduce::kernels(name)) found.push_back(kernels);
  }
  return found;
}

inline std::string describe(const tutti::reduce::Kernels& kernels, tutti::DataType type, tutti::ReduceOp op) {
  return std::string(kernels.name) + " " + std::string(tutti::name_of(op)) + " " +
         std::string(tutti::name_of(type));
}

}  // namespace operands
