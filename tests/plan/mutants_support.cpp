#include "tests/plan/mutants_support.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>

#include "collectives/plan/cursor.h"
#include "collectives/plan/printer.h"

namespace tutti::plan::testing {

namespace {

using Change = std::function<void(Plan&, Step&)>;

// A lane runs as many iterations as its largest lag asks for.
void settle_lags(Plan& plan) {
  for (Lane& lane : plan.lanes) {
    lane.max_lag = 0;
    for (const Block& block : lane.blocks) {
      for (uint32_t i = block.first_step; i < block.end_step; ++i) {
        lane.max_lag = std::max(lane.max_lag, plan.steps[i].lag);
      }
    }
  }
}

bool in_loop(const Plan& plan, uint32_t step) {
  for (const Lane& lane : plan.lanes) {
    for (const Block& block : lane.blocks) {
      if (block.first_step <= step && step < block.end_step) return true;
    }
  }
  return false;
}

bool followed_in_block(const Plan& plan, uint32_t step) {
  for (const Lane& lane : plan.lanes) {
    for (const Block& block : lane.blocks) {
      if (block.first_step <= step && step + 1 < block.end_step) return true;
    }
  }
  return false;
}

class Generator {
 public:
  explicit Generator(const Plan& plan) : original_(plan) {}

  std::vector<Mutant> take() {
    for (uint32_t i = 0; i < original_.steps.size(); ++i) {
      order(i);
      const StepKind kind = original_.steps[i].kind;
      if (kind == StepKind::signal || kind == StepKind::wait) channel(i);
      if (kind == StepKind::flush) peers(i);
      for (uint32_t k = 0; k < original_.steps[i].dsts + original_.steps[i].srcs; ++k) location(i, k);
      operands(i);
    }
    Mutant more{"credits of the plan: one more", 0, true, original_};
    ++more.plan.credits;
    Mutant fewer{"credits of the plan: one less", 0, false, original_};
    --fewer.plan.credits;
    mutants_.push_back(std::move(more));
    mutants_.push_back(std::move(fewer));
    return std::move(mutants_);
  }

 private:
  void add(uint32_t step, const std::string& what, bool weakens, const Change& change) {
    Mutant mutant{fmt::format("step {} `{}`: {}", step, describe(original_, original_.steps[step]), what),
                  step, weakens, original_};
    change(mutant.plan, mutant.plan.steps[step]);
    mutants_.push_back(std::move(mutant));
  }

  void order(uint32_t i) {
    const Step& step = original_.steps[i];
    const bool guards = step.kind == StepKind::signal || step.kind == StepKind::wait ||
                        step.kind == StepKind::claim || step.kind == StepKind::flush ||
                        step.kind == StepKind::barrier;
    add(i, "dropped", guards, [i](Plan& plan, Step&) { drop_step(plan, i); });
    if (followed_in_block(original_, i)) {
      add(i, "exchanged with the next", false,
          [i](Plan& plan, Step&) { std::swap(plan.steps[i], plan.steps[i + 1]); });
    }
    if (!in_loop(original_, i)) return;
    add(i, "lag + 1", step.kind == StepKind::wait || step.kind == StepKind::flush, [](Plan& plan, Step& s) {
      ++s.lag;
      settle_lags(plan);
    });
    if (step.lag == 0) return;
    add(i, "lag - 1", false, [](Plan& plan, Step& s) {
      --s.lag;
      settle_lags(plan);
    });
  }

  void peers(uint32_t i) {
    for (uint16_t peer = 0; peer < original_.ranks; ++peer) {
      if (peer == original_.steps[i].channel.peer) continue;
      add(i, fmt::format("peer {}", peer), true, [peer](Plan&, Step& s) { s.channel.peer = peer; });
    }
  }

