// The conversions of narrow floats inside the kernels, by themselves: every value widened, and numbers around every place where the
// result of narrowing changes. (The kernels' inputs alone do not reach all of these.)
#include <cmath>
#include <limits>
#include <vector>

#define TUTTI_REDUCE_ISA narrow_test
#define TUTTI_REDUCE_WIDTH 16
#include "collectives/reduce/vectors.inl"

namespace tutti::reduce::narrow_test {
namespace {

TUTTI_REDUCE_INLINE Raw load(const unsigned char* from) {
  Raw value;
  for (int i = 0; i < kParts; ++i) value.part[i] = read<Vec<uint64_t>>(from + 16 * i);
  return value;
}

}  // namespace
}  // namespace tutti::reduce::narrow_test

#include "collectives/reduce/elements.inl"
#include "tests/catch.h"
#include "tests/reduce/boundaries.h"

namespace {

namespace kernel = tutti::reduce::narrow_test;
using reference::Bytes;

/// Widens elements and narrows them again through one block; `between` may replace the numbers.
template <typename Element, typename Between>
Bytes through(const Bytes& elements, const Between& between) {
  constexpr size_t kPerBlock = kernel::kBlock / Element::kSize;
  Bytes block(kernel::kBlock), result = elements;
  for (size_t at = 0; at < elements.size(); at += kernel::kBlock) {
    const size_t bytes = std::min(kernel::kBlock, elements.size() - at);
    std::memcpy(block.data(), elements.data() + at, bytes);
    typename Element::Block wide;
    Element::load_wide(block.data(), wide);
    between(at / kernel::kBlock * kPerBlock, wide);
    const kernel::Raw raw = Element::narrow(wide);
    std::memcpy(result.data() + at, &raw, bytes);
  }
  return result;
}

/// The numbers of a block in whatever order the element type has them.
template <typename Element>
std::vector<float> numbers_of(const typename Element::Block& wide) {
  std::vector<float> numbers(kernel::kBlock / Element::kSize);
  std::memcpy(numbers.data(), wide, sizeof(wide));
  return numbers;
}

template <typename Element, typename Bits, typename Format>
void check_widening(const Format& format) {
  constexpr size_t kPerBlock = kernel::kBlock / Element::kSize;
  for (uint32_t bits = 0; bits <= std::numeric_limits<Bits>::max(); ++bits) {
    Bytes block(kernel::kBlock);
    for (size_t i = 0; i < kPerBlock; ++i) {
      const auto element = static_cast<Bits>(bits);
      std::memcpy(block.data() + i * sizeof(Bits), &element, sizeof(Bits));
    }
    typename Element::Block wide;
    Element::load_wide(block.data(), wide);
    const float expected = reference::decode(static_cast<Bits>(bits), format);
    for (const float number : numbers_of<Element>(wide)) {
      const bool same =
          std::isnan(expected) ? std::isnan(number) : std::memcmp(&number, &expected, sizeof(float)) == 0;
      if (!same) FAIL(bits << " became " << number << ", expected " << expected);
    }
  }
}

template <typename Element, typename Bits, typename Format>
void check_narrowing(const Format& format, const std::vector<float>& values) {
  for (const float value : values) {
    typename Element::Block wide;
    for (auto& vector : wide) vector = kernel::Vec<float>{} + value;
    if (value == 0) std::memset(wide, 0, sizeof(wide));
    if (value == 0 && std::signbit(value)) {
      for (auto& vector : wide) vector = -vector;
    }
    // The kernels settle NaNs before they narrow.
    for (auto& vector : wide) vector = kernel::canonical<float>(vector);
    const kernel::Raw raw = Element::narrow(wide);
    const Bits expected = reference::encode(value, format);
    for (size_t i = 0; i < kernel::kBlock / sizeof(Bits); ++i) {
      Bits bits = 0;
      std::memcpy(&bits, reinterpret_cast<const unsigned char*>(&raw) + i * sizeof(Bits), sizeof(Bits));
      if (bits != expected) FAIL(value << " became " << +bits << ", expected " << +expected);
    }
  }
}

}  // namespace

TEST_CASE("narrow floats are widened exactly") {
  check_widening<kernel::Float16, uint16_t>(reference::kHalf);
  check_widening<kernel::BFloat16, uint16_t>(reference::kBFloat);
  check_widening<kernel::ElementOf<tutti::DataType::float8_e4m3>::type, uint8_t>(reference::kE4m3);
  check_widening<kernel::ElementOf<tutti::DataType::float8_e5m2>::type, uint8_t>(reference::kE5m2);
  SUCCEED();
}

TEST_CASE("numbers are narrowed to nearest even at every boundary") {
  using boundaries::around;
  const std::vector<float> halves = boundaries::all_halves();
  check_narrowing<kernel::Float16, uint16_t>(reference::kHalf, around(reference::kHalf, uint16_t{0x7bff}));
  check_narrowing<kernel::BFloat16, uint16_t>(reference::kBFloat,
                                              around(reference::kBFloat, uint16_t{0x7f7f}));
  using E4m3 = kernel::ElementOf<tutti::DataType::float8_e4m3>::type;
  using E5m2 = kernel::ElementOf<tutti::DataType::float8_e5m2>::type;
  check_narrowing<E4m3, uint8_t>(reference::kE4m3, around(reference::kE4m3, uint8_t{0x7e}));
  check_narrowing<E5m2, uint8_t>(reference::kE5m2, around(reference::kE5m2, uint8_t{0x7b}));
  check_narrowing<E4m3, uint8_t>(reference::kE4m3, halves);
  check_narrowing<E5m2, uint8_t>(reference::kE5m2, halves);
  SUCCEED();
}

TEST_CASE("a block keeps its elements in their places") {
  Bytes elements(256);
  for (size_t i = 0; i < 256; ++i) elements[i] = static_cast<unsigned char>(i);
  const auto unchanged = [](size_t, const auto&) {};
  Bytes e4m3 = elements, e5m2 = elements;
  e4m3[0xff] = 0x7f;  // NaN
  for (size_t nan : {0x7d, 0x7e, 0xfd, 0xfe, 0xff}) e5m2[nan] = 0x7f;
  e5m2[0x7c] = 0x7b;  // infinity
  e5m2[0xfc] = 0xfb;
  CHECK(through<kernel::ElementOf<tutti::DataType::float8_e4m3>::type>(elements, unchanged) == e4m3);
  CHECK(through<kernel::ElementOf<tutti::DataType::float8_e5m2>::type>(elements, unchanged) == e5m2);
}
