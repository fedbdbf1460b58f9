// Captured graphs and their replay.
//
// Nodes are numbered in the order of capture, so each comes after those that it depends on. A graph that runs is as many operations as it has
// nodes, between what was in the stream before it and an operation that ends it; its next run begins after that.
#include <map>
#include <utility>

#include "tests/gpu/emulation/lasting.h"
#include "tests/gpu/emulation/stream.h"

namespace tutti::emulation {
namespace {

struct Executable {
  std::shared_ptr<const Graph> graph;
  OperationPtr last;
};

/// Guarded by the scheduler's mutex.
struct Graphs {
  std::map<CUgraph, std::shared_ptr<const Graph>> graphs;
  std::map<CUgraphExec, std::unique_ptr<Executable>> executables;
};

Graphs& graphs() {
  return lasting<Graphs>();
}

CUgraph handle_of(const Graph* graph) {
  return reinterpret_cast<CUgraph>(const_cast<Graph*>(graph));
}
CUgraphNode handle_of(const Node& node) {
  return reinterpret_cast<CUgraphNode>(const_cast<Node*>(&node));
}

/// Which nodes the end of `tail` implies.
std::vector<bool> implied_by(const Graph& graph, const std::vector<size_t>& tail) {
  std::vector<bool> implied(graph.nodes.size());
  for (const size_t node : tail) implied[node] = true;
  for (size_t node = graph.nodes.size(); node-- > 0;) {
    if (!implied[node]) continue;
    for (const size_t before : graph.nodes[node].after) implied[before] = true;
  }
  return implied;
}

/// Everything captured on other streams comes before something on the origin.
bool is_joined(Scheduler::Lock& lock, const Capture& capture) {
  const std::vector<bool> implied = implied_by(*capture.graph, capture.origin->tail);
  for (const Stream* const stream : streams_of(lock, capture)) {
    for (const size_t node : stream->tail) {
      if (!implied[node]) return false;
    }
  }
  return true;
}

/// Nodes that no other node comes after.
std::vector<size_t> leaves_of(const Graph& graph) {
  std::vector<bool> followed(graph.nodes.size());
  for (const Node& node : graph.nodes) {
    for (const size_t before : node.after) followed[before] = true;
  }
  std::vector<size_t> leaves;
  for (size_t node = 0; node < followed.size(); ++node) {
    if (!followed[node]) leaves.push_back(node);
  }
  return leaves;
}

/// A graph launched into a stream that captures: its nodes become nodes of the new graph.
void splice(Stream& stream, const Graph& graph) {
  auto& nodes = stream.capture->graph->nodes;
  const size_t first = nodes.size();
  for (const Node& node : graph.nodes) {
    Node copy{node.work, node.after};
    for (size_t& before : copy.after) before += first;
    if (copy.after.empty()) copy.after = stream.tail;
    nodes.push_back(std::move(copy));
  }
  if (graph.nodes.empty()) return;
  stream.tail = leaves_of(graph);
  for (size_t& node : stream.tail) node += first;
}

void run(Scheduler::Lock& lock, Stream& stream, Executable& executable) {
  const Graph& graph = *executable.graph;
  std::vector<OperationPtr> before = before_next(lock, stream);
  before.push_back(executable.last);
  std::vector<OperationPtr> operations;
  for (const Node& node : graph.nodes) {
    std::vector<OperationPtr> after;
    for (const size_t earlier : node.after) after.push_back(operations[earlier]);
    operations.push_back(scheduler().submit(lock, node.work, node.after.empty() ? before : after));
  }
  for (const size_t leaf : leaves_of(graph)) before.push_back(operations[leaf]);
  Work end;
  end.device = stream.device;
  stream.last = executable.last = scheduler().submit(lock, std::move(end), before);
}

/// A question about the capture of a default stream is refused while a blocking stream captures.
CUresult capture_of(Scheduler::Lock& lock, CUstream handle, const Context& current, Stream*& stream,
                    CUstreamCaptureStatus* status) {
  stream = stream_of(lock, handle, current);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (status == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (stream->legacy && is_blocking_capture(lock, stream->device)) return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  *status = CU_STREAM_CAPTURE_STATUS_NONE;
  if (stream->capture != nullptr) {
    *status =
        stream->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  }
  return CUDA_SUCCESS;
}

CUresult capture_info(CUstream handle, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph,
                      const CUgraphNode** dependencies, size_t* count) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  Stream* stream = nullptr;
  if (const CUresult result = capture_of(lock, handle, *current, stream, status); result != CUDA_SUCCESS)
    return result;
  if (*status != CU_STREAM_CAPTURE_STATUS_ACTIVE) return CUDA_SUCCESS;
  stream->shown.clear();
  for (const size_t node : stream->tail)
    stream->shown.push_back(handle_of(stream->capture->graph->nodes[node]));
  if (id != nullptr) *id = stream->capture->id;
  if (graph != nullptr) *graph = handle_of(stream->capture->graph.get());
  if (dependencies != nullptr) *dependencies = stream->shown.data();
  if (count != nullptr) *count = stream->shown.size();
  return CUDA_SUCCESS;
}

}  // namespace
}  // namespace tutti::emulation

