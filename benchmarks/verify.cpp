// How the patterns are made, and how messages are compared with them.
#include "benchmarks/verify.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "benchmarks/elements.h"

namespace tutti::bench {
namespace {

/// Consecutive generations start this far apart; prime to kPeriod, so all its offsets are used.
constexpr uint64_t kShift = 1009;

uint64_t mixed(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t random_bits(int rank, int64_t index) {
  return mixed(mixed(static_cast<uint64_t>(rank) + 1) ^ static_cast<uint64_t>(index));
}

/// True for `chosen` of the ranks, others for each index: bounds a result that grows with the number of ranks.
bool takes_part(int rank, int64_t index, int ranks, int64_t chosen) {
  const uint64_t turn = mixed(static_cast<uint64_t>(index)) + static_cast<uint64_t>(rank);
  return static_cast<int64_t>(turn % static_cast<uint64_t>(ranks)) < chosen;
}

/// The sum over all ranks stays a whole number that is exact in the type, however it is summed.
int64_t summand(tutti_datatype_t datatype, int ranks, int rank, int64_t index) {
  constexpr int kMostBits = 20;
  const int64_t limit = (int64_t{1} << std::min(exact_bits(datatype), kMostBits)) - 1;
  if (!takes_part(rank, index, ranks, limit)) return 0;
  const int64_t magnitude = std::max<int64_t>(limit / ranks, 1);
  const uint64_t random = random_bits(rank, index) >> 1;
  if (!is_signed(datatype)) return static_cast<int64_t>(random % static_cast<uint64_t>(magnitude + 1));
  return static_cast<int64_t>(random % static_cast<uint64_t>(2 * magnitude + 1)) - magnitude;
}

/// At most six ranks contribute a 2, the others 1, with a sign where the type has one: products up to 64.
int64_t factor(tutti_datatype_t datatype, int ranks, int rank, int64_t index) {
  constexpr int64_t kDoublings = 6;
  const uint64_t random = random_bits(rank, index);
  const int64_t magnitude = takes_part(rank, index, ranks, kDoublings) && (random & 1) != 0 ? 2 : 1;
  return is_signed(datatype) && (random & 2) != 0 ? -magnitude : magnitude;
}

/// Anything that is exact in the type.
int64_t candidate(tutti_datatype_t datatype, int rank, int64_t index) {
  const int bits = exact_bits(datatype);
  const uint64_t random = random_bits(rank, index);
  const auto magnitude = static_cast<int64_t>(random >> (64 - bits));
  return is_signed(datatype) && (random & 1) != 0 ? -magnitude : magnitude;
}

int64_t contribution(tutti_datatype_t datatype, tutti_op_t op, int ranks, int rank, int64_t index) {
  switch (op) {
    case TUTTI_SUM:
    case TUTTI_AVG:
      return summand(datatype, ranks, rank, index);
    case TUTTI_PROD:
      return factor(datatype, ranks, rank, index);
    default:
      return candidate(datatype, rank, index);
  }
}

int64_t folded(tutti_datatype_t datatype, tutti_op_t op, int ranks, int64_t index) {
  int64_t result = contribution(datatype, op, ranks, 0, index);
  for (int rank = 1; rank < ranks; ++rank) {
    const int64_t next = contribution(datatype, op, ranks, rank, index);
    switch (op) {
      case TUTTI_SUM:
      case TUTTI_AVG:
        result += next;
        break;
      case TUTTI_PROD:
        result *= next;
        break;
      case TUTTI_MIN:
        result = std::min(result, next);
        break;
      case TUTTI_MAX:
        result = std::max(result, next);
        break;
    }
  }
  return result;
}

void store_result(tutti_datatype_t datatype, tutti_op_t op, int ranks, int64_t index, std::byte* element) {
  const int64_t value = folded(datatype, op, ranks, index);
  if (op != TUTTI_AVG) return store_whole(datatype, value, element);
  if (is_floating(datatype)) return store_real(datatype, static_cast<double>(value) / ranks, element);
  store_whole(datatype, value / ranks, element);
}

}  // namespace

int64_t Patterns::offset_of(uint64_t generation) {
  return static_cast<int64_t>(generation % static_cast<uint64_t>(kPeriod) * kShift %
                              static_cast<uint64_t>(kPeriod));
}

Patterns::Patterns(Kind kind, tutti_datatype_t datatype, tutti_op_t op, int root, int ranks, int rank)
    : datatype_(datatype),
      element_size_(tutti_datatype_size(datatype)),
      exact_(kind == Kind::broadcast || op != TUTTI_AVG || !is_floating(datatype)) {
  const size_t bytes = static_cast<size_t>(kPeriod) * element_size_;
  for (Pattern* pattern : {&input_, &result_, &poison_}) pattern->resize(2 * bytes);
  for (int64_t i = 0; i < kPeriod; ++i) {
    std::byte* const input = input_.data() + static_cast<size_t>(i) * element_size_;
    std::byte* const result = result_.data() + static_cast<size_t>(i) * element_size_;
    if (kind == Kind::broadcast) {
      const uint64_t mine = random_bits(rank, i);
      const uint64_t sent = random_bits(root, i);
      std::memcpy(input, &mine, element_size_);
      std::memcpy(result, &sent, element_size_);
    } else {
      store_whole(datatype, contribution(datatype, op, ranks, rank, i), input);
      store_result(datatype, op, ranks, i, result);
    }
  }
  std::transform(result_.begin(), result_.end(), poison_.begin(), [](std::byte b) { return ~b; });
  for (Pattern* pattern : {&input_, &result_, &poison_}) {
    std::copy_n(pattern->begin(), bytes, pattern->begin() + static_cast<std::ptrdiff_t>(bytes));
  }
}

/// Calls visit(element of the message, byte offset in the pattern, elements) for pieces of at most a period.
template <typename Visit>
void Patterns::for_each_piece(int64_t first, int64_t count, uint64_t generation, Visit visit) const {
  const int64_t offset = offset_of(generation);
  for (int64_t done = 0; done < count;) {
    const int64_t length = std::min(count - done, kPeriod);
    const int64_t start = (first + done + offset) % kPeriod;
    visit(first + done, static_cast<size_t>(start) * element_size_, length);
    done += length;
  }
}

void Patterns::write(const Pattern& pattern, std::byte* message, int64_t first, int64_t count,
                     uint64_t generation) const {
  for_each_piece(first, count, generation, [&](int64_t element, size_t at, int64_t length) {
    std::memcpy(message + static_cast<size_t>(element) * element_size_, pattern.data() + at,
                static_cast<size_t>(length) * element_size_);
  });
}

void Patterns::write_input(std::byte* message, int64_t first, int64_t count, uint64_t generation) const {
  write(input_, message, first, count, generation);
}

void Patterns::write_poison(std::byte* message, int64_t first, int64_t count, uint64_t generation) const {
  write(poison_, message, first, count, generation);
}

int64_t Patterns::count_wrong(const std::byte* actual, const std::byte* expected, int64_t count,
                              bool exact) const {
  if (std::memcmp(actual, expected, static_cast<size_t>(count) * element_size_) == 0) return 0;
  // The sum is exact; the quotient is rounded once, or twice where it is a product with the reciprocal.
  // With three or four digits a rounding is most of what can be told.
  const double tolerance = (element_size_ == 1 ? 1 : 4) * epsilon(datatype_);
  int64_t wrong = 0;
  for (int64_t i = 0; i < count; ++i, actual += element_size_, expected += element_size_) {
    if (std::memcmp(actual, expected, element_size_) == 0) continue;
    if (!exact) {
      const double want = load_real(datatype_, expected);
      if (std::fabs(load_real(datatype_, actual) - want) <= tolerance * std::fabs(want)) continue;
    }
    ++wrong;
  }
  return wrong;
}

int64_t Patterns::wrong_at(const Pattern& pattern, const std::byte* elements, int64_t first, int64_t count,
                           uint64_t generation, bool exact) const {
  int64_t wrong = 0;
  for_each_piece(first, count, generation, [&](int64_t element, size_t at, int64_t length) {
    wrong += count_wrong(elements + static_cast<size_t>(element - first) * element_size_, pattern.data() + at,
                         length, exact);
  });
  return wrong;
}

int64_t Patterns::wrong_results_at(const std::byte* elements, int64_t first, int64_t count,
                                   uint64_t generation) const {
  return wrong_at(result_, elements, first, count, generation, exact_);
}

int64_t Patterns::wrong_inputs_at(const std::byte* elements, int64_t first, int64_t count,
                                  uint64_t generation) const {
  return wrong_at(input_, elements, first, count, generation, true);
}

int64_t Patterns::wrong_results(const std::byte* message, int64_t first, int64_t count,
                                uint64_t generation) const {
  return wrong_results_at(message + static_cast<size_t>(first) * element_size_, first, count, generation);
}

int64_t Patterns::wrong_inputs(const std::byte* message, int64_t first, int64_t count,
                               uint64_t generation) const {
  return wrong_inputs_at(message + static_cast<size_t>(first) * element_size_, first, count, generation);
}

}  // namespace tutti::bench
