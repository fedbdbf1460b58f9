#include "runtime/statistics/recorder.h"

#include <algorithm>
#include <utility>

namespace tutti {

using statistics::ClassSlot;
using statistics::Kind;
using statistics::kOtherKinds;
using statistics::LateLine;
using statistics::NodePart;
using statistics::StampRing;
using statistics::Stamps;
using statistics::StampState;
using statistics::Turns;

namespace {

/// Operations after the end of a block before it is looked at: by then all ranks have left it, as a rule.
constexpr uint64_t kSlack = 8;
/// How old a block may grow before it is derived by a rank that never waits.
constexpr uint64_t kMostPutOff = StampRing::kRecords / 2;
constexpr int kFewestReads = 8;

}  // namespace

StatisticsRecorder::StatisticsRecorder(std::vector<NodePart> parts, int place, uint64_t first_epoch,
                                       bool exports)
    : parts_(std::move(parts)),
      own_(parts_[static_cast<size_t>(place)]),
      turns_(place, static_cast<int>(parts_.size())),
      place_(place),
      exports_(exports),
      // With many ranks a block has many records, and still must be read before the ring has gone round.
      reads_(std::max(kFewestReads, static_cast<int>(parts_.size()) / 4)),
      ns_per_tick_(ticks_to_ns(uint64_t{1} << kFractionBits)),
      finished_(first_epoch - 1),
      position_(turns_.first_from(first_epoch)),
      due_(Turns::end_of_block(position_) + kSlack),
      urgent_(position_ + kMostPutOff) {
  slots_.fill(kNoSlot);
  // A rank alone has no skew, unless there are others elsewhere.
  if (parts_.size() == 1 && !exports_) due_ = urgent_ = UINT64_MAX;
  publish(own_.header->derived, position_);
}

/// Once per kind.
uint8_t StatisticsRecorder::give_slot(Kind kind) {
  size_t index = 0;
  while (index + 1 < own_.slot_count && own_.slots[index].kind.load(std::memory_order_relaxed) != 0) ++index;
  ClassSlot& slot = own_.slots[index];
  slots_[kind] = static_cast<uint8_t>(index);
  if (slot.kind.load(std::memory_order_relaxed) != 0) return slots_[kind];
  slot.latency.clear();
  slot.skew.clear();
  slot.service.clear();
  publish(slot.kind, index + 1 < own_.slot_count ? kind : kOtherKinds);
  return slots_[kind];
}

/// Looks at the next few records; ends sooner where one is not there yet.
void StatisticsRecorder::derive() {
  for (int reads = 0; reads < reads_ && finished_ >= position_; ++reads) {
    Stamps stamps;
    switch (parts_[static_cast<size_t>(next_)].ring.read(position_, stamps)) {
      case StampState::not_yet:
        // Looking again and again would take the line from the rank that is about to write it.
        due_ = finished_ + kSlack;
        urgent_ = std::max(urgent_, due_);
        return;
      case StampState::overwritten:
        own_.header->dropped.add(1);
        go_on();
        break;
      case StampState::ready:
        verdict_.add(next_, stamps);
        if (++next_ == static_cast<int>(parts_.size())) {
          conclude(stamps.kind);
          go_on();
        }
        break;
    }
  }
}

/// In the middle of the rank's own work. The records are in other cores' caches: they are asked for an operation ahead.
void StatisticsRecorder::derive_urgently() {
  constexpr size_t kMostRings = 16;  // so many blocks fit the first-level cache
  if (fetched_) return derive();
  fetched_ = true;
  for (size_t place = 0; place < std::min(parts_.size(), kMostRings); ++place)
    parts_[place].ring.fetch(position_, Turns::end_of_block(position_));
}

void StatisticsRecorder::conclude(Kind kind) {
  if (exports_) own_.exports.write(turns_.number_of(position_), position_, kind, verdict_);
  if (parts_.size() == 1) return;
  ClassSlot& slot = slot_of(kind);
  slot.skew.record(nanoseconds(verdict_.skew()));
  slot.service.record(nanoseconds(verdict_.service()));
  LateLine& line = own_.late[verdict_.culprit()];
  const uint64_t late = nanoseconds(verdict_.late());
  line.times.add(1);
  line.late_ns.add(late);
  line.most_late_ns.raise_to(late);
}

/// To the next epoch that falls to this rank.
void StatisticsRecorder::go_on() {
  verdict_.clear();
  next_ = 0;
  const uint64_t block_end = Turns::end_of_block(position_);
  position_ = turns_.first_from(position_ + 1);
  if (position_ >= block_end) fetched_ = false;
  due_ = Turns::end_of_block(position_) + kSlack;
  urgent_ = position_ + kMostPutOff;
  publish(own_.header->derived, position_);
}

}  // namespace tutti
