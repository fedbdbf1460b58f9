// The patterns against sums made element by element, and that what is wrong is found.
#include "benchmarks/verify.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "benchmarks/elements.h"
#include "tests/catch.h"

using namespace tutti::bench;

namespace {

constexpr int64_t kCount = 2 * kPeriod + 17;

std::vector<std::byte> message_of(const Patterns& patterns, int64_t count = kCount) {
  return std::vector<std::byte>(static_cast<size_t>(count) * patterns.element_size());
}

std::vector<Patterns> all_ranks(Kind kind, tutti_datatype_t datatype, tutti_op_t op, int root, int ranks) {
  std::vector<Patterns> patterns;
  for (int rank = 0; rank < ranks; ++rank) patterns.emplace_back(kind, datatype, op, root, ranks, rank);
  return patterns;
}

template <typename T>
T apply(tutti_op_t op, T a, T b) {
  switch (op) {
    case TUTTI_PROD:
      return static_cast<T>(a * b);
    case TUTTI_MIN:
      return std::min(a, b);
    case TUTTI_MAX:
      return std::max(a, b);
    default:
      return static_cast<T>(a + b);
  }
}

/// Folds all ranks' inputs in the type itself, as a reduction does, and in another order than the patterns do.
template <typename T>
void check_folds(tutti_datatype_t datatype, tutti_op_t op, int ranks) {
  const std::vector<Patterns> patterns = all_ranks(Kind::all_reduce, datatype, op, 0, ranks);
  std::vector<T> result(static_cast<size_t>(kCount));
  std::vector<T> input(static_cast<size_t>(kCount));
  constexpr uint64_t kGeneration = 12345;
  for (int rank = ranks - 1; rank >= 0; --rank) {
    patterns[static_cast<size_t>(rank)].write_input(reinterpret_cast<std::byte*>(input.data()), 0, kCount,
                                                    kGeneration);
    for (size_t i = 0; i < result.size(); ++i)
      result[i] = rank == ranks - 1 ? input[i] : apply(op, result[i], input[i]);
  }
  if (op == TUTTI_AVG) {
    for (T& x : result) x = static_cast<T>(x / static_cast<T>(ranks));
  }
  INFO(tutti_datatype_name(datatype) << " " << tutti_op_name(op) << ", " << ranks << " ranks");
  CHECK(patterns[0].wrong_results(reinterpret_cast<const std::byte*>(result.data()), 0, kCount,
                                  kGeneration) == 0);
}

template <typename T>
void check_all_folds(tutti_datatype_t datatype) {
  for (const tutti_op_t op : {TUTTI_SUM, TUTTI_PROD, TUTTI_MIN, TUTTI_MAX, TUTTI_AVG}) {
    for (const int ranks : {1, 2, 3, 16}) check_folds<T>(datatype, op, ranks);
  }
}

constexpr tutti_datatype_t kDatatypes[] = {TUTTI_INT8,        TUTTI_UINT8,      TUTTI_INT16,   TUTTI_UINT16,
                                           TUTTI_INT32,       TUTTI_UINT32,     TUTTI_INT64,   TUTTI_UINT64,
                                           TUTTI_FLOAT16,     TUTTI_BFLOAT16,   TUTTI_FLOAT32, TUTTI_FLOAT64,
                                           TUTTI_FLOAT8_E4M3, TUTTI_FLOAT8_E5M2};

}  // namespace

TEST_CASE("the expected results are those of the operator in the type") {
  check_all_folds<int8_t>(TUTTI_INT8);
  check_all_folds<uint8_t>(TUTTI_UINT8);
  check_all_folds<int16_t>(TUTTI_INT16);
  check_all_folds<uint16_t>(TUTTI_UINT16);
  check_all_folds<int32_t>(TUTTI_INT32);
  check_all_folds<uint32_t>(TUTTI_UINT32);
  check_all_folds<int64_t>(TUTTI_INT64);
  check_all_folds<uint64_t>(TUTTI_UINT64);
  check_all_folds<float>(TUTTI_FLOAT32);
  check_all_folds<double>(TUTTI_FLOAT64);
  check_folds<int8_t>(TUTTI_INT8, TUTTI_SUM, 130);  // more ranks than the type can count
}

