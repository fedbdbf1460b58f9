// The device's arithmetic, compiled for the host, against the host's kernels and the scalar reference, bit by bit.
#include "collectives/executors/cuda/elements.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "collectives/reduce/kernels.h"
#include "tests/catch.h"
#include "tests/gpu/arithmetic_support.h"
#include "tests/reduce/boundaries.h"
#include "tests/reduce/operands.h"

namespace {

using operands::Bytes;
using tutti::DataType;
using tutti::ReduceOp;
using tutti::cuda::LaneOf;
using tutti::cuda::Lanes;
using tutti::cuda::Raw;

template <int kBytes>
Raw<kBytes> raw_at(const Bytes& bytes, size_t at) {
  Raw<kBytes> raw{};
  std::memcpy(&raw, bytes.data() + at, kBytes);
  return raw;
}

/// Folds the sources kBytes at a time.
template <typename A, int kBytes>
Bytes folded(const std::vector<Bytes>& sources, uint32_t divisor) {
  const tutti::cuda::DivisionOf<A::kType> division(divisor);
  Bytes result(sources[0].size());
  for (size_t at = 0; at < result.size(); at += kBytes) {
    auto value = tutti::cuda::unpack<A::kType>(raw_at<kBytes>(sources[0], at));
    for (size_t s = 1; s < sources.size(); ++s) {
      tutti::cuda::fold<A::kOp>(value, tutti::cuda::unpack<A::kType>(raw_at<kBytes>(sources[s], at)));
    }
    if (division.scales) {
      tutti::cuda::scale<A::kType>(value, division);
    } else {
      tutti::cuda::divide<A::kType>(value, division);
    }
    const Raw<kBytes> raw = tutti::cuda::pack<A::kType>(value);
    std::memcpy(result.data() + at, &raw, kBytes);
  }
  return result;
}

/// By units of 16 and 8 bytes and of one element, which must not differ.
template <typename A>
struct Fold {
  static Bytes run(const std::vector<Bytes>& sources, uint32_t divisor) {
    Bytes result = folded<A, 16>(sources, divisor);
    if (folded<A, 8>(sources, divisor) != result) return {};
    if (folded<A, A::kSize>(sources, divisor) != result) return {};
    return result;
  }
};

using FoldFn = Bytes (*)(const std::vector<Bytes>&, uint32_t);

Bytes by_host(device::Pair pair, const std::vector<Bytes>& sources, uint32_t divisor) {
  Bytes result(sources[0].size());
  std::vector<const void*> src;
  for (const Bytes& source : sources) src.push_back(source.data());
  const auto reduce =
      tutti::reduce::kernels().reduce[static_cast<size_t>(pair.op)][static_cast<size_t>(pair.type)];
  reduce({result.data(), nullptr, src.data(), static_cast<int>(src.size()),
          result.size() / size_of(pair.type), divisor, tutti::reduce::Store::cached});
  return result;
}

void check(int i, const std::vector<Bytes>& sources, uint32_t divisor) {
  const device::Pair pair = device::pair_of(i);
  INFO(device::describe(pair) << ", " << sources.size() << " sources, divisor " << divisor);
  REQUIRE(device::kTable<FoldFn, Fold>[static_cast<size_t>(i)](sources, divisor) ==
          by_host(pair, sources, divisor));
}

constexpr uint32_t kDivisors[] = {1,   2,    3,     5,     7,     16,         127,        128,       129,
                                  255, 1000, 32768, 65535, 65536, 0x7fffffff, 0x80000000, 0xffffffff};

template <DataType type>
uint32_t narrowed(float value) {
  constexpr int kSize = static_cast<int>(size_of(type));
  Lanes<type, kSize> lanes;
  lanes.at[0] = value;
  return tutti::cuda::pack<type>(lanes).word[0];
}

template <DataType type, typename Format, typename Bits>
void check_narrowing(const Format& format, Bits last) {
  for (const float value : boundaries::around(format, last)) {
    INFO(name_of(type) << " of " << value);
    REQUIRE(narrowed<type>(value) == reference::encode(value, format));
  }
  for (const float value : boundaries::all_halves()) {
    if (narrowed<type>(value) != reference::encode(value, format)) FAIL(name_of(type) << " of " << value);
  }
}

template <DataType type, typename Format, typename Bits>
void check_widening(const Format& format, Bits last) {
  constexpr int kSize = static_cast<int>(size_of(type));
  for (uint32_t bits = 0; bits <= last; ++bits) {
    const float expected = reference::decode(static_cast<Bits>(bits), format);
    const float value = tutti::cuda::unpack<type>(Raw<kSize>{{bits}}).at[0];
    INFO(name_of(type) << " " << bits);
    if (std::isnan(expected)) {
      REQUIRE(std::isnan(value));
    } else {
      REQUIRE(tutti::cuda::word_of(value) == tutti::cuda::word_of(expected));
    }
  }
}

}  // namespace

