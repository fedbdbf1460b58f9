#include "collectives/plan/printer.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>
#include <vector>

#include "collectives/plan/cursor.h"
#include "core/error.h"

namespace tutti::plan {

namespace {

using Text = std::back_insert_iterator<std::string>;

/// Writes steps either symbolically or, at a loop position, in numbers.
class Writer {
 public:
  explicit Writer(const Plan& plan) : plan_(plan) {}
  Writer(const Plan& plan, int64_t round, int64_t slice)
      : plan_(plan), round_(round), slice_(slice), numbers_(true) {}

  /// The kind of step is padded to `width`.
  std::string step(const Step& step, size_t width) const {
    std::string text = fmt::format("{:<{}}", name_of(step.kind), width);
    if (step.kind == StepKind::signal || step.kind == StepKind::wait) {
      text += channel_step(step);
    } else if (step.kind == StepKind::flush) {
      text += fmt::format(" port {}->{}", plan_.rank, step.channel.peer);
    } else if (step.dsts != 0) {
      text += moves(step);
    }
    if (step.final) text += " (final)";
    if (is_posted(step)) text += " (port)";
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
  }

 private:
  bool is_posted(const Step& step) const {
    return step.kind == StepKind::put && step.dsts != 0 && plan_.dsts(step).back().rank < plan_.ranks &&
           !plan_.mapped(plan_.rank, plan_.dsts(step).back().rank);
  }

  std::string value(const Affine& a) const {
    return numbers_ ? std::to_string(a.at(round_, slice_)) : describe(a);
  }

  std::string location(const Location& place) const {
    switch (place.space) {
      case Space::input:
      case Space::output: {
        std::string text = place.space == Space::input ? "input" : "output";
        if (place.rank != plan_.rank) text += fmt::format(" of rank {}", place.rank);
        if (plan_.chunks > 1) text += fmt::format("[{}]", value(place.index));
        return text;
      }
      case Space::slots:
        return fmt::format("slot {}.{}[{}]", place.rank, place.area, value(place.index));
      case Space::packets:
        return fmt::format("packets {}.{}", place.rank, place.area);
    }
    return "?";
  }

  std::string list(std::span<const Location> places, std::string_view between) const {
    std::string text;
    for (const Location& place : places) {
      if (!text.empty()) text += between;
      text += location(place);
    }
    return text;
  }

  std::string moves(const Step& step) const {
    const auto srcs = plan_.srcs(step);
    const auto dsts = plan_.dsts(step);
    std::string text = fmt::format(" {} -> {}", list(srcs, " + "), list(dsts, ", "));
    // The chunk that gives the length is named only where no operand shows it.
    const auto shows_extent = [&](const Location& place) {
      return (place.space == Space::input || place.space == Space::output) && place.index == step.extent;
    };
    if (plan_.chunks > 1 && std::none_of(srcs.begin(), srcs.end(), shows_extent) &&
        std::none_of(dsts.begin(), dsts.end(), shows_extent)) {
      text += fmt::format(" (as long as chunk {})", value(step.extent));
    }
    return text;
  }

  std::string raise_of(const Step& step) const {
    if (!step.credit) return value(step.count);
    if (numbers_) {
      const int64_t awaited = step.count.at(round_, slice_) - plan_.credits;
      return awaited < 0 ? "none" : std::to_string(awaited);
    }
    if (step.count.modulus != 0) return fmt::format("{} - {}", describe(step.count), plan_.credits);
    Affine awaited = step.count;
    awaited.base -= plan_.credits;
    return describe(awaited);
  }

  std::string channel_step(const Step& step) const {
    const Channel& channel = step.channel;
    std::string text;
    if (channel.kind == ChannelKind::board) {
      text = fmt::format(" board {} #{}", channel.peer, channel.index);
    } else if (step.kind == StepKind::signal) {
      text = fmt::format(" pair {}->{} #{}", plan_.rank, channel.peer, channel.index);
    } else {
      text = fmt::format(" pair {}->{} #{}", channel.peer, plan_.rank, channel.index);
    }
    text += fmt::format(" raise {}", raise_of(step));
    if (step.credit) text += " (credit)";
    return text;
  }

