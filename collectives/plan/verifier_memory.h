// Shadow memory of the verifier: who last wrote and read each cell, and what it holds.
//
// A cell is as wide as the smallest element of the sequence, so every access covers whole cells and the check is exact to
// the byte. Packet lines have one access record for the line, because its flag covers all of it.
#pragma once

#include <cstdint>
#include <vector>

#include "collectives/plan/verifier_clocks.h"
#include "collectives/plan/verifier_values.h"

namespace tutti::plan {

inline constexpr uint32_t kNobody = 0xffffffff;

/// Who makes an access: a component with its clock, and the event to name in messages.
struct Accessor {
  uint32_t ordered = 0;  // the component whose accesses come one after the other: its own, or kNobody
  uint32_t component = 0;
  Tick tick = 0;
  const Tick* clock = nullptr;
  uint32_t event = 0;

  bool sees(uint32_t other, Tick since) const { return other == ordered || clock[other] >= since; }
};

/// Last write and the reads since then of one piece of memory.
struct Shadow {
  uint32_t writer = kNobody;
  Tick written = 0;
  uint32_t write_event = 0;
  uint32_t reads = kNobody;  // list in Accesses
};

/// The first access found that is not ordered with a new one.
struct Conflict {
  bool found = false;
  bool write = false;  // the earlier access was a write
  uint32_t event = 0;
};

/// Records accesses and finds conflicts. Holds the lists of reads.
class Accesses {
 public:
  void read(Shadow& shadow, const Accessor& who, Conflict& conflict);
  void write(Shadow& shadow, const Accessor& who, Conflict& conflict);

 private:
  struct Read {
    uint32_t reader;
    Tick tick;
    uint32_t event;
    uint32_t next;
  };
  void forget(uint32_t at) {
    reads_[at].next = free_;
    free_ = at;
  }

  std::vector<Read> reads_;
  uint32_t free_ = kNobody;
};

/// What a cell holds: an expression about one element, stored by one operation.
struct Value {
  Expression expression = kUndefined;
  uint32_t index = 0;      // cell of the user's buffer that the leaves are about
  uint32_t operation = 0;  // that stored it
};

struct Cell {
  Shadow shadow;
  Value value;
};

/// A user buffer during one operation: open from entry to return.
struct Buffer {
  bool open = false;
  std::vector<Cell> cells;
};

/// A packet line: published by one writer for one operation.
struct Line {
  Shadow shadow;
  uint32_t operation = kNobody;
  Snapshots::Id released = 0;
  std::vector<Value> values;
};

}  // namespace tutti::plan
