// Stream capture: operations that are noted in a graph instead of being done, and the calls that are refused meanwhile.
//
// A capture has one origin stream; others join it by waiting for an event recorded in it, and must be joined to the origin again before it
// ends. A refused call makes the captures that refused it invalid; they then end with an error and no graph.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "tests/gpu/emulation/driver_api.h"
#include "tests/gpu/emulation/scheduler.h"

namespace tutti::emulation {

struct Node {
  Work work;
  std::vector<size_t> after;  ///< nodes before this one
};

struct Graph {
  std::deque<Node> nodes;
};

struct Stream;

/// Guarded by the scheduler's mutex.
struct Capture {
  uint64_t id = 0;
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  std::thread::id thread;
  const Stream* origin = nullptr;
  std::shared_ptr<Graph> graph;  ///< none once it has ended
  bool invalid = false;
};

/// A new capture, begun by the calling thread.
std::shared_ptr<Capture> begin_capture(Scheduler::Lock& lock, CUstreamCaptureMode mode, const Stream& origin);
void end_capture(Scheduler::Lock& lock, const Capture& capture);

/// Whether the calling thread may make a call that could wait for the device or change it behind a capture's back.
CUresult may_call_unsafely(Scheduler::Lock& lock);
/// The same for a call during which the driver may wait until the device's kernels have ended; then waits for them.
CUresult may_synchronise(const char* call, int device);

}  // namespace tutti::emulation