TEST_CASE("16-bit and 8-bit sums stay exact whatever is summed first") {
  for (const tutti_datatype_t datatype :
       {TUTTI_FLOAT16, TUTTI_BFLOAT16, TUTTI_FLOAT8_E4M3, TUTTI_FLOAT8_E5M2}) {
    const double largest = std::ldexp(1.0, exact_bits(datatype));
    for (const int ranks : {2, 16, 64}) {
      const auto patterns = all_ranks(Kind::all_reduce, datatype, TUTTI_SUM, 0, ranks);
      std::vector<double> magnitude(static_cast<size_t>(kPeriod), 0);
      std::vector<std::byte> input = message_of(patterns[0], kPeriod);
      for (const Patterns& rank : patterns) {
        rank.write_input(input.data(), 0, kPeriod, 0);
        for (size_t i = 0; i < magnitude.size(); ++i)
          magnitude[i] += std::fabs(load_real(datatype, &input[tutti_datatype_size(datatype) * i]));
      }
      for (const double sum : magnitude) REQUIRE(sum <= largest);
    }
  }
}

TEST_CASE("elements go in and come out of the 16-bit and 8-bit formats") {
  struct Known {
    tutti_datatype_t datatype;
    double value;
    uint16_t bits;
  };
  const Known known[] = {{TUTTI_FLOAT16, 1, 0x3c00},
                         {TUTTI_FLOAT16, -2, 0xc000},
                         {TUTTI_FLOAT16, 2047, 0x67ff},
                         {TUTTI_FLOAT16, 1.0 / 3, 0x3555},
                         {TUTTI_FLOAT16, 0, 0},
                         {TUTTI_BFLOAT16, 1, 0x3f80},
                         {TUTTI_BFLOAT16, -255, 0xc37f},
                         {TUTTI_BFLOAT16, 0.5, 0x3f00},
                         {TUTTI_BFLOAT16, 1.0 / 3, 0x3eab},
                         {TUTTI_FLOAT8_E4M3, 1, 0x38},
                         {TUTTI_FLOAT8_E4M3, -448, 0xfe},
                         {TUTTI_FLOAT8_E4M3, 0x1p-9, 0x01},
                         {TUTTI_FLOAT8_E4M3, 1.0 / 3, 0x2b},
                         {TUTTI_FLOAT8_E5M2, 1, 0x3c},
                         {TUTTI_FLOAT8_E5M2, -57344, 0xfb},
                         {TUTTI_FLOAT8_E5M2, 3 * 0x1p-16, 0x03}};
  for (const Known& k : known) {
    uint16_t bits = 0;
    store_real(k.datatype, k.value, reinterpret_cast<std::byte*>(&bits));
    INFO(tutti_datatype_name(k.datatype) << " " << k.value);
    CHECK(bits == k.bits);
    CHECK(std::fabs(load_real(k.datatype, reinterpret_cast<std::byte*>(&bits)) - k.value) <=
          std::fabs(k.value) * epsilon(k.datatype));
  }
  const uint16_t infinite = 0x7c00;
  const uint16_t nothing = 0x7e00;
  CHECK(load_real(TUTTI_FLOAT16, reinterpret_cast<const std::byte*>(&infinite)) ==
        std::numeric_limits<double>::infinity());
  CHECK(std::isnan(load_real(TUTTI_FLOAT16, reinterpret_cast<const std::byte*>(&nothing))));
  const std::byte special[] = {std::byte{0x7f}, std::byte{0xfc}};
  CHECK(std::isnan(load_real(TUTTI_FLOAT8_E4M3, &special[0])));
  CHECK(std::isnan(load_real(TUTTI_FLOAT8_E5M2, &special[0])));
  CHECK(load_real(TUTTI_FLOAT8_E4M3, &special[1]) == -384);
  CHECK(load_real(TUTTI_FLOAT8_E5M2, &special[1]) == -std::numeric_limits<double>::infinity());
}

