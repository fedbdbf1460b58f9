// Scatter + all-gather broadcast (M. Barnett, L. Shuler, R. van de Geijn, S. Gupta, D. Payne, J. Watts, "Interprocessor collective
// communication library", 1994): for long messages.
//
// The rail is cut into as many parts as there are places, which count from the root.
//     scatter (lag 0)      down a binomial tree: place v gets the parts of its subtree, [v, v + subtree(v)), and hands on its children's
//     all-gather (lag 1)   along a ring: in round h place v passes part v - h + 1 on to place v + 1, which lacks it. What the next place
//                          has from the scatter is not sent again, and nothing is sent to the root, so every place receives each
//                          part once.
//     release (lag 2)      when the node is done with a slice, its sources may send another one
// Parts lie in kept areas, by part. Data flow to higher places only: the scatter on pair channel kScattered, once per slice; the ring on
// kPassed, once per part, awaited only where a part is passed on, and at the end. A place returns credit to its parent. The ring needs
// none: parents serve the largest subtree first, so whatever place v has of a slice was scattered after place v + 1 had returned its
// credit.
//
// Cost: log2 n + n trips for the first slice, pipelined; every place receives S, in pieces from two neighbours; the root puts 2 (n - 1) / n S.
#include <bit>
#include <vector>

#include "collectives/algorithms/algorithms.h"
#include "collectives/algorithms/spread.h"

namespace tutti::algorithms {

namespace {

enum Way : uint8_t { kScattered, kPassed };
enum WayBack : uint8_t { kCredit };

SpreadNeeds needs(int members) {
  return {.parts = members, .uses_per_slice = static_cast<uint32_t>(members)};
}

class Gathering {
 public:
  explicit Gathering(const Holder& holder)
      : h_(holder), b_(holder.builder()), n_(holder.count()), v_(holder.place()) {
    for (int bit = lowest_bit(v_) / 2; bit > 0; bit /= 2) {
      if (v_ + bit < n_) children_.push_back(v_ + bit);
    }
  }

  void release() const {
    std::vector<int> receivers;
    receivers.reserve(children_.size() + 1);
    for (const int child : children_) receivers.push_back(h_.at(child));
    if (has_next() && (children_.empty() || children_.back() != v_ + 1)) receivers.push_back(h_.at(v_ + 1));
    h_.release(receivers, v_ == 0 ? -1 : h_.at(v_ - lowest_bit(v_)));
  }

  void scatter() const {
    if (v_ == 0) {
      h_.begin();
    } else {
      b_.wait_pair(h_.at(v_ - lowest_bit(v_)), kScattered);
    }
    for (const int child : children_) {
      const int rank = h_.at(child);
      b_.wait_pair_credit(rank, kCredit);
      for (int part = child; part < child + subtree(child); ++part) put(part, rank);
      b_.signal_pair(rank, kScattered);
    }
  }

  void pass_around() const {
    const int lacked = n_ - subtree(v_);
    int received = 0;
    int sent = 0;
    for (int round = 0; round < n_; ++round) {
      const int part = (v_ - round + n_) % n_;  // held, or passed on by the place before in its last round
      const bool passes = has_next() && !holds(v_ + 1, part);
      if (!holds(v_, part)) {
        const int count = received++;
        if (passes || received == lacked) b_.wait_pair(h_.at(v_ - 1), kPassed, {count, 0, lacked, 0});
      }
      if (!passes) continue;
      const int next = h_.at(v_ + 1);
      put(part, next);
      b_.signal_pair(next, kPassed, {sent++, 0, n_ - subtree(v_ + 1), 0});
    }
    h_.publish();
  }

 private:
  int lowest_bit(int v) const {
    return v == 0 ? static_cast<int>(std::bit_ceil(static_cast<unsigned>(n_))) : v & -v;
  }
  /// How many places hang from v, itself included.
  int subtree(int v) const { return std::min(lowest_bit(v), n_ - v); }
  bool holds(int v, int part) const { return part >= v && part < v + subtree(v); }
  bool has_next() const { return v_ + 1 < n_; }
  void put(int part, int rank) const { b_.put(h_.chunk(part), h_.source(part), {h_.kept(part, rank)}); }

  const Holder& h_;
  plan::Builder& b_;
  int n_;
  int v_;
  std::vector<int> children_;  // the largest subtree first
};

void emit(const Holder& h) {
  plan::Builder& b = h.builder();
  const Gathering gathering(h);
  b.lag(1 + h.behind());
  gathering.release();
  b.lag(1);
  gathering.pass_around();
  b.lag(0);
  gathering.scatter();
}

}  // namespace

const Spread kScatterAllGather{needs, emit};

Plan scatter_all_gather(const Shape& shape) {
  return flat(Algorithm::scatter_all_gather, shape, kScatterAllGather);
}

}  // namespace tutti::algorithms
