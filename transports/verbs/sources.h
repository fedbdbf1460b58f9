// Memory of the user that puts may leave from as it lies: registered with every rail of this rank, for reading alone.
//
// Only a source that lies in one of them entirely counts. Where registered buffers overlap, one of them may be missed, which costs a copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "transports/verbs/handles.h"
#include "transports/verbs/rail.h"

namespace tutti::verbs {

class Source {
 public:
  /// Throws Error saying which rail refused, and why.
  Source(std::span<const std::byte> memory, const std::vector<std::unique_ptr<Rail>>& rails);

  const std::byte* begin() const { return memory_.data(); }
  bool holds(const std::byte* from, size_t bytes) const {
    return from >= begin() && static_cast<size_t>(from - begin()) <= memory_.size() &&
           bytes <= memory_.size() - static_cast<size_t>(from - begin());
  }
  uint32_t key(const Rail& rail) const;

 private:
  struct OfRail {
    const Rail* rail = nullptr;
    Region region;
  };
  std::span<const std::byte> memory_;
  std::vector<OfRail> regions_;
};

class Sources {
 public:
  /// Throws Error.
  void add(uint64_t id, std::span<const std::byte> memory, const std::vector<std::unique_ptr<Rail>>& rails);
  /// One that is not there is no error.
  void remove(uint64_t id);
  /// Null: the bytes must be copied. Valid until remove().
  const Source* find(const std::byte* from, size_t bytes) const;

 private:
  struct Entry {
    uint64_t id = 0;
    std::unique_ptr<Source> source;
  };
  std::vector<Entry> entries_;  // by begin
};

}  // namespace tutti::verbs
