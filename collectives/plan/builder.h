// Writes a plan step by step. An algorithm (collectives/algorithms/) is a function that drives one Builder.
#pragma once

#include <initializer_list>
#include <span>

#include "collectives/plan/plan.h"

namespace tutti::plan {

/// Everything an algorithm may know: values that are equal on all ranks, and the rank itself.
struct Shape {
  uint16_t ranks = 1;
  uint16_t rank = 0;
  uint16_t root = 0;
  uint16_t credits = 4;
  std::span<const uint16_t> nodes =
      {};  // by rank: its node, numbered from 0 in the order of first ranks; empty: one node
  bool one_process = false;  // all ranks' buffers are in one address space, so that each can use all of them
};

class Builder {
 public:
  Builder(Collective collective, Algorithm algorithm, const Shape& shape);

  uint16_t ranks() const { return plan_.ranks; }
  uint16_t rank() const { return plan_.rank; }
  uint16_t root() const { return plan_.root; }
  /// True where the peer's memory is mapped by this rank: it is on the same node.
  bool is_mapped(int peer) const { return plan_.mapped(plan_.rank, peer); }

  // Geometry, set before the first step.
  Builder& chunks(int n);  // cut the message into n chunks (default 1)
  Builder& areas(int n, uint32_t uses_per_slice = 1);
  Builder& packet_areas(int n);  // also makes the message one slice
  Builder& direct();             // uses the buffers of peers; makes each chunk one slice

  // Structure. Steps go to the prologue until the first block is opened.
  Builder& lane();                      // starts another lane (the first one is open from the start)
  Builder& block(uint32_t rounds = 1);  // starts a block of the slice loop
  Builder& lag(int slices);             // for the steps that follow, until set again

  // Places.
  static Affine chunk(int base, int per_round = 0, int modulus = 0) { return {base, per_round, 0, modulus}; }
  Location input(Affine chunk = {}) const { return {Space::input, rank(), 0, chunk}; }
  Location output(Affine chunk = {}) const { return {Space::output, rank(), 0, chunk}; }
  // In a direct plan, of any rank.
  static Location input_of(int rank, Affine chunk = {}) {
    return {Space::input, static_cast<uint16_t>(rank), 0, chunk};
  }
  static Location output_of(int rank, Affine chunk = {}) {
    return {Space::output, static_cast<uint16_t>(rank), 0, chunk};
  }
  static Location slot(int rank, int area, Affine index = {0, 0, 1, 0}) {
    return {Space::slots, static_cast<uint16_t>(rank), static_cast<uint16_t>(area), index};
  }
  static Location packets(int rank, int area = 0) {
    return {Space::packets, static_cast<uint16_t>(rank), static_cast<uint16_t>(area), {}};
  }

  // Steps. `extent` is the chunk whose slice is moved.
  Builder& claim();
  Builder& copy(Affine extent, Location src, std::initializer_list<Location> dst);
  Builder& put(Affine extent, Location src, std::initializer_list<Location> dst);
  Builder& reduce(Affine extent, std::span<const Location> src, std::initializer_list<Location> dst,
                  bool final) {
    return reduce(extent, src, std::span<const Location>(dst.begin(), dst.size()), final);
  }
  Builder& reduce(Affine extent, std::span<const Location> src, std::span<const Location> dst, bool final);
  Builder& put_packets(Location src, Location dst);
  Builder& copy_packets(Location src, Location dst);
  Builder& reduce_packets(std::span<const Location> src, Location dst, bool final);
  // Channel steps. `count` says which raise of the channel within the operation; by default one per slice.
  static constexpr Affine kPerSlice = {0, 0, 1, 0};
  Builder& signal_pair(int peer, int index, Affine count = kPerSlice);
  Builder& wait_pair(int peer, int index, Affine count = kPerSlice);
  Builder& wait_pair_credit(int peer, int index, Affine count = kPerSlice);
  Builder& signal_board(int index, Affine count = kPerSlice);
  Builder& wait_board(int peer, int index, Affine count = kPerSlice);
  Builder& wait_board_credit(int peer, int index, Affine count = kPerSlice);
  /// Until the puts to `peer` have left their sources; no step where the peer is mapped.
  Builder& flush(int peer);
  Builder& barrier();

  /// The finished plan. The builder is empty afterwards.
  Plan take();

 private:
  Step& add(StepKind kind, Affine extent, std::span<const Location> src, std::span<const Location> dst);
  Builder& channel_step(StepKind kind, Channel channel, Affine count, bool credit);
  void close_block();
  void find_ports();

  Plan plan_;
  uint8_t lag_ = 0;
  bool in_prologue_ = true;
};

}  // namespace tutti::plan