  void channel(uint32_t i) {
    const Step& step = original_.steps[i];
    const bool waits = step.kind == StepKind::wait;
    peers(i);
    const int indices = step.channel.kind == ChannelKind::pair ? kPairChannels : kBoardChannels;
    for (int index = 0; index < indices; ++index) {
      if (index == step.channel.index) continue;
      add(i, fmt::format("index {}", index), true,
          [index](Plan&, Step& s) { s.channel.index = static_cast<uint8_t>(index); });
    }
    add(i, "the other kind of channel", true, [](Plan&, Step& s) {
      s.channel.kind = s.channel.kind == ChannelKind::pair ? ChannelKind::board : ChannelKind::pair;
      if (s.channel.kind == ChannelKind::pair) s.channel.index %= kPairChannels;
    });
    add(i, "count + 1", !waits, [](Plan&, Step& s) { ++s.count.base; });
    add(i, "count - 1", waits, [](Plan&, Step& s) { --s.count.base; });
    if (waits) add(i, "credit or not", !step.credit, [](Plan&, Step& s) { s.credit = !s.credit; });
  }

  void location(uint32_t i, uint32_t k) {
    const Location& place = original_.locations[original_.steps[i].first_location + k];
    const auto change = [&](const std::string& what, const std::function<void(Location&)>& edit) {
      add(i, fmt::format("location {}: {}", k, what), false,
          [&](Plan& plan, Step& s) { edit(plan.locations[s.first_location + k]); });
    };
    change("area + 1", [](Location& at) { ++at.area; });
    change("area - 1", [](Location& at) { --at.area; });
    change("index + 1", [](Location& at) { ++at.index.base; });
    change("index - 1", [](Location& at) { --at.index.base; });
    for (uint16_t rank = 0; rank < original_.ranks; ++rank) {
      if (rank != place.rank) change(fmt::format("rank {}", rank), [rank](Location& at) { at.rank = rank; });
    }
    if (place.space == Space::input) change("output", [](Location& at) { at.space = Space::output; });
    if (place.space == Space::output) change("input", [](Location& at) { at.space = Space::input; });
  }

  void operands(uint32_t i) {
    const Step& step = original_.steps[i];
    if (step.srcs == 0) return;
    add(i, "extent + 1", false, [](Plan&, Step& s) { ++s.extent.base; });
    add(i, "extent - 1", false, [](Plan&, Step& s) { --s.extent.base; });
    if (step.kind != StepKind::reduce && step.kind != StepKind::reduce_packets) return;
    add(i, "final flipped", false, [](Plan&, Step& s) { s.final = !s.final; });
    for (uint32_t k = 0; k + 1 < step.srcs; ++k) {
      add(i, fmt::format("operands {} and {} exchanged", k, k + 1), false, [k](Plan& plan, Step& s) {
        std::swap(plan.locations[s.first_location + s.dsts + k],
                  plan.locations[s.first_location + s.dsts + k + 1]);
      });
      add(i, fmt::format("operand {} twice", k), false, [k](Plan& plan, Step& s) {
        plan.locations[s.first_location + s.dsts + k + 1] = plan.locations[s.first_location + s.dsts + k];
      });
    }
  }

