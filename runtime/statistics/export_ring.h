// What a rank has derived of epochs that fell to it, kept for a while so that the control thread of the node can tell rank 0.
//
// One writer, the rank that derives; a plain store on the way of no operation (recorder.h). As in the ring of stamps, a record's name is
// cleared before it changes and stored last, and nobody waits for who reads: records that were overwritten are lost, and counted.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "runtime/statistics/kind.h"
#include "runtime/statistics/turns.h"
#include "runtime/statistics/verdict.h"

namespace tutti::statistics {

/// Times are ticks.
struct alignas(16) ExportRecord {
  std::atomic<uint64_t> name;  // epoch and kind; 0: nothing yet, or changing
  std::atomic<uint64_t> first_arrival;
  std::atomic<uint64_t> before_last;
  std::atomic<uint64_t> last_arrival;
  std::atomic<uint64_t> last_exit;
  std::atomic<uint64_t> culprit;  // place
};
static_assert(sizeof(ExportRecord) == 48);

/// The same, read.
struct NodeVerdict {
  Kind kind = 0;
  uint64_t first_arrival = 0;
  uint64_t before_last = 0;
  uint64_t last_arrival = 0;
  uint64_t last_exit = 0;
  uint64_t culprit = 0;

  static NodeVerdict of(const Verdict& verdict, Kind kind) {
    return {kind,
            verdict.first_arrival(),
            verdict.before_last(),
            verdict.last_arrival(),
            verdict.last_exit(),
            static_cast<uint64_t>(verdict.culprit())};
  }
};

/// A view of the records of one rank. Epochs are found by their number among those that fall to it (turns.h).
class ExportRing {
 public:
  static constexpr size_t kRecordsOfNode = 4096;  // all ranks together, or so
  static constexpr size_t kFewest = 4 * Turns::kBlock;

  static constexpr size_t records_for(int ranks) {
    const size_t share = kRecordsOfNode / static_cast<size_t>(std::max(ranks, 1));
    return std::max(share / Turns::kBlock * Turns::kBlock, kFewest);
  }

  ExportRing() = default;
  ExportRing(ExportRecord* records, size_t count) : records_(records), count_(count) {}

  size_t count() const { return count_; }

  void write(uint64_t number, uint64_t epoch, Kind kind, const Verdict& verdict) {
    ExportRecord& record = records_[number % count_];
    record.name.store(0, std::memory_order_relaxed);
    record.first_arrival.store(verdict.first_arrival(), std::memory_order_release);
    record.before_last.store(verdict.before_last(), std::memory_order_release);
    record.last_arrival.store(verdict.last_arrival(), std::memory_order_release);
    record.last_exit.store(verdict.last_exit(), std::memory_order_release);
    record.culprit.store(static_cast<uint64_t>(verdict.culprit()), std::memory_order_release);
    record.name.store(name_of(epoch, kind), std::memory_order_release);
  }

  /// False where the record is of another epoch.
  bool read(uint64_t number, uint64_t epoch, NodeVerdict& verdict) const {
    const ExportRecord& record = records_[number % count_];
    const uint64_t name = record.name.load(std::memory_order_acquire);
    verdict.kind = static_cast<Kind>(name);
    if (verdict.kind == 0 || name != name_of(epoch, verdict.kind)) return false;
    verdict.first_arrival = record.first_arrival.load(std::memory_order_acquire);
    verdict.before_last = record.before_last.load(std::memory_order_acquire);
    verdict.last_arrival = record.last_arrival.load(std::memory_order_acquire);
    verdict.last_exit = record.last_exit.load(std::memory_order_acquire);
    verdict.culprit = record.culprit.load(std::memory_order_acquire);
    return record.name.load(std::memory_order_relaxed) == name;
  }

 private:
  static uint64_t name_of(uint64_t epoch, Kind kind) { return epoch << 8 | kind; }

  ExportRecord* records_ = nullptr;
  size_t count_ = 1;
};

}  // namespace tutti::statistics
