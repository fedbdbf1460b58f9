// What the ranks send and what must come back.
//
// Each rank's input repeats a pattern of kPeriod elements, and generation g starts kShift * g elements into it: any
// part of any message of any generation is a copy out of the pattern, and so is its result. So filling and checking
// cost a memcpy and a memcmp, data change with every generation, and stale or displaced data do not pass: kPeriod is
// a prime, hence no chunk or slice is a multiple of it.
//
// Values are small whole numbers chosen so that each operator's result is exact in its type, in any order of
// reduction; such results are compared bit by bit. The average of floating-point numbers is rounded and gets a
// tolerance of a few units in the last place. What a broadcast sends is random bits, NaNs included.
//
// Outputs are poisoned with the complement of the expected bits: no element is right by chance.
#pragma once

#include <tutti/tutti.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "benchmarks/collective.h"

namespace tutti::bench {

inline constexpr int64_t kPeriod = 4093;

class Patterns {
 public:
  /// As seen by `rank`. `op` counts for an all-reduce, `root` for a broadcast.
  Patterns(Kind kind, tutti_datatype_t datatype, tutti_op_t op, int root, int ranks, int rank);

  // Elements [first, first + count) of the message whose element 0 lies at `message`.
  void write_input(std::byte* message, int64_t first, int64_t count, uint64_t generation) const;
  void write_poison(std::byte* message, int64_t first, int64_t count, uint64_t generation) const;
  /// How many elements are not the expected result, or not this rank's input.
  int64_t wrong_results(const std::byte* message, int64_t first, int64_t count, uint64_t generation) const;
  int64_t wrong_inputs(const std::byte* message, int64_t first, int64_t count, uint64_t generation) const;

  // The same of elements [first, first + count) that lie at `elements`, without the rest of the message.
  int64_t wrong_results_at(const std::byte* elements, int64_t first, int64_t count,
                           uint64_t generation) const;
  int64_t wrong_inputs_at(const std::byte* elements, int64_t first, int64_t count, uint64_t generation) const;

  size_t element_size() const { return element_size_; }

  /// Element i of the message is element (i + offset) of the repeated pattern.
  static int64_t offset_of(uint64_t generation);

 private:
  using Pattern = std::vector<std::byte>;  // two periods, so that one period from any offset is contiguous

  template <typename Visit>
  void for_each_piece(int64_t first, int64_t count, uint64_t generation, Visit visit) const;
  void write(const Pattern& pattern, std::byte* message, int64_t first, int64_t count,
             uint64_t generation) const;
  int64_t wrong_at(const Pattern& pattern, const std::byte* elements, int64_t first, int64_t count,
                   uint64_t generation, bool exact) const;
  int64_t count_wrong(const std::byte* actual, const std::byte* expected, int64_t count, bool exact) const;

  tutti_datatype_t datatype_;
  size_t element_size_;
  bool exact_;
  Pattern input_;
  Pattern result_;
  Pattern poison_;
};

}  // namespace tutti::bench
