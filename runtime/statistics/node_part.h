// What one rank shares of its statistics with the ranks of its node: the annex of its window (transports/shm/window.h).
//
//   PartHeader | StampRecord[StampRing::kRecords] | LateLine[ranks] | ClassSlot[slots] | ExportRecord[]
//
// Only the rank itself writes here, with plain stores; all ranks of the node read. Memory that is zero is a part in which nothing has
// happened yet.
//
// Class slots are given out as kinds of operations are first seen, so that a communicator has histograms of the kinds it uses, and the
// memory does not grow with the number of collectives. The last slot is for all kinds that found no other.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/histogram.h"
#include "core/sync.h"
#include "runtime/statistics/export_ring.h"
#include "runtime/statistics/kind.h"
#include "runtime/statistics/stamps.h"

namespace tutti::statistics {

struct alignas(kCacheLine) PartHeader {
  Counter derived;        // this rank has derived all epochs that fall to it and are below this one
  OneWriterCell dropped;  // epochs that fell to this rank and whose stamps were overwritten first
};

/// How often one rank of the node was the last to arrive, in the epochs that the owner of this line derived.
struct alignas(32) LateLine {
  OneWriterCell times;
  OneWriterCell late_ns;
  OneWriterCell most_late_ns;
};
static_assert(sizeof(LateLine) == 32);

/// Of one kind: its own operations' latency, and what it derived.
struct alignas(kCacheLine) ClassSlot {
  Counter kind;             // 0: not given out; published after the histograms are ready to be read
  OneWriterCell waited_ns;  // of the latency: until the last dependency was there
  OneWriterHistogram latency;
  OneWriterHistogram skew;
  OneWriterHistogram service;
};

/// A view of one rank's part.
struct NodePart {
  PartHeader* header = nullptr;
  StampRing ring;
  LateLine* late = nullptr;  // by place
  ClassSlot* slots = nullptr;
  size_t slot_count = 0;
  ExportRing exports;  // what it derived, for other nodes

  /// More than any program uses at a time; fewer where very many ranks share a node.
  static constexpr size_t slots_for(int ranks) { return ranks <= 128 ? 16 : 4; }

  static constexpr size_t bytes(int ranks) {
    return exports_offset(ranks) + ExportRing::records_for(ranks) * sizeof(ExportRecord);
  }

  static NodePart at(std::byte* base, int ranks) {
    return {reinterpret_cast<PartHeader*>(base),
            StampRing(reinterpret_cast<StampRecord*>(base + sizeof(PartHeader))),
            reinterpret_cast<LateLine*>(base + late_offset()),
            reinterpret_cast<ClassSlot*>(base + late_offset() + late_bytes(ranks)),
            slots_for(ranks),
            ExportRing(reinterpret_cast<ExportRecord*>(base + exports_offset(ranks)),
                       ExportRing::records_for(ranks))};
  }

 private:
  static constexpr size_t late_offset() {
    return sizeof(PartHeader) + StampRing::kRecords * sizeof(StampRecord);
  }
  static constexpr size_t exports_offset(int ranks) {
    return late_offset() + late_bytes(ranks) + slots_for(ranks) * sizeof(ClassSlot);
  }
  static constexpr size_t late_bytes(int ranks) {
    return (static_cast<size_t>(ranks) * sizeof(LateLine) + kCacheLine - 1) / kCacheLine * kCacheLine;
  }
};

}  // namespace tutti::statistics
