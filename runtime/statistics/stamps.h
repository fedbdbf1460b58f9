// Stamps: when a rank arrived at an operation, when the last thing it waited for was there, and when it was done.
//
//   arrival      the operation begins to run on this rank. A blocking call begins at once; an asynchronous one when somebody first
//                tests or waits, for until then the rank does nothing for the others.
//   dependency   the last thing that the rank waited for has been seen; equal to `arrival` where it never waited
//   exit         its result is there
//
// Each rank keeps those of its latest kRecords operations in a ring in shared memory, which only it writes. `name` says whose
// stamps a record holds (epoch and kind). It is stored first as 0 and last as what it is, and everything else between, each a release
// store: a reader that sees anything of a later operation also sees that the name has changed. So a record that is overwritten
// while it is read is recognised, and never taken for what it was. Nobody waits for readers: who comes too late has lost the record.
//
// Times are ticks of the processor's counter (core/clock.h), which the processors of a host share.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/sync.h"
#include "runtime/statistics/kind.h"

namespace tutti::statistics {

struct Stamps {
  uint64_t epoch = 0;
  Kind kind = 0;
  uint64_t arrival = 0;
  uint64_t dependency = 0;
  uint64_t exit = 0;
};

/// Half a cache line.
struct alignas(32) StampRecord {
  std::atomic<uint64_t> name;  // epoch (upper 56 bits) and kind; 0: nothing yet, or changing
  std::atomic<uint64_t> arrival;
  std::atomic<uint64_t> dependency;
  std::atomic<uint64_t> exit;
};
static_assert(sizeof(StampRecord) == 32);

/// What came of looking for the stamps of an epoch.
enum class StampState : uint8_t {
  ready,
  not_yet,      // the rank is not done with that operation, or just writes its stamps
  overwritten,  // it has gone on, round the whole ring
};

/// A view of kRecords records.
class StampRing {
 public:
  static constexpr size_t kRecords = 256;
  static constexpr int kKindBits = 8;

  StampRing() = default;
  explicit StampRing(StampRecord* records) : records_(records) {}

  /// Only by the rank that owns the ring, with growing epochs.
  void write(const Stamps& stamps) {
    StampRecord& record = records_[stamps.epoch % kRecords];
    record.name.store(0, std::memory_order_relaxed);
    record.arrival.store(stamps.arrival, std::memory_order_release);
    record.dependency.store(stamps.dependency, std::memory_order_release);
    record.exit.store(stamps.exit, std::memory_order_release);
    record.name.store(name_of(stamps.epoch, stamps.kind), std::memory_order_release);
  }

  StampState read(uint64_t epoch, Stamps& stamps) const {
    const StampRecord& record = records_[epoch % kRecords];
    const uint64_t name = record.name.load(std::memory_order_acquire);
    if (name == 0) return StampState::not_yet;
    if (const int64_t ahead = epochs_ahead(name, epoch); ahead != 0)
      return ahead < 0 ? StampState::not_yet : StampState::overwritten;
    stamps.epoch = epoch;
    stamps.kind = static_cast<Kind>(name);
    stamps.arrival = record.arrival.load(std::memory_order_acquire);
    stamps.dependency = record.dependency.load(std::memory_order_acquire);
    stamps.exit = record.exit.load(std::memory_order_acquire);
    return record.name.load(std::memory_order_relaxed) == name ? StampState::ready : StampState::overwritten;
  }

  /// Asks for the records of [first, end) without waiting for them.
  void fetch(uint64_t first, uint64_t end) const {
    constexpr uint64_t kRecordsPerLine = kCacheLine / sizeof(StampRecord);
    for (uint64_t epoch = first; epoch < end; epoch += kRecordsPerLine)
      __builtin_prefetch(&records_[epoch % kRecords]);
  }

 private:
  static uint64_t name_of(uint64_t epoch, Kind kind) { return epoch << kKindBits | kind; }

  /// How many operations after `epoch` the one is that `name` tells of, though both have lost their upper bits.
  static int64_t epochs_ahead(uint64_t name, uint64_t epoch) {
    const uint64_t there = name & ~uint64_t{0xff};
    return static_cast<int64_t>(there - (epoch << kKindBits)) >> kKindBits;
  }

  StampRecord* records_ = nullptr;
};

}  // namespace tutti::statistics