  const Plan& plan_;
  int64_t round_ = 0;
  int64_t slice_ = 0;
  bool numbers_ = false;
};

void add_term(std::string& text, int32_t factor, std::string_view name) {
  if (factor == 0) return;
  const auto magnitude = static_cast<uint32_t>(factor < 0 ? -int64_t{factor} : int64_t{factor});
  if (text.empty()) {
    if (factor < 0) text += "-";
  } else {
    text += factor < 0 ? " - " : " + ";
  }
  if (name.empty()) {
    text += std::to_string(magnitude);
  } else if (magnitude != 1) {
    text += fmt::format("{}*{}", magnitude, name);
  } else {
    text += name;
  }
}

/// "1 chunk", "8 chunks".
std::string counted(uint64_t n, std::string_view noun) {
  return fmt::format("{} {}{}", n, noun, n == 1 ? "" : "s");
}

/// "0-2", "1, 5-7".
std::string ranges(const std::vector<int>& ranks) {
  std::string text;
  for (size_t i = 0; i < ranks.size();) {
    size_t end = i + 1;
    while (end < ranks.size() && ranks[end] == ranks[end - 1] + 1) ++end;
    if (!text.empty()) text += ", ";
    text += std::to_string(ranks[i]);
    if (end - i > 1) text += fmt::format("{}{}", end - i > 2 ? "-" : ", ", ranks[end - 1]);
    i = end;
  }
  return text;
}

std::vector<int> ranks_of(const Plan& plan, int node) {
  std::vector<int> ranks;
  for (size_t r = 0; r < plan.nodes.size(); ++r) {
    if (plan.nodes[r] == node) ranks.push_back(static_cast<int>(r));
  }
  return ranks;
}

int nodes_of(const Plan& plan) {
  return plan.nodes.empty() ? 1 : *std::max_element(plan.nodes.begin(), plan.nodes.end()) + 1;
}

void write_nodes(std::string& text, const Plan& plan) {
  Text out(text);
  const int own = plan.nodes[plan.rank];
  for (int node = 0; node < nodes_of(plan); ++node) {
    fmt::format_to(out, "  node {:<3} ranks {}{}\n", node, ranges(ranks_of(plan, node)),
                   node == own ? ", this one among them" : "");
  }
  const auto list = [](const std::vector<uint16_t>& ranks) {
    return ranks.empty() ? "nobody" : ranges({ranks.begin(), ranks.end()});
  };
  fmt::format_to(out, "  ports    puts to {}; may be put to by {}\n", list(plan.port_targets),
                 list(plan.port_sources));
}

void write_header(std::string& text, const Plan& plan) {
  Text out(text);
  fmt::format_to(out, "{} {}, rank {} of {}", name_of(plan.collective), name_of(plan.algorithm), plan.rank,
                 plan.ranks);
  if (plan.collective == Collective::broadcast) fmt::format_to(out, ", root {}", plan.root);
  fmt::format_to(out, "\n  message  {}{}\n", counted(plan.chunks, "chunk"),
                 plan.whole || plan.areas == 0 ? ", one slice" : ", cut into slices");
  if (plan.areas != 0) {
    fmt::format_to(out, "  window   {}, each a ring of up to {}; {} per slice\n",
                   counted(plan.areas, "slot area"), counted(plan.credits, "slot"),
                   counted(plan.uses_per_slice, "position"));
  }
  if (plan.packet_areas != 0)
    fmt::format_to(out, "  window   {}\n", counted(plan.packet_areas, "packet area"));
  if (plan.direct)
    fmt::format_to(out, "  buffers  uses those of its peers; a raise of a board tells where they are\n");
  if (plan.areas == 0 && plan.packet_areas == 0) fmt::format_to(out, "  window   no scratch\n");
  if (!plan.nodes.empty()) write_nodes(text, plan);
}

void write_lane(std::string& text, const Plan& plan, const Lane& lane, size_t width) {
  Text out(text);
  const Writer writer(plan);
  if (lane.prologue_first != lane.prologue_end) fmt::format_to(out, "    first\n");
  for (uint32_t i = lane.prologue_first; i < lane.prologue_end; ++i) {
    fmt::format_to(out, "      {}\n", writer.step(plan.steps[i], width));
  }
  if (lane.blocks.empty()) return;
  if (plan.whole || plan.areas == 0) {
    fmt::format_to(out, "    for the one slice\n");
  } else if (lane.max_lag == 0) {
    fmt::format_to(out, "    for slice = 0 .. slices - 1\n");
  } else {
    fmt::format_to(out, "    for iteration = 0 .. slices{}, a step acting on slice = iteration - its lag\n",
                   lane.max_lag == 1 ? "" : fmt::format(" + {}", lane.max_lag - 1));
  }
  for (const Block& block : lane.blocks) {
    if (block.rounds == 0) continue;
    const bool loop = block.rounds > 1;
    if (loop) fmt::format_to(out, "      for round = 0 .. {}\n", block.rounds - 1);
    for (uint32_t i = block.first_step; i < block.end_step; ++i) {
      const Step& step = plan.steps[i];
      const std::string lag = lane.max_lag == 0 ? "" : fmt::format("lag {}: ", step.lag);
      fmt::format_to(out, "      {}{}{}\n", loop ? "  " : "", lag, writer.step(step, width));
    }
  }
}

/// The graph of one operation: nodes are executed steps, numbered over all ranks.
class Graph {
 public:
  explicit Graph(const Binding& binding) : binding_(binding) {}

