#include "runtime/statistics/summary.h"

#include <algorithm>
#include <map>
#include <memory>

#include "core/clock.h"
#include "runtime/statistics/turns.h"
#include "runtime/statistics/verdict.h"

namespace tutti::statistics {

namespace {

/// By kind; a histogram is large, hence not by value.
using Kinds = std::map<Kind, std::unique_ptr<KindSummary>>;

KindSummary& kind_in(Kinds& kinds, Kind kind) {
  std::unique_ptr<KindSummary>& found = kinds[kind];
  if (!found) {
    found = std::make_unique<KindSummary>();
    found->kind = kind;
  }
  return *found;
}

/// What one rank has recorded and derived.
struct Share {
  Kinds kinds;
  std::vector<RankSummary> late;  // by place
  uint64_t derived = 0;           // up to here
  uint64_t dropped = 0;
};

/// Whose turns ended when, and who was late in them.
void read_lines(const NodePart& part, Share& share) {
  for (size_t place = 0; place < share.late.size(); ++place) {
    const LateLine& line = part.late[place];
    share.late[place].times_last = line.times.get();
    share.late[place].late_ns = line.late_ns.get();
    share.late[place].most_late_ns = line.most_late_ns.get();
  }
  share.dropped = part.header->dropped.get();
  share.derived = part.header->derived.load(std::memory_order_acquire);
}

/// Read again where the rank has derived something meanwhile. These are a few lines, read faster than a rank derives; should it be faster for
/// all that, the newest epochs are missing from the earlier lines, but none is there twice.
void settle_lines(const NodePart& part, Share& share) {
  constexpr int kTries = 16;
  uint64_t before = part.header->derived.load(std::memory_order_acquire);
  for (int tries = 0; tries < kTries; ++tries) {
    read_lines(part, share);
    if (share.derived == before) return;
    before = share.derived;
  }
}

/// The histograms first: reading them takes so long that a busy rank derives more meanwhile. They lack that, and no epoch that
/// somebody finds pending after `derived` is in them already (but for the one that is being added at this moment).
Share read_share(const NodePart& part, size_t ranks) {
  Share share;
  share.late.resize(ranks);
  for (size_t i = 0; i < part.slot_count; ++i) {
    const ClassSlot& slot = part.slots[i];
    const auto kind = static_cast<Kind>(slot.kind.load(std::memory_order_acquire));
    if (kind == 0) continue;
    KindSummary& found = kind_in(share.kinds, kind);
    found.waited_ns += slot.waited_ns.get();
    found.latency.merge(slot.latency);
    found.skew.merge(slot.skew);
    found.service.merge(slot.service);
  }
  settle_lines(part, share);
  return share;
}

class Gatherer {
 public:
  Gatherer(const std::vector<NodePart>& parts, int place) : parts_(parts) {
    summary_.place = place;
    summary_.ranks.resize(parts.size());
  }

  void add(size_t place) {
    const Share share = read_share(parts_[place], parts_.size());
    const bool own = static_cast<int>(place) == summary_.place;
    summary_.dropped += share.dropped;
    for (size_t p = 0; p < parts_.size(); ++p) {
      RankSummary& rank = summary_.ranks[p];
      rank.times_last += share.late[p].times_last;
      rank.late_ns += share.late[p].late_ns;
      rank.most_late_ns = std::max(rank.most_late_ns, share.late[p].most_late_ns);
    }
    for (const auto& [kind, from] : share.kinds) {
      KindSummary& to = kind_in(kinds_, kind);
      if (own) to.latency.merge(from->latency);
      if (own) to.waited_ns += from->waited_ns;
      to.latency_of_node.merge(from->latency);
      summary_.ranks[place].operations += from->latency.count();
      to.skew.merge(from->skew);
      to.service.merge(from->service);
    }
    if (parts_.size() > 1)
      add_pending(Turns(static_cast<int>(place), static_cast<int>(parts_.size())), share.derived);
  }

  Summary finish(const std::vector<int>& rank_of) {
    for (size_t place = 0; place < parts_.size(); ++place) {
      summary_.ranks[place].rank = rank_of[place];
      summary_.derived += summary_.ranks[place].times_last;
    }
    for (auto& [kind, figures] : kinds_) summary_.kinds.push_back(*figures);
    const uint64_t known = summary_.derived + summary_.dropped;
    if (parts_.size() > 1 && summary_.own().operations > known)
      summary_.pending = summary_.own().operations - known;
    return std::move(summary_);
  }

 private:
  /// What falls to a rank that has not come to it, from `epoch` on, and is there all the same.
  void add_pending(const Turns& turns, uint64_t epoch) {
    for (;; epoch = turns.first_from(epoch + 1)) {
      Verdict verdict;
      Stamps stamps;
      const StampState state = look_at(epoch, verdict, stamps);
      if (state == StampState::overwritten) ++summary_.dropped;
      if (state == StampState::ready) add(verdict, stamps.kind);
      if (state == StampState::not_yet) return;
    }
  }

  StampState look_at(uint64_t epoch, Verdict& verdict, Stamps& stamps) const {
    StampState all = StampState::ready;
    for (size_t place = 0; place < parts_.size(); ++place) {
      const StampState state = parts_[place].ring.read(epoch, stamps);
      // A rank that has not come so far decides: the others' stamps may still be lost, or not.
      if (state == StampState::not_yet) return state;
      if (state == StampState::overwritten) all = state;
      verdict.add(static_cast<int>(place), stamps);
    }
    return all;
  }

  void add(const Verdict& verdict, Kind kind) {
    const bool had_no_slot = kinds_.count(kind) == 0 && kinds_.count(kOtherKinds) != 0;
    KindSummary& to = kind_in(kinds_, had_no_slot ? kOtherKinds : kind);
    to.skew.record(ticks_to_ns(verdict.skew()));
    to.service.record(ticks_to_ns(verdict.service()));
    RankSummary& culprit = summary_.ranks[static_cast<size_t>(verdict.culprit())];
    const uint64_t late = ticks_to_ns(verdict.late());
    ++culprit.times_last;
    culprit.late_ns += late;
    culprit.most_late_ns = std::max(culprit.most_late_ns, late);
  }

  const std::vector<NodePart>& parts_;
  Kinds kinds_;
  Summary summary_;
};

}  // namespace

Summary summarize(const std::vector<NodePart>& parts, int place, const std::vector<int>& rank_of) {
  Gatherer gatherer(parts, place);
  // This rank first: the kinds of its latest operations are known then.
  gatherer.add(static_cast<size_t>(place));
  for (size_t p = 0; p < parts.size(); ++p) {
    if (static_cast<int>(p) != place) gatherer.add(p);
  }
  return gatherer.finish(rank_of);
}

}  // namespace tutti::statistics
