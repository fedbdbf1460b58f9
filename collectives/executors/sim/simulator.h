// Executes the plans of all ranks in virtual time, in one thread, deterministically.
//
// The plans are the same objects that the host executes, walked by the same cursor, bound by the same closed
// expressions, with scratch from the same ring, claimed and retired as there. What a step costs is in
// sim/model.h. Operations follow each other on every rank as on a communicator: a rank enters the next as soon
// as it has left the one before (and the model's gap and arrival delay have passed), whatever the others do. Between nodes
// puts are posted, flushed and waited for at the end of an operation, and claims grant and await grants.
//
// Two uses: to see how a plan behaves where no machine is at hand (latency, tail under noise, incast, slices in
// flight), for which only the plans are needed; and to check what it computes, with memory for the messages.
//
// The same arguments give the same report, bit by bit.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "collectives/executors/sim/model.h"
#include "collectives/executors/sim/network.h"
#include "collectives/plan/binding.h"
#include "collectives/plan/plan.h"
#include "core/types.h"

namespace tutti::sim {

/// The caller's memory on one rank; the same address for both is an operation in place.
struct Buffers {
  const void* input = nullptr;
  void* output = nullptr;
};

/// One collective on all ranks. What the spans show must outlive the run.
struct Operation {
  std::span<const plan::Plan> plans;  // plans[r] is the plan of rank r
  uint64_t count = 0;                 // elements
  DataType type = DataType::float32;
  ReduceOp op = ReduceOp::sum;
  std::span<const Buffers> buffers = {};  // buffers[r] of rank r; empty: no data are moved
  std::span<const Time> delay = {};  // by how much rank r enters late, beside the model's delays; or empty
};

/// Scratch in each rank's window, and how much of it one operation may take.
struct Scratch {
  uint64_t slots_bytes = 4 << 20;
  uint64_t packets_bytes = 1 << 20;
  plan::Limits limits = {.slots_bytes = 1 << 20, .packets_bytes = 256 << 10, .max_slice_bytes = 64 << 10};
};

/// What happened in one operation.
struct Outcome {
  std::vector<Time> entry;  // by rank
  std::vector<Time> exit;

  Time first_entry() const;
  Time last_entry() const;
  Time last_exit() const;
  /// Last arrival - first arrival.
  Time skew() const { return last_entry() - first_entry(); }
  /// Last completion - last arrival.
  Time service() const { return last_exit() - last_entry(); }
  /// The last rank to arrive.
  int culprit() const;

  bool operator==(const Outcome&) const = default;
};

struct Report {
  std::vector<Outcome> operations;
  std::vector<uint32_t>
      max_in_flight;               // by receiver: slices written for it that it has not yet finished reading
  std::vector<Traffic> traffic;    // all pairs of ranks that exchanged bytes
  std::vector<CardTraffic> cards;  // by node: what crossed between nodes
  uint64_t steps = 0;              // executed by all ranks

  bool operator==(const Report&) const = default;
};

/// Runs the operations one after the other. Throws Error: invalid_argument where the operations do not fit
/// together or the scratch; internal_error, naming ranks and steps, where the plans deadlock, raise a counter
/// out of order, or read packets that were overwritten.
Report simulate(std::span<const Operation> operations, const Model& model = {}, const Scratch& scratch = {});

}  // namespace tutti::sim
