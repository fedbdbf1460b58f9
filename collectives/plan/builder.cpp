#include "collectives/plan/builder.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace tutti::plan {

std::string_view name_of(Algorithm algorithm) {
  constexpr std::string_view kNames[kAlgorithms] = {"local",
                                                    "one_shot",
                                                    "all_pairs",
                                                    "two_shot",
                                                    "ring",
                                                    "recursive_doubling",
                                                    "one_writer_packets",
                                                    "one_writer",
                                                    "chain",
                                                    "halving_doubling",
                                                    "double_binary_tree",
                                                    "binomial_tree",
                                                    "scatter_all_gather",
                                                    "direct",
                                                    "hierarchical_small",
                                                    "hierarchical_direct",
                                                    "hierarchical_ring",
                                                    "hierarchical_doubling",
                                                    "hierarchical_halving",
                                                    "hierarchical_tree",
                                                    "hierarchical_chain",
                                                    "hierarchical_binomial",
                                                    "hierarchical_scatter"};
  return kNames[static_cast<size_t>(algorithm)];
}

std::string_view name_of(StepKind kind) {
  constexpr std::string_view kNames[] = {"claim",        "copy",           "put",    "reduce",
                                         "signal",       "wait",           "flush",  "put_packets",
                                         "copy_packets", "reduce_packets", "barrier"};
  return kNames[static_cast<size_t>(kind)];
}

Builder::Builder(Collective collective, Algorithm algorithm, const Shape& shape) {
  plan_.collective = collective;
  plan_.algorithm = algorithm;
  plan_.ranks = shape.ranks;
  plan_.rank = shape.rank;
  plan_.root = shape.root;
  plan_.credits = shape.credits;
  plan_.nodes.assign(shape.nodes.begin(), shape.nodes.end());
  if (!plan_.nodes.empty() && plan_.nodes.size() != shape.ranks) {
    raise(Result::internal_error, "plan {}: {} ranks, but nodes of {}", name_of(algorithm), shape.ranks,
          plan_.nodes.size());
  }
  plan_.lanes.emplace_back();
}

Builder& Builder::chunks(int n) {
  plan_.chunks = static_cast<uint16_t>(n);
  return *this;
}

Builder& Builder::areas(int n, uint32_t uses_per_slice) {
  plan_.areas = static_cast<uint16_t>(n);
  plan_.uses_per_slice = uses_per_slice;
  return *this;
}

Builder& Builder::packet_areas(int n) {
  plan_.packet_areas = static_cast<uint16_t>(n);
  plan_.whole = true;
  return *this;
}

Builder& Builder::direct() {
  plan_.direct = true;
  return *this;
}

void Builder::close_block() {
  const auto end = static_cast<uint32_t>(plan_.steps.size());
  Lane& lane = plan_.lanes.back();
  if (in_prologue_) {
    lane.prologue_end = end;
  } else if (!lane.blocks.empty()) {
    lane.blocks.back().end_step = end;
  }
}

Builder& Builder::lane() {
  close_block();
  const auto here = static_cast<uint32_t>(plan_.steps.size());
  plan_.lanes.push_back({.prologue_first = here, .prologue_end = here, .max_lag = 0, .blocks = {}});
  in_prologue_ = true;
  lag_ = 0;
  return *this;
}

Builder& Builder::block(uint32_t rounds) {
  close_block();
  in_prologue_ = false;
  lag_ = 0;
  const auto here = static_cast<uint32_t>(plan_.steps.size());
  plan_.lanes.back().blocks.push_back({.rounds = rounds, .first_step = here, .end_step = here});
  return *this;
}

Builder& Builder::lag(int slices) {
  lag_ = static_cast<uint8_t>(slices);
  plan_.lanes.back().max_lag = std::max(plan_.lanes.back().max_lag, lag_);
  return *this;
}

Step& Builder::add(StepKind kind, Affine extent, std::span<const Location> src,
                   std::span<const Location> dst) {
  Step step;
  step.kind = kind;
  step.lag = lag_;
  step.extent = extent;
  step.dsts = static_cast<uint16_t>(dst.size());
  step.srcs = static_cast<uint16_t>(src.size());
  step.first_location = static_cast<uint32_t>(plan_.locations.size());
  plan_.locations.insert(plan_.locations.end(), dst.begin(), dst.end());
  plan_.locations.insert(plan_.locations.end(), src.begin(), src.end());
  plan_.steps.push_back(step);
  return plan_.steps.back();
}

