// What the simulated cluster costs: all numbers of the simulator in one place.
//
// Time is virtual and counted in whole picoseconds, so that a run is exact and repeatable. A rank's lanes are
// workers that execute one step after the other:
//
//   every step      `step`, plus noise
//   copy, reduce    read and write at `memory` bytes per nanosecond, all operands together; what lies in another
//   ...             rank's window crosses a link at that link's beta meanwhile, the slower of the two counts
//   pull            reading a peer's window costs one alpha more: the request
//   push            what a step writes into a peer's window is there one alpha after the step has ended
//   signal          costs the raiser nothing more; it is seen one alpha later, never before the data pushed earlier
//   packets         data and flag travel together: a packet posted at t is in a reader's hands at t + alpha + bytes / beta
//   between nodes   a put is posted: its lane goes on at once, the bytes cross as soon as the cards are free, and leave their
//                   source meanwhile; a signal is seen one alpha later, and never before the puts of its rank to that peer
//
// Links. Ranks are placed on nodes as their plans say; where the plans know of one node only, in order, `ranks_per_node` each.
// On a node, every ordered pair of ranks has a link of its own (`near`). Between nodes all traffic of a node passes its network
// card (`far`): one transfer out and one transfer in at a time, so that many senders to one receiver queue up: incast. A
// transfer goes in as it comes out, as fast as the slower of the two cards lets it; each is busy for its own time only.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace tutti::sim {

/// Virtual picoseconds.
using Time = int64_t;

inline constexpr Time kNanosecond = 1000;
inline constexpr Time kMicrosecond = 1000 * kNanosecond;

constexpr double in_microseconds(Time t) {
  return static_cast<double>(t) / static_cast<double>(kMicrosecond);
}

struct Link {
  Time alpha = 0;   // from a write to the moment at which the other side can see it
  double beta = 1;  // bytes per nanosecond (GB/s)
};

/// Any step may be held up, as by an interrupt.
struct Noise {
  double probability = 0;  // per step
  Time mean = 0;           // of the exponentially distributed delay
};

/// The defaults resemble one host: 50 ns for a cache line, 10 GB/s into lines that a peer has read.
struct Model {
  Time step = 5 * kNanosecond;
  double memory = 40;
  Link near = {50 * kNanosecond, 10};
  Link far = {2 * kMicrosecond, 12.5};
  int ranks_per_node = 0;           // 0: all ranks on one node, or where the plans say
  std::vector<double> card_factor;  // by node: which part of far.beta its card has; 1 where missing
  Noise noise;
  Time arrival = 0;  // mean of the exponentially distributed delay with which a rank enters an operation
  Time gap = 0;      // what every rank does between two operations
  uint64_t seed = 1;
};

/// How long `bytes` take at `bandwidth` bytes per nanosecond.
inline Time duration_of(uint64_t bytes, double bandwidth) {
  return std::llround(static_cast<double>(bytes) * static_cast<double>(kNanosecond) / bandwidth);
}

/// Random numbers that depend on (seed, stream) only: every lane and every rank has its own stream, so a delay
/// here does not change what is drawn there. (SplitMix64, Steele, Lea and Flood 2014.)
class Random {
 public:
  Random() = default;
  Random(uint64_t seed, uint64_t stream) : state_(mix(seed ^ mix(stream + 1))) {}

  /// In (0, 1].
  double uniform() { return static_cast<double>((next() >> 11) + 1) * 0x1.0p-53; }

  Time exponential(Time mean) { return std::llround(-std::log(uniform()) * static_cast<double>(mean)); }

 private:
  static constexpr uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }
  uint64_t next() { return mix(state_ += 0x9e3779b97f4a7c15U); }

  uint64_t state_ = 0;
};

}  // namespace tutti::sim
