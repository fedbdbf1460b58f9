// Which rank of a node derives which epochs: each in turn a block of them, so that the work is shared and nobody does it twice.
#pragma once

#include <cstdint>

namespace tutti::statistics {

class Turns {
 public:
  static constexpr uint64_t kBlock = 16;  // epochs; their stamps are neighbours in every ring

  Turns() = default;
  Turns(int place, int ranks) : place_(static_cast<uint64_t>(place)), ranks_(static_cast<uint64_t>(ranks)) {}

  bool is_mine(uint64_t epoch) const { return epoch / kBlock % ranks_ == place_; }

  /// The first epoch from `epoch` on that falls to this place.
  uint64_t first_from(uint64_t epoch) const {
    const uint64_t block = epoch / kBlock;
    const uint64_t away = (place_ + ranks_ - block % ranks_) % ranks_;
    return away == 0 ? epoch : (block + away) * kBlock;
  }

  /// Of the epochs that fall to this place, each has a number; two that follow each other have numbers that do.
  uint64_t number_of(uint64_t epoch) const { return epoch / kBlock / ranks_ * kBlock + epoch % kBlock; }
  uint64_t epoch_of(uint64_t number) const {
    return (number / kBlock * ranks_ + place_) * kBlock + number % kBlock;
  }

  /// The end of the block that `epoch` is in.
  static uint64_t end_of_block(uint64_t epoch) { return (epoch / kBlock + 1) * kBlock; }

 private:
  uint64_t place_ = 0;
  uint64_t ranks_ = 1;
};

}  // namespace tutti::statistics
