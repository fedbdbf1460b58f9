// What the environment says about the machine to emulate. Read once, at the first question.
#pragma once

#include <chrono>
#include <cstddef>

namespace tutti::emulation {

inline constexpr int kMaxDevices = 16;

struct Settings {
  int devices = 1;                  ///< TUTTI_EMULATED_DEVICES
  int multiprocessors = 132;        ///< TUTTI_EMULATED_MULTIPROCESSORS
  unsigned threads = 2;             ///< TUTTI_EMULATED_THREADS, of a block
  size_t memory = size_t{4} << 30;  ///< TUTTI_EMULATED_MEMORY, bytes of a device
  std::chrono::milliseconds patience = std::chrono::seconds{20};  ///< TUTTI_EMULATED_PATIENCE_MS
};

/// A value that is no number, or out of its range, ends the process with a line that names it.
const Settings& settings();

}  // namespace tutti::emulation
