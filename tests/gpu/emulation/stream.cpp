#include "tests/gpu/emulation/stream.h"

#include <array>
#include <cstdint>
#include <map>
#include <utility>

#include "tests/gpu/emulation/lasting.h"

namespace tutti::emulation {
namespace {

struct Streams {
  struct Default {
    Stream stream;
    std::vector<OperationPtr> orphans;  ///< the last of blocking streams that have been destroyed
  };

  std::array<Default, kMaxDevices> defaults;
  std::map<CUstream, std::unique_ptr<Stream>> created;
  std::map<CUevent, std::unique_ptr<Event>> events;
};

Streams& streams() {
  return lasting<Streams>();
}

Streams::Default& default_of(int device) {
  Streams::Default& found = streams().defaults.at(static_cast<size_t>(device));
  found.stream.device = device;
  found.stream.legacy = true;
  return found;
}

}  // namespace

Stream* stream_of(Scheduler::Lock&, CUstream handle, const Context& current) {
  // NULL, CU_STREAM_LEGACY and CU_STREAM_PER_THREAD
  if (reinterpret_cast<uintptr_t>(handle) <= 2) return &default_of(current.device).stream;
  const auto found = streams().created.find(handle);
  return found == streams().created.end() ? nullptr : found->second.get();
}

CUstream create_stream(Scheduler::Lock&, int device, bool blocking) {
  auto stream = std::make_unique<Stream>();
  stream->device = device;
  stream->blocking = blocking;
  const auto handle = reinterpret_cast<CUstream>(stream.get());
  streams().created.emplace(handle, std::move(stream));
  return handle;
}

bool destroy_stream(Scheduler::Lock& lock, CUstream handle) {
  const auto found = streams().created.find(handle);
  if (found == streams().created.end()) return false;
  const Stream& stream = *found->second;
  if (stream.capture != nullptr) {
    const std::shared_ptr<Capture> capture = stream.capture;
    capture->invalid = true;
    if (capture->origin == &stream) leave_capture(lock, *capture);
  }
  if (stream.blocking && stream.last != nullptr && !stream.last->ended) {
    default_of(stream.device).orphans.push_back(stream.last);
  }
  streams().created.erase(found);
  return true;
}

Event* event_of(Scheduler::Lock&, CUevent handle) {
  const auto found = streams().events.find(handle);
  return found == streams().events.end() ? nullptr : found->second.get();
}

CUevent create_event(Scheduler::Lock&, int device, bool timed) {
  auto event = std::make_unique<Event>();
  event->device = device;
  event->timed = timed;
  const auto handle = reinterpret_cast<CUevent>(event.get());
  streams().events.emplace(handle, std::move(event));
  return handle;
}

bool destroy_event(Scheduler::Lock&, CUevent handle) {
  return streams().events.erase(handle) != 0;
}

CUresult usable(Scheduler::Lock&, const Stream& stream) {
  if (stream.capture != nullptr) {
    return stream.capture->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
  }
  if (!stream.legacy) return CUDA_SUCCESS;
  CUresult result = CUDA_SUCCESS;
  for (const auto& [handle, other] : streams().created) {
    if (other->device != stream.device || !other->blocking || other->capture == nullptr) continue;
    other->capture->invalid = true;
    result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  }
  return result;
}

std::vector<OperationPtr> before_next(Scheduler::Lock&, const Stream& stream) {
  std::vector<OperationPtr> before{stream.last};
  if (!stream.legacy) {
    if (stream.blocking) before.push_back(default_of(stream.device).stream.last);
    return before;
  }
  auto& orphans = default_of(stream.device).orphans;
  std::erase_if(orphans, [](const OperationPtr& operation) { return operation->ended; });
  before.insert(before.end(), orphans.begin(), orphans.end());
  for (const auto& [handle, other] : streams().created) {
    if (other->device == stream.device && other->blocking) before.push_back(other->last);
  }
  return before;
}

CUresult enqueue(Scheduler::Lock& lock, Stream& stream, Work work, OperationPtr* done) {
  if (const CUresult result = usable(lock, stream); result != CUDA_SUCCESS) return result;
  work.device = stream.device;
  if (stream.capture != nullptr) {
    auto& nodes = stream.capture->graph->nodes;
    nodes.push_back({std::move(work), stream.tail});
    stream.tail = {nodes.size() - 1};
    return CUDA_SUCCESS;
  }
  stream.last = scheduler().submit(lock, std::move(work), before_next(lock, stream));
  if (done != nullptr) *done = stream.last;
  return CUDA_SUCCESS;
}

std::vector<Stream*> streams_of(Scheduler::Lock&, const Capture& capture) {
  std::vector<Stream*> found;
  for (const auto& [handle, stream] : streams().created) {
    if (stream->capture.get() == &capture) found.push_back(stream.get());
  }
  return found;
}

std::shared_ptr<const Graph> leave_capture(Scheduler::Lock& lock, Capture& capture) {
  end_capture(lock, capture);
  std::shared_ptr<const Graph> graph = std::exchange(capture.graph, nullptr);
  for (Stream* const stream : streams_of(lock, capture)) {
    stream->tail.clear();
    stream->capture = nullptr;
  }
  return graph;
}

std::vector<OperationPtr> everything_on(Scheduler::Lock& lock, int device) {
  std::vector<OperationPtr> all = before_next(lock, default_of(device).stream);
  for (const auto& [handle, stream] : streams().created) {
    if (stream->device == device) all.push_back(stream->last);
  }
  return all;
}

bool is_capturing(Scheduler::Lock&, int device) {
  for (const auto& [handle, stream] : streams().created) {
    if (stream->device == device && stream->capture != nullptr) return true;
  }
  return false;
}

bool is_blocking_capture(Scheduler::Lock&, int device) {
  for (const auto& [handle, stream] : streams().created) {
    if (stream->device == device && stream->blocking && stream->capture != nullptr) return true;
  }
  return false;
}

}  // namespace tutti::emulation
