#include "runtime/statistics/job.h"

#include <algorithm>
#include <chrono>

#include "runtime/statistics/kind.h"

namespace tutti::statistics {

namespace {

bool exists(Kind kind) {
  if (kind == kOtherKinds) return true;
  return kind != 0 && (kind - 1) / kKindsPerCollective < kCollectives &&
         size_class_of_kind(kind) < kSizeClasses;
}

uint64_t between(uint64_t earlier, uint64_t later) {
  return later > earlier ? later - earlier : 0;
}

uint64_t sum(uint64_t a, uint64_t b) {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

}  // namespace

JobFigures::JobFigures(const std::vector<int>& node_of, uint64_t first_epoch, Selection selection)
    : node_of_(node_of), selection_(selection), slots_(kWindow), ranks_(node_of.size()) {
  const auto nodes = static_cast<size_t>(*std::max_element(node_of.begin(), node_of.end()) + 1);
  ranks_on_.resize(nodes);
  for (const int node : node_of) ++ranks_on_[static_cast<size_t>(node)];
  nodes_.resize(nodes, {.through = first_epoch - 1});
  told_.resize(kWindow * nodes, false);
}

bool JobFigures::is_sound(const StampBatch& batch) const {
  if (batch.node < 0 || static_cast<size_t>(batch.node) >= nodes_.size()) return false;
  return std::all_of(batch.epochs.begin(), batch.epochs.end(), [&](const EpochSummary& e) {
    return e.epoch != 0 && exists(e.kind) && e.culprit >= 0 &&
           static_cast<size_t>(e.culprit) < node_of_.size() &&
           node_of_[static_cast<size_t>(e.culprit)] == batch.node && e.first <= e.before_last &&
           e.before_last <= e.last;
  });
}

void JobFigures::hear(const StampBatch& batch) {
  const std::lock_guard lock(mutex_);
  if (!is_sound(batch)) return;
  for (const EpochSummary& epoch : batch.epochs) add(batch.node, epoch, batch.error_ns);
  JobNode& node = nodes_[static_cast<size_t>(batch.node)];
  if (!batch.epochs.empty()) node.error_ns = batch.error_ns;
  node.lost = std::max(node.lost, batch.lost);
  node.through = std::max(node.through, batch.through);
  changed_.notify_all();
}

bool JobFigures::wait_for(uint64_t epoch, uint64_t limit_ns) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::nanoseconds(limit_ns), [&] {
    return std::all_of(nodes_.begin(), nodes_.end(), [&](const JobNode& n) { return n.through >= epoch; });
  });
}

void JobFigures::add(int node, const EpochSummary& epoch, uint64_t error_ns) {
  const size_t index = epoch.epoch % kWindow;
  Slot& slot = slots_[index];
  const auto told = told_.begin() + static_cast<ptrdiff_t>(index * nodes_.size());
  if (epoch.epoch < slot.epoch) return;  // given up already
  if (epoch.epoch > slot.epoch) {
    if (slot.heard != 0 && slot.heard < static_cast<int>(nodes_.size())) ++incomplete_;
    slot = {.epoch = epoch.epoch};
    std::fill_n(told, nodes_.size(), false);
  }
  if (told[node]) return;
  told[node] = true;
  merge(slot, node, epoch, error_ns);
  if (slot.heard == static_cast<int>(nodes_.size())) conclude(slot);
}

void JobFigures::merge(Slot& slot, int node, const EpochSummary& from, uint64_t error_ns) const {
  EpochSummary& all = slot.all;
  const bool alone = ranks_on_[static_cast<size_t>(node)] == 1;
  const uint64_t before = alone ? 0 : from.before_last;
  if (slot.heard++ == 0) {
    all = from;
    all.before_last = before;
  } else {
    all.first = std::min(all.first, from.first);
    all.last_exit = std::max(all.last_exit, from.last_exit);
    if (from.last > all.last) {
      all.before_last = std::max(all.last, before);
      all.last = from.last;
      all.culprit = from.culprit;
    } else {
      all.before_last = std::max(all.before_last, from.last);
    }
  }
  slot.second_error_ns = std::max(slot.second_error_ns, std::min(slot.error_ns, error_ns));
  slot.error_ns = std::max(slot.error_ns, error_ns);
}

void JobFigures::conclude(const Slot& slot) {
  const EpochSummary& all = slot.all;
  const uint64_t uncertainty = sum(slot.error_ns, slot.second_error_ns);
  std::unique_ptr<JobKind>& kind = kinds_[all.kind];
  if (!kind) {
    kind = std::make_unique<JobKind>();
    kind->kind = all.kind;
  }
  kind->skew.record(between(all.first, all.last));
  kind->service.record(between(all.last, all.last_exit));
  kind->uncertainty.add(uncertainty);
  JobRank& culprit = ranks_[static_cast<size_t>(all.culprit)];
  const uint64_t late = between(all.before_last, all.last);
  ++culprit.times_last;
  culprit.times_certain += late > uncertainty ? 1 : 0;
  culprit.late_ns += late;
  culprit.most_late_ns = std::max(culprit.most_late_ns, late);
  culprit.uncertainty.add(uncertainty);
  ++derived_;
}

JobSummary JobFigures::summary() const {
  const std::lock_guard lock(mutex_);
  JobSummary summary;
  for (const auto& [kind, figures] : kinds_) summary.kinds.push_back(*figures);
  summary.ranks = ranks_;
  summary.nodes = nodes_;
  summary.derived = derived_;
  summary.incomplete = incomplete_;
  summary.one_in = selection_.one_in;
  return summary;
}

}  // namespace tutti::statistics