Builder& Builder::claim() {
  add(StepKind::claim, {}, {}, {});
  return *this;
}

Builder& Builder::copy(Affine extent, Location src, std::initializer_list<Location> dst) {
  add(StepKind::copy, extent, {&src, 1}, {dst.begin(), dst.size()});
  return *this;
}

Builder& Builder::put(Affine extent, Location src, std::initializer_list<Location> dst) {
  add(StepKind::put, extent, {&src, 1}, {dst.begin(), dst.size()});
  return *this;
}

Builder& Builder::reduce(Affine extent, std::span<const Location> src, std::span<const Location> dst,
                         bool final) {
  add(StepKind::reduce, extent, src, dst).final = final;
  return *this;
}

Builder& Builder::put_packets(Location src, Location dst) {
  add(StepKind::put_packets, {}, {&src, 1}, {&dst, 1});
  return *this;
}

Builder& Builder::copy_packets(Location src, Location dst) {
  add(StepKind::copy_packets, {}, {&src, 1}, {&dst, 1});
  return *this;
}

Builder& Builder::reduce_packets(std::span<const Location> src, Location dst, bool final) {
  add(StepKind::reduce_packets, {}, src, {&dst, 1}).final = final;
  return *this;
}

Builder& Builder::channel_step(StepKind kind, Channel channel, Affine count, bool credit) {
  const int limit = channel.kind == ChannelKind::pair ? kPairChannels : kBoardChannels;
  if (channel.index >= limit || channel.peer >= plan_.ranks) {
    raise(Result::internal_error, "plan {}: channel index {} of rank {} is out of range",
          name_of(plan_.algorithm), channel.index, channel.peer);
  }
  Step& step = add(kind, {}, {}, {});
  step.channel = channel;
  step.count = count;
  step.credit = credit;
  return *this;
}

namespace {
Channel pair(int peer, int index) {
  return {ChannelKind::pair, static_cast<uint8_t>(index), static_cast<uint16_t>(peer)};
}
Channel board(int peer, int index) {
  return {ChannelKind::board, static_cast<uint8_t>(index), static_cast<uint16_t>(peer)};
}
}  // namespace

Builder& Builder::signal_pair(int peer, int index, Affine count) {
  return channel_step(StepKind::signal, pair(peer, index), count, false);
}

Builder& Builder::wait_pair(int peer, int index, Affine count) {
  return channel_step(StepKind::wait, pair(peer, index), count, false);
}

Builder& Builder::wait_pair_credit(int peer, int index, Affine count) {
  return channel_step(StepKind::wait, pair(peer, index), count, true);
}

Builder& Builder::signal_board(int index, Affine count) {
  return channel_step(StepKind::signal, board(plan_.rank, index), count, false);
}

Builder& Builder::wait_board(int peer, int index, Affine count) {
  return channel_step(StepKind::wait, board(peer, index), count, false);
}

Builder& Builder::wait_board_credit(int peer, int index, Affine count) {
  return channel_step(StepKind::wait, board(peer, index), count, true);
}

Builder& Builder::flush(int peer) {
  if (!is_mapped(peer)) add(StepKind::flush, {}, {}, {}).channel = pair(peer, 0);
  return *this;
}

Builder& Builder::barrier() {
  add(StepKind::barrier, {}, {}, {});
  return *this;
}

/// A rank of another node may put to this one exactly when this one awaits its signals; waits for credit and for other words
/// of acknowledgement make the list longer than need be, which costs a grant now and then.
void Builder::find_ports() {
  const auto add_to = [](std::vector<uint16_t>& ranks, uint16_t rank) {
    const auto at = std::lower_bound(ranks.begin(), ranks.end(), rank);
    if (at == ranks.end() || *at != rank) ranks.insert(at, rank);
  };
  for (const Step& step : plan_.steps) {
    if (step.kind == StepKind::wait && !is_mapped(step.channel.peer))
      add_to(plan_.port_sources, step.channel.peer);
    if (step.kind != StepKind::put) continue;
    for (const Location& to : plan_.dsts(step)) {
      if (!is_mapped(to.rank)) add_to(plan_.port_targets, to.rank);
    }
  }
}

Plan Builder::take() {
  close_block();
  find_ports();
  return std::move(plan_);
}

}  // namespace tutti::plan