  void begin_node(int node) {
    fmt::format_to(Text(text_), "  subgraph cluster_node_{} {{\n    label=\"node {}\";\n    style=rounded;\n",
                   node, node);
  }
  void end_node() { text_ += "  }\n"; }

  void add_rank(const Plan& plan) {
    Text out(text_);
    fmt::format_to(out, "  subgraph cluster_{} {{\n    label=\"rank {}\";\n    color=grey;\n", plan.rank,
                   plan.rank);
    barriers_.clear();
    for (const Lane& lane : plan.lanes) add_lane(plan, lane);
    fmt::format_to(out, "  }}\n");
  }

  std::string finish(std::string_view title) {
    for (const auto& [key, node, between] : waits_) {
      const auto from = signals_.find(key);
      if (from != signals_.end()) add_edge(from->second, node, between ? "red" : "blue");
    }
    for (const auto& [key, node] : reads_) {
      const auto from = posts_.find(key);
      if (from != posts_.end() && from->second != node) add_edge(from->second, node, "darkgreen");
    }
    return fmt::format(
        "digraph plan {{\n  label=\"{}\";\n  labelloc=t;\n  node [shape=box, fontname=monospace, "
        "fontsize=10];\n{}}}\n",
        title, text_);
  }

 private:
  // Counter: kind, raising rank, awaiting rank (0 for a board), index; then which raise.
  using Raise = std::tuple<ChannelKind, int, int, int, int64_t>;
  using Area = std::pair<int, int>;  // of packets: window, area
  struct Wait {
    Raise raise;
    size_t node;
    bool between;  // ranks of different nodes
  };

  void add_lane(const Plan& plan, const Lane& lane) {
    Text out(text_);
    bool first = true;
    size_t barrier = 0;
    for (Cursor at(plan, lane, binding_.slices); !at.done(); at.advance()) {
      const Step& step = at.step();
      const size_t node = nodes_++;
      fmt::format_to(out, "    n{} [label=\"{}\"];\n", node,
                     Writer(plan, at.round(), at.slice()).step(step, 0));
      if (!first) fmt::format_to(out, "    n{} -> n{} [color=grey];\n", node - 1, node);
      first = false;
      if (step.kind == StepKind::barrier) join(barrier++, node);
      note_channel(plan, step, at, node);
      note_packets(plan, step, node);
    }
  }

  // The lanes of a rank meet: the same barrier of each of them.
  void join(size_t barrier, size_t node) {
    if (barrier < barriers_.size()) {
      fmt::format_to(Text(text_), "    n{} -> n{} [dir=none, style=dashed, constraint=false];\n",
                     barriers_[barrier], node);
    } else {
      barriers_.push_back(node);
    }
  }

  void note_channel(const Plan& plan, const Step& step, const Cursor& at, size_t node) {
    if (step.kind != StepKind::signal && step.kind != StepKind::wait) return;
    const Channel& channel = step.channel;
    const bool board = channel.kind == ChannelKind::board;
    const bool signals = step.kind == StepKind::signal;
    const int from = signals ? plan.rank : channel.peer;
    const int to = board ? 0 : (signals ? channel.peer : plan.rank);
    const int64_t count = step.count.at(at.round(), at.slice()) - (step.credit ? plan.credits : 0);
    const Raise raise{channel.kind, from, to, channel.index, count};
    if (signals) {
      signals_.emplace(raise, node);
    } else {
      waits_.push_back({raise, node, !board && !plan.mapped(from, to)});
    }
  }

