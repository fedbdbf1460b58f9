// The scratch of a communicator: one ring of bytes per rank and kind, the same size on every rank.
//
// Every operation takes the next `need` bytes of the ring, on every rank at the same place, because all ranks
// run the same operations in the same order with the same sizes. Positions count bytes since the communicator
// was made and never wrap (64 bits); the place in the ring is the position modulo its size. An operation
// never straddles the end.
//
// Reuse. The bytes [position, end) were last used by positions below `end - size`. They are free on all ranks
// once each rank has *retired* past that: each rank publishes, after each operation, the position up to which
// it is finished. So one comparison per rank replaces any bookkeeping of who used which slot for what;
// `claim` steps make it. Rotating through the whole ring also keeps the writer away from cache lines its
// peers have just read, which is what makes reuse of a small slot slow.
#pragma once

#include <cstdint>

namespace tutti::plan {

struct Extent {
  uint64_t position = 0;  // where the operation's bytes begin, counted since the start
  uint64_t end = 0;       // where they end: what is retired when the operation is finished
  uint64_t offset = 0;    // position modulo ring size: the place in each rank's window
  uint64_t required = 0;  // `claim` waits until every rank has retired this position
};

/// One ring, as one rank sees it. Not thread-safe; equal on all ranks.
class Ring {
 public:
  constexpr Ring() = default;
  /// `position`: where an earlier ring of the same kind stood.
  constexpr explicit Ring(uint64_t size, uint64_t position = 0) : size_(size), position_(position) {}

  constexpr uint64_t size() const { return size_; }

  /// Takes `need` <= size() bytes.
  constexpr Extent take(uint64_t need) {
    const uint64_t taken = position_;  // bytes skipped at the end of the ring are not: nobody retires them
    uint64_t offset = position_ % size_;
    if (offset + need > size_) {
      position_ += size_ - offset;
      offset = 0;
    }
    Extent extent{.position = position_, .end = position_ + need, .offset = offset, .required = 0};
    if (extent.end > size_) extent.required = extent.end - size_ < taken ? extent.end - size_ : taken;
    position_ = extent.end;
    return extent;
  }

  constexpr uint64_t position() const { return position_; }

 private:
  uint64_t size_ = 1;
  uint64_t position_ = 0;
};

}  // namespace tutti::plan