  const Plan& original_;
  std::vector<Mutant> mutants_;
};

enum Entry : int64_t { kData, kControl };

bool is_packets(StepKind kind) {
  return kind == StepKind::put_packets || kind == StepKind::copy_packets || kind == StepKind::reduce_packets;
}

bool is_user(const Location& place) {
  return place.space == Space::input || place.space == Space::output;
}

// The area of a user buffer and the index of packets mean nothing.
void add_place(const Location& place, const Cursor& at, const Binding& binding, std::vector<int64_t>& entry) {
  const int64_t index = place.index.at(at.round(), at.slice());
  const bool counts = is_user(place) || (place.space == Space::slots && index < 0);
  entry.insert(entry.end(),
               {static_cast<int64_t>(place.space), place.rank, is_user(place) ? 0 : place.area,
                counts ? index : 0, static_cast<int64_t>(binding.offset(place, at.round(), at.slice()))});
}

// Packets of a message of no bytes: only which lines are written and which are awaited, in no order.
void add_empty_packets(const Plan& plan, const Step& step, std::vector<int64_t>& entry) {
  std::set<std::vector<int64_t>> lines;
  for (uint32_t k = 0; k < uint32_t{step.dsts} + step.srcs; ++k) {
    const Location& place = plan.locations[step.first_location + k];
    if (place.space == Space::packets) lines.insert({k < step.dsts, place.rank, place.area});
  }
  for (const auto& line : lines) entry.insert(entry.end(), line.begin(), line.end());
}

// Where in its peer's trace the raise stands that a wait awaits; -1 where the entry is no wait or the raise is not there. Raises of
// one counter are those of one lane.
int64_t raise_position(const std::vector<int64_t>& wait, int rank, const std::vector<Trace>& team) {
  if (wait[2] != static_cast<int64_t>(StepKind::wait)) return -1;
  const Trace& peer = team[static_cast<size_t>(wait[5])];
  const int64_t towards = wait[3] == static_cast<int64_t>(ChannelKind::pair) ? rank : wait[5];
  for (size_t i = 0; i < peer.size(); ++i) {
    const auto& entry = peer[i];
    if (entry[2] == static_cast<int64_t>(StepKind::signal) && entry[3] == wait[3] && entry[4] == wait[4] &&
        entry[5] == towards && entry[6] == wait[6]) {
      return static_cast<int64_t>(i);
    }
  }
  return -1;
}

}  // namespace

void drop_step(Plan& plan, size_t step) {
  plan.steps.erase(plan.steps.begin() + static_cast<std::ptrdiff_t>(step));
  const auto shift = [step](uint32_t& at) {
    if (at > step) --at;
  };
  for (Lane& lane : plan.lanes) {
    shift(lane.prologue_first);
    shift(lane.prologue_end);
    for (Block& block : lane.blocks) {
      shift(block.first_step);
      shift(block.end_step);
    }
  }
}

std::vector<Mutant> mutants_of(const Plan& plan) {
  return Generator(plan).take();
}

Trace trace_of(const Plan& plan, const Binding& binding) {
  Trace trace;
  for (size_t lane = 0; lane < plan.lanes.size(); ++lane) {
    for (Cursor at(plan, plan.lanes[lane], binding.slices); !at.done(); at.advance()) {
      const Step& step = at.step();
      std::vector<int64_t> entry{kControl, static_cast<int64_t>(lane), static_cast<int64_t>(step.kind)};
      if (step.kind == StepKind::signal || step.kind == StepKind::wait) {
        int64_t count = step.count.at(at.round(), at.slice());
        if (step.credit) count -= plan.credits;
        if (step.credit && count < 0) continue;
        entry.insert(entry.end(),
                     {static_cast<int64_t>(step.channel.kind), step.channel.index, step.channel.peer, count});
      } else if (step.kind == StepKind::flush) {
        entry.push_back(step.channel.peer);
      } else if (is_packets(step.kind) && binding.count == 0) {
        add_empty_packets(plan, step, entry);
      } else if (step.srcs != 0) {
        const int64_t chunk = step.extent.at(at.round(), at.slice());
        const uint64_t elements = is_packets(step.kind) ? binding.count : binding.length(chunk, at.slice());
        if (elements == 0) continue;
        entry[0] = kData;
        entry.insert(entry.end(), {static_cast<int64_t>(elements), step.final, step.dsts, step.srcs});
        for (uint32_t k = 0; k < uint32_t{step.dsts} + step.srcs; ++k) {
          add_place(plan.locations[step.first_location + k], at, binding, entry);
        }
      }
      trace.push_back(std::move(entry));
    }
  }
  return trace;
}

bool only_later_waits(const Trace& before, const Trace& after, int rank, const std::vector<Trace>& team) {
  if (before.size() != after.size()) return false;
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i] == after[i]) continue;
    const int64_t was = raise_position(before[i], rank, team);
    const int64_t is = raise_position(after[i], rank, team);
    if (was < 0 || is < was || before[i][5] != after[i][5]) return false;
    const Trace& peer = team[static_cast<size_t>(before[i][5])];
    if (peer[static_cast<size_t>(was)][1] != peer[static_cast<size_t>(is)][1]) return false;  // another lane
  }
  return true;
}

Trace data_accesses(const Trace& trace) {
  Trace data;
  std::copy_if(trace.begin(), trace.end(), std::back_inserter(data),
               [](const std::vector<int64_t>& entry) { return entry[0] == kData; });
  std::sort(data.begin(), data.end());
  return data;
}

}  // namespace tutti::plan::testing