  void note_packets(const Plan& plan, const Step& step, size_t node) {
    for (const Location& place : plan.dsts(step)) {
      if (place.space == Space::packets) posts_.emplace(Area{place.rank, place.area}, node);
    }
    for (const Location& place : plan.srcs(step)) {
      if (place.space == Space::packets) reads_.emplace_back(Area{place.rank, place.area}, node);
    }
  }

  void add_edge(size_t from, size_t to, std::string_view color) {
    fmt::format_to(Text(text_), "  n{} -> n{} [color={}];\n", from, to, color);
  }

  const Binding& binding_;
  std::string text_;
  size_t nodes_ = 0;
  std::map<Raise, size_t> signals_;
  std::vector<Wait> waits_;
  std::map<Area, size_t> posts_;
  std::vector<std::pair<Area, size_t>> reads_;
  std::vector<size_t> barriers_;  // of the rank being added: by number, the node of its first lane
};

}  // namespace

std::string describe(const Affine& expression) {
  if (expression.per_round == 0 && expression.per_slice == 0) return std::to_string(expression.at(0, 0));
  std::string text;
  const bool base_first = expression.per_round < 0 && expression.per_slice == 0;  // "3 - round"
  if (base_first) add_term(text, expression.base, "");
  add_term(text, expression.per_slice, "slice");
  add_term(text, expression.per_round, "round");
  if (!base_first) add_term(text, expression.base, "");
  return expression.modulus == 0 ? text : fmt::format("({}) mod {}", text, expression.modulus);
}

std::string describe(const Plan& plan, const Step& step) {
  return Writer(plan).step(step, 0);
}

std::string describe(const Plan& plan, const Step& step, int64_t round, int64_t slice) {
  return fmt::format("{}, round {}, slice {}", Writer(plan, round, slice).step(step, 0), round, slice);
}

std::string describe(const Plan& plan) {
  size_t width = 0;
  for (const Step& step : plan.steps) width = std::max(width, name_of(step.kind).size());
  std::string text;
  write_header(text, plan);
  for (size_t i = 0; i < plan.lanes.size(); ++i) {
    fmt::format_to(Text(text), "  lane {}\n", i);
    write_lane(text, plan, plan.lanes[i], width);
  }
  return text;
}

std::string legend() {
  return
      R"(  round, slice        the loop counters; slice is the slice that the step acts on
  input[k] output[k]  slice `slice` of chunk k of the caller's buffer; no [k] where there is one chunk only
  input of rank 3[k]  the same of a peer's buffer, in direct plans
  slot 3.0[k]         window of rank 3, slot area 0, position k of its ring of slots, taken modulo the depth
  packets 3.0         window of rank 3, packet area 0
  a + b -> c, d       a and b are folded in this order; the result is written to c and to d
  pair 2->3 #0        counter 0 of an ordered pair of ranks: raised by rank 2, awaited by rank 3
  board 2 #1          counter 1 on the board of rank 2: raised by rank 2, awaited by any rank
  raise k             the k-th raise of that counter within the operation, from 0
  (port)              posted to another node: read and written some time after the step
  flush port 1->3     what rank 1 has put to rank 3 has left its sources
  (credit)            flow control: the credits are already subtracted from k; below 0 there is nothing to await
  (final)             here avg divides
  claim               wait until all ranks have finished the earlier operations that used the same scratch; between nodes
                      whoever may be put to grants it
)";
}

std::string graphviz(std::span<const Plan> all_ranks, const Binding& binding) {
  Graph graph(binding);
  if (all_ranks.empty()) return graph.finish("nothing");
  const Plan& plan = all_ranks[0];
  const int nodes = nodes_of(plan);
  for (int node = 0; node < nodes; ++node) {
    if (nodes > 1) graph.begin_node(node);
    for (const Plan& each : all_ranks) {
      if (plan.nodes.empty() || plan.nodes[each.rank] == node) graph.add_rank(each);
    }
    if (nodes > 1) graph.end_node();
  }
  return graph.finish(fmt::format(
      "{} {}, {}{}, {}", name_of(plan.collective), name_of(plan.algorithm), counted(plan.ranks, "rank"),
      nodes > 1 ? fmt::format(" on {}", counted(static_cast<uint64_t>(nodes), "node")) : "",
      counted(binding.slices, "slice")));
}

}  // namespace tutti::plan
