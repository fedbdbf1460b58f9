// The verifier's words: every message names rank, lane, operation, step, bytes and the other party.
#include <fmt/format.h>

#include "collectives/plan/builder.h"
#include "collectives/plan/printer.h"
#include "collectives/plan/verifier_run.h"

namespace tutti::plan {

std::string_view name_of(Fault fault) {
  constexpr std::string_view kNames[] = {"shape", "location", "counter", "deadlock",
                                         "race",  "data",     "ordering"};
  return kNames[static_cast<size_t>(fault)];
}

bool Verdict::has(Fault fault) const {
  for (const Violation& violation : violations) {
    if (violation.fault == fault) return true;
  }
  return false;
}

std::string Verdict::text() const {
  std::string text;
  for (const Violation& violation : violations) {
    text += fmt::format("{}: {}\n", name_of(violation.fault), violation.text);
  }
  return text;
}

namespace {
std::string_view name_of(Space space) {
  constexpr std::string_view kNames[] = {"input", "output", "slots", "packets"};
  return kNames[static_cast<size_t>(space)];
}
}  // namespace

void Verification::report(Fault fault, std::string text) {
  if (!full()) verdict_.violations.push_back({fault, std::move(text)});
}

void Verification::report(Fault fault, const Turn& turn, const std::string& what) {
  if (!full()) report(fault, fmt::format("{}: {}", describe(turn), what));
}

void Verification::report_race(const Turn& turn, const Range& range, bool writes, const Conflict& with) {
  report(Fault::race, turn,
         fmt::format("{} bytes [{}, {}) of {} of rank {}, not ordered with the {} by {}",
                     writes ? "writes" : "reads", range.begin, range.begin + range.bytes,
                     name_of(range.location->space), range.location->rank, with.write ? "write" : "read",
                     describe(events_[with.event])));
}

std::string Verification::describe(const Event& event) const {
  const Plan& plan = *operations_[event.operation].plans[event.rank];
  std::string text = fmt::format("rank {} lane {}, operation {} ({} {})", event.rank, event.lane,
                                 event.operation, name_of(plan.collective), plan::name_of(plan.algorithm));
  if (event.step == kEntry) return text + ", entry";
  if (event.step == kReturn) return text + ", return";
  return text + fmt::format(", step {} `{}` (round {}, slice {})", event.step,
                            plan::describe(plan, plan.steps[event.step], event.round, event.slice),
                            event.round, event.slice);
}

std::string Verification::describe(const Turn& turn) const {
  return describe(
      Event{turn.run.operation, turn.rank, turn.lane, turn.self.cursor.step_index(), turn.round, turn.slice});
}

std::string Verification::describe_wait(Turn& turn) {
  const Step& step = turn.step;
  switch (step.kind) {
    case StepKind::wait: {
      int64_t count = 0;
      awaited(turn, count);
      const uint64_t value = placing_[turn.run.operation].base + static_cast<uint64_t>(count) + 1;
      return fmt::format(
          "waits for ever for {} {} of rank {}: awaits {}, which is raise {}, but it stays at {}",
          step.channel.kind == ChannelKind::pair ? "pair channel" : "board", step.channel.index,
          step.channel.peer, value, count, counter_of_wait(turn).value);
    }
    case StepKind::claim:
      return describe_claim(turn);
    case StepKind::barrier:
      return fmt::format("waits for ever for the other lanes: {} have arrived", turn.run.arrived);
    default:
      return fmt::format("waits for ever for packet line {}", turn.self.line);
  }
}

std::string Verification::describe_claim(const Turn& turn) const {
  const Placing& placing = placing_[turn.run.operation];
  uint32_t operation = 0;
  for (uint32_t peer = 0; peer < ranks_; ++peer) {
    if (!turn.plan.mapped(static_cast<int>(turn.rank), static_cast<int>(peer))) continue;
    for (const bool slots : {true, false}) {
      const uint64_t required = slots ? placing.slots.required : placing.packets.required;
      if (claimable(peer, required, slots, operation)) continue;
      return fmt::format(
          "waits for ever for rank {} to retire position {} of its {}; it has retired {} operations", peer,
          required, slots ? "slots" : "packets", runs_[peer].retired.size());
    }
  }
  for (const uint16_t target : turn.plan.port_targets) {
    if (granted(target, turn.rank, placing.slots.required)) continue;
    return fmt::format("waits for ever for rank {} to grant position {} of its slots", target,
                       placing.slots.required);
  }
  return "waits for ever in claim";
}

}  // namespace tutti::plan
