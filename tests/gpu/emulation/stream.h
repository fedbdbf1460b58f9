// Streams and events as dependencies between operations.
//
// Legacy synchronisation: an operation on a device's default stream begins when everything on its blocking streams has ended, and what comes
// later on those begins when it has ended. Streams created as non-blocking know nothing of it. The per-thread default stream is
// taken for the default stream.
//
// All of this is guarded by the scheduler's mutex.
#pragma once

#include <memory>
#include <vector>

#include "tests/gpu/emulation/capture.h"
#include "tests/gpu/emulation/context.h"

namespace tutti::emulation {

struct Stream {
  int device = 0;
  bool legacy = false;
  bool blocking = true;
  OperationPtr last;
  std::shared_ptr<Capture> capture;  ///< while it captures
  std::vector<size_t> tail;          ///< what its next node comes after
  std::vector<CUgraphNode> shown;    ///< the same, as the last caller of cuStreamGetCaptureInfo sees it
};

struct Event {
  int device = 0;
  bool timed = true;
  OperationPtr recorded;
  std::shared_ptr<Capture> capture;  ///< recorded last in a capture, after the nodes `at`
  std::vector<size_t> at;
};

/// Null for what is no stream.
Stream* stream_of(Scheduler::Lock& lock, CUstream handle, const Context& current);
Event* event_of(Scheduler::Lock& lock, CUevent handle);
CUstream create_stream(Scheduler::Lock& lock, int device, bool blocking);
/// What has been handed to it goes on. A capture that it is part of becomes invalid.
bool destroy_stream(Scheduler::Lock& lock, CUstream handle);
CUevent create_event(Scheduler::Lock& lock, int device, bool timed);
bool destroy_event(Scheduler::Lock& lock, CUevent handle);

/// An error where the stream is part of an invalid capture, or the default stream while a blocking one of its device captures: that capture
/// is invalid from then on.
CUresult usable(Scheduler::Lock& lock, const Stream& stream);
/// What an operation that is enqueued on this stream at this moment has to wait for.
std::vector<OperationPtr> before_next(Scheduler::Lock& lock, const Stream& stream);
/// Does the work in stream order, or notes it where the stream captures. `done` is null then.
CUresult enqueue(Scheduler::Lock& lock, Stream& stream, Work work, OperationPtr* done = nullptr);

/// All streams of a capture, the origin among them.
std::vector<Stream*> streams_of(Scheduler::Lock& lock, const Capture& capture);
/// Ends it for all of them, and gives its graph.
std::shared_ptr<const Graph> leave_capture(Scheduler::Lock& lock, Capture& capture);
/// All operations that end last on a device.
std::vector<OperationPtr> everything_on(Scheduler::Lock& lock, int device);
bool is_capturing(Scheduler::Lock& lock, int device);
/// The same for streams that the default stream waits for.
bool is_blocking_capture(Scheduler::Lock& lock, int device);

}  // namespace tutti::emulation
