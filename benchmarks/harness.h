// How a row is measured.
//
// Each iteration: this rank's input is changed and its output poisoned, all ranks meet at a barrier, a stamp, the call,
// a stamp, and the result is checked. The row's samples are, for each iteration, the maximum over the ranks of
// (exit - own entry). Between the stamps is the call alone.
//
// Baselines take turns with Tutti: all run once in every iteration, on the same buffers, in an order that changes with every iteration
// (row_plan.h).
//
// CPU time is taken of calls that follow each other after the timed iterations: reading it around each would cost more than the call.
//
// In a chain each iteration has several calls, which begin as soon as the one before has returned on this rank. At a fixed rate there is no
// barrier and no new input: each call begins when it is due, and its time counts from then (schedule.h).
//
// Before the timed iterations come fully verified ones, in which ranks arrive at random times; one more follows them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "benchmarks/launcher.h"
#include "benchmarks/library.h"
#include "benchmarks/message.h"
#include "benchmarks/row_plan.h"

namespace tutti::bench {

/// What the communicator was told by tutti_register, until the end.
class Registration {
 public:
  /// Collective. Throws.
  Registration(tutti_comm_t comm, const Buffer& buffer);
  ~Registration();
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

 private:
  tutti_comm_t comm_;
  tutti_registration_t registration_ = nullptr;
};

class Harness {
 public:
  /// `largest` in bytes is the longest message there will be.
  Harness(World& world, const CollectiveInfo& collective, const Options& options, uint64_t largest);

  /// Collective. One row for each library, Tutti's first; equal on all ranks. Throws where a call fails.
  std::vector<Row> measure(const RowPlan& plan, const std::vector<Library*>& libraries);

  /// What lies between the two stamps besides the call: the p50 of calls that do nothing.
  static double measuring_ns();

  /// How long a window of so long a row is: a tenth of it, at most a second; a 60th where it lasts longer than a minute.
  static double window_seconds(double seconds);

  /// Bytes that one rank's buffers take.
  static uint64_t memory_needed(const Options& options, uint64_t largest);

 private:
  struct Subject;
  class Measurement;

  World& world_;
  const CollectiveInfo& collective_;
  const Options& options_;
  Buffer recv_;
  Buffer send_;
  std::optional<Registration> recv_registration_;
  std::optional<Registration> send_registration_;
  uint64_t generation_ = 0;  // of the data; the same on all ranks at any point
  uint64_t run_start_ = 0;   // the tick of the first timed iteration
};

}  // namespace tutti::bench
