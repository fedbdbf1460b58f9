// Walks one lane of a plan: the only place that knows the order of loops. Every executor uses it, so that
// host, simulator and verifier cannot disagree about what a plan means.
#pragma once

#include <cstdint>

#include "collectives/plan/plan.h"

namespace tutti::plan {

/// One lane as plain pointers: of a plan, or of a program on a GPU (plan/program.h).
struct LaneView {
  const Step* steps = nullptr;  // of the whole plan
  const Block* blocks = nullptr;
  uint32_t block_count = 0;
  uint32_t prologue_first = 0;
  uint32_t prologue_end = 0;
  uint32_t max_lag = 0;
};

inline LaneView view(const Plan& plan, const Lane& lane) {
  return {.steps = plan.steps.data(),
          .blocks = lane.blocks.data(),
          .block_count = static_cast<uint32_t>(lane.blocks.size()),
          .prologue_first = lane.prologue_first,
          .prologue_end = lane.prologue_end,
          .max_lag = lane.max_lag};
}

class Cursor {
 public:
  constexpr Cursor() = default;

  constexpr Cursor(const LaneView& lane, uint32_t slices)
      : steps_(lane.steps),
        blocks_(lane.blocks),
        block_count_(lane.block_count),
        slices_(slices),
        iterations_(slices == 0 ? 0 : slices + lane.max_lag),
        step_(lane.prologue_first),
        end_(lane.prologue_end) {
    settle();
  }
  Cursor(const Plan& plan, const Lane& lane, uint32_t slices) : Cursor(view(plan, lane), slices) {}

  constexpr bool done() const { return done_; }
  constexpr const Step& step() const { return steps_[step_]; }
  constexpr uint32_t step_index() const { return step_; }
  constexpr int64_t round() const { return round_; }
  /// The slice the current step acts on.
  constexpr int64_t slice() const { return slice_; }

  constexpr void advance() {
    ++step_;
    settle();
  }

 private:
  // Moves on from (step_) to the next step that is not skipped, or to the end.
  constexpr void settle() {
    for (;;) {
      if (step_ == end_ && !next_range()) {
        done_ = true;
        return;
      }
      if (in_prologue_) return;
      if (step_ != end_) {
        slice_ = iteration_ - steps_[step_].lag;
        if (slice_ >= 0 && slice_ < slices_) return;
        ++step_;
      }
    }
  }

  // From the end of a range of steps to the beginning of the next: another round, block or iteration.
  constexpr bool next_range() {
    if (in_prologue_) {
      in_prologue_ = false;
      block_ = 0;
      if (block_count_ == 0 || iterations_ == 0) return false;
    } else if (++round_ < blocks_[block_].rounds) {
      step_ = blocks_[block_].first_step;
      return true;
    } else {
      ++block_;
    }
    round_ = 0;
    for (;; ++block_) {
      if (block_ == block_count_) {
        block_ = 0;
        if (++iteration_ >= iterations_) return false;
      }
      if (blocks_[block_].rounds != 0) break;
    }
    step_ = blocks_[block_].first_step;
    end_ = blocks_[block_].end_step;
    return true;
  }

  const Step* steps_ = nullptr;
  const Block* blocks_ = nullptr;
  uint32_t block_count_ = 0;
  int64_t slices_ = 0;
  int64_t iterations_ = 0;
  uint32_t step_ = 0;
  uint32_t end_ = 0;
  uint32_t block_ = 0;
  int64_t round_ = 0;
  int64_t iteration_ = 0;
  int64_t slice_ = 0;
  bool in_prologue_ = true;
  bool done_ = false;
};

}  // namespace tutti::plan
