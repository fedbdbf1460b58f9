// Packet steps of the verifier. They go line by line, as the kernels do: the output of a line may be written as soon as
// that line of every operand has arrived, so nothing that a later line promises protects it.
#include <fmt/format.h>

#include <algorithm>

#include "collectives/plan/verifier_run.h"
#include "transports/packet.h"

namespace tutti::plan {

bool Verification::move_packets(Turn& turn) {
  const uint64_t lines = packets_for(turn.binding.bytes());
  for (; turn.self.line < lines; ++turn.self.line) {
    if (!move_line(turn, turn.self.line)) return false;
    if (full()) break;
  }
  turn.self.line = 0;
  return true;
}

Line* Verification::line_of(Turn& turn, const Location& location, uint64_t line) {
  const uint64_t offset = location.area * turn.binding.area_bytes + line * sizeof(Packet);
  if (location.rank >= ranks_ || location.area >= turn.plan.packet_areas ||
      offset + sizeof(Packet) > turn.binding.packets_need) {
    report(Fault::location, turn,
           fmt::format("packet area {} of {} on rank {}: outside the scratch", location.area,
                       turn.plan.packet_areas, location.rank));
    return nullptr;
  }
  const uint64_t begin = placing_[turn.run.operation].packets.offset + offset;
  return &packets_[location.rank][begin / sizeof(Packet)];
}

// False: a line of an operand has not arrived yet. All are looked at before the first is read.
bool Verification::move_line(Turn& turn, uint64_t line) {
  const auto srcs = turn.plan.srcs(turn.step);
  for (const Location& from : srcs) {
    if (from.space != Space::packets) continue;
    const Line* packet = line_of(turn, from, line);
    if (packet == nullptr) return true;
    if (packet->operation == kNobody || packet->operation < turn.run.operation) return false;
  }
  const uint32_t event =
      new_event(turn.rank, turn.lane, turn.self.cursor.step_index(), turn.round, turn.slice);
  folded_.clear();
  bool first = true;
  for (const Location& from : srcs) {
    if (!read_operand(turn, from, line, event, first)) return true;
    first = false;
  }
  if (turn.step.kind == StepKind::reduce_packets) {
    for (Value& value : folded_) {
      value.expression =
          turn.step.final ? values_.final(value.expression) : values_.rounded(value.expression);
    }
  }
  write_line(turn, line, event);
  return true;
}

// Reads one operand of a line and folds it to the operands before it. False after a report.
bool Verification::read_operand(Turn& turn, const Location& from, uint64_t line, uint32_t event, bool first) {
  const uint64_t begin = line * kPacketData;
  const uint64_t bytes = std::min<uint64_t>(kPacketData, turn.binding.bytes() - begin);
  const Accessor who = accessor(turn.self, event);
  bool complained = false;
  const auto add = [&](size_t i, const Value& stored) {
    const Value value = take(stored, turn, from, complained);
    if (first) {
      folded_.push_back(value);
      return;
    }
    if (value.index != folded_[i].index && !complained) {
      complained = true;
      report(Fault::data, turn, "folds different bytes together");
    }
    folded_[i].expression = values_.fold(folded_[i].expression, value.expression);
  };
  if (from.space == Space::packets) {
    Line& packet = *line_of(turn, from, line);
    if (packet.operation != turn.run.operation) {
      report(Fault::race, turn,
             fmt::format("packet line {} of rank {} was overwritten by operation {} before it was read", line,
                         from.rank, packet.operation));
      return false;
    }
    join(turn.self.clock, snapshots_.at(packet.released));
    Conflict conflict;
    accesses_.read(packet.shadow, who, conflict);
    const Range range{nullptr, line * sizeof(Packet), sizeof(Packet), &from};
    if (conflict.found) report_race(turn, range, false, conflict);
    for (size_t i = 0; i < bytes / grain_; ++i) add(i, i < packet.values.size() ? packet.values[i] : Value{});
    return true;
  }
  if (bytes == 0) return true;
  Range range;
  if (!resolve(turn, from, turn.binding.bytes(), range)) return false;
  range = {range.cells + begin / grain_, range.begin + begin, bytes, &from};
  read(range, who, turn);
  for (size_t i = 0; i < bytes / grain_; ++i) add(i, range.cells[i].value);
  return true;
}

void Verification::write_line(Turn& turn, uint64_t line, uint32_t event) {
  const Location& to = turn.plan.dsts(turn.step)[0];
  const uint64_t begin = line * kPacketData;
  const uint64_t bytes = std::min<uint64_t>(kPacketData, turn.binding.bytes() - begin);
  const Accessor who = accessor(turn.self, event);
  if (turn.step.kind == StepKind::put_packets) {
    Line* packet = to.space == Space::packets ? line_of(turn, to, line) : nullptr;
    if (packet == nullptr) {
      report(Fault::location, turn, "put_packets writes packets");
      return;
    }
    Conflict conflict;
    accesses_.write(packet->shadow, who, conflict);
    if (conflict.found)
      report_race(turn, {nullptr, line * sizeof(Packet), sizeof(Packet), &to}, true, conflict);
    if (packet->operation != kNobody) snapshots_.give_back(packet->released);
    packet->operation = turn.run.operation;
    packet->values = folded_;
    packet->released = snapshots_.take(turn.self.clock);
    release(turn.self);
    return;
  }
  if (bytes == 0) return;
  Range range;
  if (!resolve(turn, to, turn.binding.bytes(), range)) return;
  range = {range.cells + begin / grain_, range.begin + begin, bytes, &to};
  write(range, who, turn);
  for (size_t i = 0; i < folded_.size(); ++i) range.cells[i].value = folded_[i];
}

}  // namespace tutti::plan
