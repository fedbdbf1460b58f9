// The copy kernels: every length up to several groups, every alignment, nothing read or written beyond the ends.
#include <random>

#include "tests/catch.h"
#include "tests/reduce/operands.h"

namespace {

using operands::Bytes;
using operands::Guarded;
using tutti::reduce::Store;

constexpr unsigned char kPoison = 0x5a;

Bytes random_bytes(size_t bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes data(bytes);
  for (auto& byte : data) byte = static_cast<unsigned char>(random());
  return data;
}

/// Copies `bytes` bytes of `data` between buffers that end so far before a forbidden page; true when all is right.
bool copied(const tutti::reduce::Kernels& kernels, Guarded& from, Guarded& to, const Bytes& data,
            size_t bytes, size_t from_before, size_t to_before, Store store) {
  unsigned char* src = from.last(bytes, from_before);
  unsigned char* dst = to.last(bytes, to_before);
  std::memcpy(src, data.data(), bytes);
  to.fill(kPoison);
  kernels.copy(dst, src, bytes, store);
  return std::memcmp(dst, data.data(), bytes) == 0 && std::memcmp(src, data.data(), bytes) == 0 &&
         to.only_within(dst, bytes, kPoison);
}

}  // namespace

TEST_CASE("copies of every length") {
  const Bytes data = random_bytes(8192, 1);
  Guarded from(8192), to(8192);
  for (const auto* kernels : operands::all_kernels()) {
    for (Store store : {Store::cached, Store::streaming}) {
      for (size_t bytes = 0; bytes <= 1100; ++bytes) {
        INFO(kernels->name << " " << bytes << " bytes, store " << static_cast<int>(store));
        REQUIRE(copied(*kernels, from, to, data, bytes, 0, 0, store));
        REQUIRE(copied(*kernels, from, to, data, bytes, bytes % 67, bytes % 61, store));
      }
    }
  }
}

TEST_CASE("copies at every alignment") {
  const Bytes data = random_bytes(8192, 2);
  Guarded from(8192), to(8192);
  for (const auto* kernels : operands::all_kernels()) {
    for (Store store : {Store::cached, Store::streaming}) {
      for (size_t bytes : {63, 130, 257, 700, 4096}) {
        for (size_t before = 0; before < 64; ++before) {
          INFO(kernels->name << " " << bytes << " bytes, " << before << " before, store "
                             << static_cast<int>(store));
          REQUIRE(copied(*kernels, from, to, data, bytes, 0, before, store));
          REQUIRE(copied(*kernels, from, to, data, bytes, before, 64 - before, store));
        }
      }
    }
  }
}

TEST_CASE("large copies, and a copy onto itself") {
  const size_t bytes = (size_t{3} << 20) + 77;
  const Bytes data = random_bytes(bytes, 3);
  for (const auto* kernels : operands::all_kernels()) {
    for (Store store : {Store::cached, Store::streaming}) {
      Bytes result(bytes);
      kernels->copy(result.data(), data.data(), bytes, store);
      CHECK(result == data);
      kernels->copy(result.data(), result.data(), bytes, store);
      CHECK(result == data);
    }
  }
}