TEST_CASE("the device folds, divides and rounds as the host does") {
  std::mt19937_64 random(1);
  for (int i = 0; i < device::kPairs; ++i) {
    const device::Pair pair = device::pair_of(i);
    for (size_t sources : {2, 3, 9}) {
      std::vector<Bytes> data;
      for (size_t s = 0; s < sources; ++s) data.push_back(operands::random_elements(pair.type, 4096, random));
      check(i, data, 0);
      if (pair.op != ReduceOp::avg) continue;
      for (const uint32_t divisor : kDivisors) check(i, data, divisor);
    }
  }
}

TEST_CASE("the device folds all pairs of 8-bit elements as the host does") {
  std::vector<Bytes> data(2, Bytes(65536));
  for (size_t i = 0; i < 65536; ++i) {
    data[0][i] = static_cast<unsigned char>(i);
    data[1][i] = static_cast<unsigned char>(i / 256);
  }
  for (int i = 0; i < device::kPairs; ++i) {
    if (size_of(device::pair_of(i).type) != 1) continue;
    check(i, data, 0);
    if (device::pair_of(i).op != ReduceOp::avg) continue;
    for (uint32_t divisor = 1; divisor < 300; ++divisor) check(i, data, divisor);
  }
}

TEST_CASE("the device divides every 16-bit element as the host does") {
  std::vector<Bytes> data(1, Bytes(2 * 65536));
  for (size_t i = 0; i < 65536; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    std::memcpy(data[0].data() + 2 * i, &bits, 2);
  }
  for (int i = 0; i < device::kPairs; ++i) {
    if (size_of(device::pair_of(i).type) != 2 || device::pair_of(i).op != ReduceOp::avg) continue;
    for (const uint32_t divisor : kDivisors) check(i, data, divisor);
  }
}

TEST_CASE("the device widens exactly") {
  check_widening<DataType::float16>(reference::kHalf, uint16_t{0xffff});
  check_widening<DataType::bfloat16>(reference::kBFloat, uint16_t{0xffff});
  check_widening<DataType::float8_e4m3>(reference::kE4m3, uint8_t{0xff});
  check_widening<DataType::float8_e5m2>(reference::kE5m2, uint8_t{0xff});
}

TEST_CASE("the device narrows to nearest even at every boundary") {
  check_narrowing<DataType::float16>(reference::kHalf, uint16_t{0x7bff});
  check_narrowing<DataType::bfloat16>(reference::kBFloat, uint16_t{0x7f7f});
  check_narrowing<DataType::float8_e4m3>(reference::kE4m3, uint8_t{0x7e});
  check_narrowing<DataType::float8_e5m2>(reference::kE5m2, uint8_t{0x7b});
  CHECK(narrowed<DataType::float8_e4m3>(464.0f) == 0x7e);  // where rounding to infinity or NaN would begin
  CHECK(narrowed<DataType::float8_e4m3>(-1e30f) == 0xfe);
  CHECK(narrowed<DataType::float8_e5m2>(-std::numeric_limits<float>::infinity()) == 0xfb);
  CHECK(narrowed<DataType::float8_e5m2>(-std::numeric_limits<float>::quiet_NaN()) == 0x7f);
}
