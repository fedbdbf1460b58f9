// The settings of one communicator: environment variables, overridden by the configuration its caller gave.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/env.h"
#include "core/wait_loop.h"
#include "runtime/tuner/selection.h"
#include "transports/verbs/verbs.h"

namespace tutti {

/// Settings::device, where it is no device's number.
inline constexpr int kDeviceAutomatic = -1;
inline constexpr int kDeviceNone = -2;

struct Settings {
  uint64_t timeout_ns = 0;
  uint64_t warn_after_ns = 0;
  uint64_t setup_timeout_ns = 0;
  uint64_t scratch_bytes = 0;  // 0 = automatic
  uint64_t epoch_start = 1;    // of the first operation
  SimdChoice simd = SimdChoice::automatic;
  WaitLoop::Settings wait;
  bool spin_given = false;  // by the user: then it is not shortened where ranks share cores
  Tuning tuning;
  std::string interfaces;  // for set-up and control; empty: automatic
  std::string ports;
  std::string node_id;                                     // empty: made from this machine
  TransportChoice transport = TransportChoice::automatic;  // between nodes
  UcxPut ucx_put = UcxPut::automatic;
  std::string ib_rails;  // empty: all
  VerbsTuning ib_tuning;
  int device = kDeviceAutomatic;      // or kDeviceNone, or the number of a CUDA device
  int ctas = 0;                       // most thread blocks of a rank per collective; 0 = automatic
  int device_comms = 1;               // communicators that share a device at one time
  uint64_t device_scratch_bytes = 0;  // 0 = automatic
  std::string stats_file;             // TUTTI_STATS; empty: none
  std::string digest;                 // what must be equal on all ranks: lines "name=value"
};

/// What the caller of tutti_comm_create gave; zero and empty mean "as the environment says".
struct Overrides {
  int64_t timeout_ns = 0;
  int64_t setup_timeout_ns = 0;
  std::string algorithm;
  int device = kDeviceAutomatic;
};

/// Of each rank, where one node has `most` of them; 0: as the window's layout says. Between nodes more is on its way at a time.
size_t scratch_bytes(const Settings& settings, int nodes, int most);

/// Throws Error(invalid_argument) naming the variable or field, its value and what is allowed.
Settings make_settings(const Environment& environment, const Overrides& overrides);

}  // namespace tutti
