#include "runtime/statistics/exporter.h"

#include <utility>

#include "core/clock.h"

namespace tutti::statistics {

StampExporter::StampExporter(std::vector<NodePart> parts, int node, std::vector<int> rank_of,
                             uint64_t first_epoch, Selection selection)
    : parts_(std::move(parts)), node_(node), rank_of_(std::move(rank_of)), selection_(selection) {
  for (size_t place = 0; place < parts_.size(); ++place)
    next_.push_back(turns(place).first_from(first_epoch));
}

uint64_t StampExporter::collect(const ClockMap& to_root, std::vector<StampBatch>& batches) {
  to_root_ = to_root;
  batches.push_back({.node = node_});
  uint64_t most = 0;
  for (size_t place = 0; place < parts_.size(); ++place) {
    most = std::max(most, collect_derived(place, batches));
    collect_pending(place, batches);
  }
  const uint64_t through = *std::min_element(next_.begin(), next_.end()) - 1;
  for (StampBatch& batch : batches) batch.lost = lost_;
  batches.back().through = through;
  // A quarter of a ring at a time leaves room for a pause that is late.
  const uint64_t quarter = parts_.front().exports.count() / 4;
  const uint64_t wanted = most == 0 ? kLongestPauseNs : pause_ns_ * quarter / most;
  pause_ns_ = std::clamp(std::min(wanted, 2 * pause_ns_), kShortestPauseNs, kLongestPauseNs);
  return pause_ns_;
}

/// How many epochs it has gone on.
uint64_t StampExporter::collect_derived(size_t place, std::vector<StampBatch>& batches) {
  const NodePart& part = parts_[place];
  const Turns its = turns(place);
  const uint64_t end = part.header->derived.load(std::memory_order_acquire);
  if (end <= next_[place]) return 0;
  const uint64_t begin_number = its.number_of(next_[place]);
  const uint64_t end_number = its.number_of(end);
  const uint64_t kept = part.exports.count() - Turns::kBlock;  // the others may change while they are read
  if (end_number - begin_number > kept) skip_to(place, end_number - kept);
  for (uint64_t& epoch = next_[place]; epoch < end; epoch = its.first_from(epoch + 1)) {
    if (!selection_.has(epoch)) continue;
    NodeVerdict verdict;
    if (part.exports.read(its.number_of(epoch), epoch, verdict)) {
      add(epoch, verdict, batches);
    } else {
      ++lost_;
    }
  }
  return end_number - begin_number;
}

void StampExporter::skip_to(size_t place, uint64_t number) {
  const Turns its = turns(place);
  for (uint64_t& epoch = next_[place]; its.number_of(epoch) < number;) {
    // A run at a time would do; this is a few ns each, and only where the rings have gone round.
    lost_ += selection_.has(epoch) ? 1 : 0;
    epoch = its.first_from(epoch + 1);
  }
}

/// What all ranks of the node have left, and `place` has not come to derive.
void StampExporter::collect_pending(size_t place, std::vector<StampBatch>& batches) {
  const Turns its = turns(place);
  for (uint64_t& epoch = next_[place];; epoch = its.first_from(epoch + 1)) {
    Verdict verdict;
    Stamps stamps;
    for (size_t p = 0; p < parts_.size(); ++p) {
      // What has been overwritten was derived meanwhile, or is dropped: the next look will tell.
      if (parts_[p].ring.read(epoch, stamps) != StampState::ready) return;
      verdict.add(static_cast<int>(p), stamps);
    }
    if (selection_.has(epoch)) add(epoch, NodeVerdict::of(verdict, stamps.kind), batches);
  }
}

void StampExporter::add(uint64_t epoch, const NodeVerdict& verdict, std::vector<StampBatch>& batches) {
  if (batches.back().epochs.size() == StampBatch::kMost) batches.push_back({.node = node_});
  StampBatch& batch = batches.back();
  const uint64_t first = ticks_to_ns(verdict.first_arrival);
  const uint64_t exit = ticks_to_ns(verdict.last_exit);
  batch.error_ns = std::max({batch.error_ns, to_root_.error_at(first), to_root_.error_at(exit)});
  batch.epochs.push_back({.epoch = epoch,
                          .kind = verdict.kind,
                          .culprit = rank_of_[verdict.culprit % rank_of_.size()],
                          .first = to_root_.map(first),
                          .before_last = to_root_.map(ticks_to_ns(verdict.before_last)),
                          .last = to_root_.map(ticks_to_ns(verdict.last_arrival)),
                          .last_exit = to_root_.map(exit)});
}

}  // namespace tutti::statistics