using namespace tutti::emulation;

extern "C" {

CUresult CUDAAPI cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  Stream* const stream = stream_of(lock, handle, *current);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->legacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (stream->capture != nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  stream->capture = begin_capture(lock, mode, *stream);
  stream->tail.clear();
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamEndCapture(CUstream handle, CUgraph* graph) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *graph = nullptr;
  auto lock = scheduler().lock();
  const Stream* const stream = stream_of(lock, handle, *current);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  const std::shared_ptr<Capture> capture = stream->capture;
  if (capture->origin != stream) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != std::this_thread::get_id()) {
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  }
  const bool joined = is_joined(lock, *capture);
  const std::shared_ptr<const Graph> captured = leave_capture(lock, *capture);
  if (capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (!joined) return CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
  *graph = handle_of(captured.get());
  graphs().graphs.emplace(*graph, captured);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus* status) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  Stream* stream = nullptr;
  return capture_of(lock, handle, *current, stream, status);
}

#if CUDA_VERSION >= 13000
CUresult CUDAAPI cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id,
                                        CUgraph* graph, const CUgraphNode** dependencies,
                                        const CUgraphEdgeData** edges, size_t* count) {
  if (edges != nullptr) *edges = nullptr;
  return capture_info(stream, status, id, graph, dependencies, count);
}
#else
CUresult CUDAAPI cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id,
                                        CUgraph* graph, const CUgraphNode** dependencies, size_t* count) {
  return capture_info(stream, status, id, graph, dependencies, count);
}
#endif

CUresult CUDAAPI cuGraphGetNodes(CUgraph handle, CUgraphNode* nodes, size_t* count) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  const auto graph = graphs().graphs.find(handle);
  if (graph == graphs().graphs.end() || count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto& all = graph->second->nodes;
  for (size_t node = 0; nodes != nullptr && node < *count; ++node) {
    nodes[node] = node < all.size() ? handle_of(all[node]) : nullptr;
  }
  if (nodes == nullptr) *count = all.size();
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphInstantiate(CUgraphExec* executable, CUgraph handle, unsigned long long flags) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  const auto graph = graphs().graphs.find(handle);
  if (executable == nullptr || graph == graphs().graphs.end() || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  auto made = std::make_unique<Executable>();
  made->graph = graph->second;
  *executable = reinterpret_cast<CUgraphExec>(made.get());
  graphs().executables.emplace(*executable, std::move(made));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphUpload(CUgraphExec handle, CUstream) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  return graphs().executables.count(handle) != 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult CUDAAPI cuGraphLaunch(CUgraphExec handle, CUstream stream_handle) {
  Context* current = nullptr;
  if (const CUresult result = enter(current); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  const auto executable = graphs().executables.find(handle);
  if (executable == graphs().executables.end()) return CUDA_ERROR_INVALID_VALUE;
  Stream* const stream = stream_of(lock, stream_handle, *current);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult result = usable(lock, *stream); result != CUDA_SUCCESS) return result;
  if (stream->capture != nullptr) {
    splice(*stream, *executable->second->graph);
  } else {
    run(lock, *stream, *executable->second);
  }
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphExecDestroy(CUgraphExec handle) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  return graphs().executables.erase(handle) != 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult CUDAAPI cuGraphDestroy(CUgraph handle) {
  if (const CUresult result = enter(); result != CUDA_SUCCESS) return result;
  auto lock = scheduler().lock();
  return graphs().graphs.erase(handle) != 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // extern "C"
