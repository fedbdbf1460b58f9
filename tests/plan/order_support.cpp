#include "tests/plan/order_support.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "collectives/plan/cursor.h"

namespace tutti::plan::testing {

namespace {

/// One raise: kind and index of the channel, who raises it, for whom (0: board), and which.
using Raise = std::tuple<ChannelKind, int, int, int, int64_t>;

struct Event {
  enum Kind { signal, wait, other } kind = other;
  bool dropped = false;
  Raise raise;
};

/// A lane of a rank, as far as it has come, and how many events of every lane it knows of.
struct Line {
  int rank = 0;
  std::vector<Event> events;
  size_t at = 0;
  std::vector<size_t> knows;
  std::vector<size_t> told;        // by signals to this lane alone
  std::vector<Raise> outstanding;  // of dropped waits, until the next event that is none
};

struct Place {
  size_t line = 0;
  size_t index = 0;
};

std::optional<Event> event_of(const Plan& plan, const Cursor& at) {
  const Step& step = at.step();
  if (step.kind != StepKind::signal && step.kind != StepKind::wait) return Event{};
  const bool signals = step.kind == StepKind::signal;
  const bool board = step.channel.kind == ChannelKind::board;
  const int from = signals ? plan.rank : step.channel.peer;
  const int to = board ? 0 : (signals ? step.channel.peer : plan.rank);
  const int64_t count = step.count.at(at.round(), at.slice()) - (step.credit ? plan.credits : 0);
  if (!signals && count < 0) return std::nullopt;
  return Event{signals ? Event::signal : Event::wait, false,
               Raise{step.channel.kind, step.channel.index, from, to, count}};
}

class Order {
 public:
  Order(const std::vector<Plan>& plans, int rank, const std::vector<uint32_t>& dropped,
        const Binding& binding)
      : plans_(plans) {
    for (const Plan& plan : plans) {
      for (const Lane& lane : plan.lanes) {
        Line line{.rank = plan.rank, .events = {}, .at = 0, .knows = {}, .told = {}, .outstanding = {}};
        for (Cursor at(plan, lane, binding.slices); !at.done(); at.advance()) {
          std::optional<Event> event = event_of(plan, at);
          if (!event) continue;
          event->dropped =
              plan.rank == rank && std::count(dropped.begin(), dropped.end(), at.step_index()) != 0;
          if (event->kind == Event::signal) raises_[event->raise] = {lines_.size(), line.events.size()};
          line.events.push_back(*event);
        }
        lines_.push_back(std::move(line));
      }
    }
    for (Line& line : lines_) {
      line.knows.assign(lines_.size(), 0);
      line.told.assign(lines_.size(), 0);
    }
  }

  bool run() {
    for (bool moved = true; moved && holds_;) {
      moved = false;
      for (size_t k = 0; k < lines_.size(); ++k) {
        while (lines_[k].at < lines_[k].events.size() && step(k)) moved = true;
      }
    }
    for (size_t k = 0; k < lines_.size(); ++k) {
      holds_ = holds_ && lines_[k].at == lines_[k].events.size();
      settle(k);
    }
    return holds_;
  }

 private:
  bool step(size_t k) {
    Line& line = lines_[k];
    const Event& event = line.events[line.at];
    if (event.kind != Event::wait) {
      settle(k);
    } else if (event.dropped) {
      line.outstanding.push_back(event.raise);
    } else {
      const auto from = raises_.find(event.raise);
      if (from == raises_.end()) return holds_ = false;
      const Place place = from->second;
      const auto released = released_.find(event.raise);
      if (released == released_.end()) return false;
      for (size_t i = 0; i < lines_.size(); ++i) line.knows[i] = std::max(line.knows[i], released->second[i]);
      line.told[place.line] = std::max(line.told[place.line], place.index + 1);
    }
    line.knows[k] = ++line.at;
    if (event.kind == Event::signal) released_[event.raise] = line.knows;
    return true;
  }

  /// The lane goes on to do something: does it know what the dropped waits would have told it?
  void settle(size_t k) {
    Line& line = lines_[k];
    for (const Raise& raise : line.outstanding) {
      const auto at = raises_.find(raise);
      if (at == raises_.end()) {
        holds_ = false;
        continue;
      }
      const Line& peer = lines_[at->second.line];
      size_t told = at->second.index;
      while (told > 0 && peer.events[told - 1].kind == Event::signal) --told;
      const bool near = plans_[static_cast<size_t>(line.rank)].mapped(line.rank, peer.rank);
      holds_ = holds_ && (near ? line.knows : line.told)[at->second.line] >= told;
    }
    line.outstanding.clear();
  }

  const std::vector<Plan>& plans_;
  std::vector<Line> lines_;
  std::map<Raise, Place> raises_;
  std::map<Raise, std::vector<size_t>> released_;
  bool holds_ = true;
};

bool is_scratch(const Location& place) {
  return place.space == Space::slots || place.space == Space::packets;
}

}  // namespace

bool waits_add_nothing(const std::vector<Plan>& plans, int rank, const std::vector<uint32_t>& waits,
                       const Binding& binding) {
  return Order(plans, rank, waits, binding).run();
}

bool claim_adds_nothing(const std::vector<Plan>& plans, int rank, const Binding& binding) {
  const Plan& plan = plans[static_cast<size_t>(rank)];
  const auto claims_first = [&](int peer) {
    const Plan& other = plans[static_cast<size_t>(peer)];
    return peer != rank && plan.mapped(rank, peer) && other.lanes.size() == 1 && !other.steps.empty() &&
           other.steps[0].kind == StepKind::claim;
  };
  const auto from_a_claimer = [&](const Location& place) {
    return place.space == Space::packets && claims_first(place.rank);
  };
  if (!plan.port_targets.empty()) return false;
  for (const Lane& lane : plan.lanes) {
    for (Cursor at(plan, lane, binding.slices); !at.done(); at.advance()) {
      const Step& step = at.step();
      const std::optional<Event> event = event_of(plan, at);
      if (event && event->kind == Event::wait && claims_first(step.channel.peer)) break;
      const auto dsts = plan.dsts(step);
      if (std::any_of(dsts.begin(), dsts.end(), is_scratch)) return false;
      const auto srcs = plan.srcs(step);
      if (std::any_of(srcs.begin(), srcs.end(), from_a_claimer)) break;
    }
  }
  return true;
}

}  // namespace tutti::plan::testing
