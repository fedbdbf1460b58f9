// The buffers of a row: filled, poisoned and checked outside of the timed region.
//
// Around a verified call everything is written and everything is checked. Around a timed call of a large message that
// would take far longer than the call, so only eight spans of a few cache lines are: they move with each generation
// and reach every part of the message, and the rest keeps older data. A small message is always done whole.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "benchmarks/collective.h"
#include "benchmarks/verify.h"

namespace tutti::bench {

/// Memory in pages of its own, touched before anything is timed.
class Buffer {
 public:
  explicit Buffer(size_t bytes);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

enum class Extent : uint8_t { whole, spans };

struct Span {
  int64_t first = 0;
  int64_t count = 0;
};

/// Ascending and disjoint; made without allocating, for it happens around every timed call.
struct Spans {
  static constexpr size_t kMost = 8;
  std::array<Span, kMost> all{};
  size_t used = 0;

  const Span* begin() const { return all.data(); }
  const Span* end() const { return all.data() + used; }
};

/// A message up to this size is always written whole. It is how programs use collectives, and it leaves the caches in the
/// same state whatever the call before did: a library that reads its peer's buffers would else slow down the next one.
inline constexpr int64_t kWholeBytes = int64_t{4} << 20;

/// What Extent::spans means for a message of `count` elements; no span at all for count 0.
Spans spans_of(int64_t count, size_t element_size, uint64_t generation, int64_t whole_bytes = kWholeBytes);

class Message {
 public:
  /// `send` and `recv` are what the call has; in place when they are the same.
  Message(const CollectiveInfo& collective, const Call& call, std::byte* send, std::byte* recv, int ranks,
          int rank);

  /// Writes this rank's input and poisons its output.
  void prepare(Extent extent, uint64_t generation);
  /// Wrong elements of the output, and of an input that the call must not have changed.
  int64_t check(Extent extent, uint64_t generation) const;
  /// Spoils one element of the output, one that the check of this extent and generation looks at.
  void plant_error(Extent extent, uint64_t generation);

 private:
  template <typename Visit>
  void for_each_span(Extent extent, uint64_t generation, Visit visit) const;

  Patterns patterns_;
  int64_t count_;
  std::byte* send_;
  std::byte* recv_;
  bool in_place_;
  bool contributes_;  // has an input: all ranks of an all-reduce, the root of a broadcast
};

}  // namespace tutti::bench