TEST_CASE("every poisoned element is wrong, in every type and operator") {
  for (const tutti_datatype_t datatype : kDatatypes) {
    for (const tutti_op_t op : {TUTTI_SUM, TUTTI_PROD, TUTTI_MIN, TUTTI_MAX, TUTTI_AVG}) {
      const Patterns patterns(Kind::all_reduce, datatype, op, 0, 3, 1);
      std::vector<std::byte> message = message_of(patterns);
      patterns.write_poison(message.data(), 0, kCount, 7);
      INFO(tutti_datatype_name(datatype) << " " << tutti_op_name(op));
      CHECK(patterns.wrong_results(message.data(), 0, kCount, 7) == kCount);
    }
  }
}

TEST_CASE("a broadcast's result is the root's input on all ranks, and no other rank's") {
  const auto patterns = all_ranks(Kind::broadcast, TUTTI_FLOAT32, TUTTI_SUM, 2, 4);
  std::vector<std::byte> message = message_of(patterns[0]);
  for (size_t sender = 0; sender < patterns.size(); ++sender) {
    patterns[sender].write_input(message.data(), 0, kCount, 3);
    for (const Patterns& receiver : patterns) {
      const int64_t wrong = receiver.wrong_results(message.data(), 0, kCount, 3);
      CHECK((sender == 2 ? wrong == 0 : wrong > kCount / 2));
    }
  }
}

TEST_CASE("stale, displaced and damaged data are found") {
  const Patterns patterns(Kind::broadcast, TUTTI_INT32, TUTTI_SUM, 0, 2, 0);
  std::vector<std::byte> message = message_of(patterns);
  patterns.write_input(message.data(), 0, kCount, 41);
  REQUIRE(patterns.wrong_results(message.data(), 0, kCount, 41) == 0);
  CHECK(patterns.wrong_results(message.data(), 0, kCount, 42) > kCount / 2);  // stale
  // Two slices that changed places.
  std::vector<std::byte> swapped = message;
  std::swap_ranges(swapped.begin(), swapped.begin() + 4096, swapped.begin() + 4096);
  CHECK(patterns.wrong_results(swapped.data(), 0, kCount, 41) > 1000);
  // One bit anywhere is one element.
  for (const size_t at : {size_t{0}, message.size() / 2, message.size() - 1}) {
    message[at] ^= std::byte{1};
    CHECK(patterns.wrong_results(message.data(), 0, kCount, 41) == 1);
    CHECK(patterns.wrong_inputs(message.data(), 0, kCount, 41) == 1);
    message[at] ^= std::byte{1};
  }
}

TEST_CASE("an average may differ by a rounding and by no more") {
  const Patterns patterns(Kind::all_reduce, TUTTI_FLOAT32, TUTTI_AVG, 0, 3, 0);
  std::vector<float> poison(static_cast<size_t>(kPeriod));
  auto* bytes = reinterpret_cast<std::byte*>(poison.data());
  patterns.write_poison(bytes, 0, kPeriod, 0);
  std::vector<float> result(poison.size());
  for (size_t i = 0; i < result.size(); ++i) {  // the poison is the complement of the result
    uint32_t bits = 0;
    std::memcpy(&bits, &poison[i], 4);
    bits = ~bits;
    std::memcpy(&result[i], &bits, 4);
  }
  bytes = reinterpret_cast<std::byte*>(result.data());
  CHECK(patterns.wrong_results(bytes, 0, kPeriod, 0) == 0);
  const size_t victim = 100;
  const float before = result[victim];
  REQUIRE(before != 0);
  result[victim] = std::nextafter(before, 1e30F);
  CHECK(patterns.wrong_results(bytes, 0, kPeriod, 0) == 0);
  result[victim] = before * 1.00001F;
  CHECK(patterns.wrong_results(bytes, 0, kPeriod, 0) == 1);
  result[victim] = std::numeric_limits<float>::quiet_NaN();
  CHECK(patterns.wrong_results(bytes, 0, kPeriod, 0) == 1);
}
