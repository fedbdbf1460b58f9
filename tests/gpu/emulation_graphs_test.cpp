// The emulated driver itself: stream capture and graphs.
#include <algorithm>
#include <thread>

#include "tests/gpu/emulation_support.h"

namespace {

constexpr uint32_t kCount = 300;

AffineParameters affine(CUdeviceptr to, uint32_t factor, uint32_t add) {
  return {reinterpret_cast<uint32_t*>(to), kCount, factor, add};
}

bool all_are(CUdeviceptr data, uint32_t value) {
  const auto* const words = reinterpret_cast<const uint32_t*>(data);
  return std::all_of(words, words + kCount, [&](uint32_t word) { return word == value; });
}

CUstreamCaptureStatus status_of(const InContext& in, CUstream stream) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  REQUIRE(in.cuda.cuStreamIsCapturing(stream, &status) == CUDA_SUCCESS);
  return status;
}

/// A capture in which a refused call has been made ends with that error and without a graph.
void check_invalidated(const InContext& in, CUstream stream) {
  CHECK(status_of(in, stream) == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
  CUgraph graph = nullptr;
  CHECK(in.cuda.cuStreamEndCapture(stream, &graph) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  CHECK(graph == nullptr);
  CHECK(status_of(in, stream) == CU_STREAM_CAPTURE_STATUS_NONE);
}

CUgraph end_capture(const InContext& in, CUstream stream) {
  CUgraph graph = nullptr;
  REQUIRE(in.cuda.cuStreamEndCapture(stream, &graph) == CUDA_SUCCESS);
  return graph;
}

CUgraphExec instantiate(const InContext& in, CUgraph graph) {
  CUgraphExec executable = nullptr;
  REQUIRE(in.cuda.cuGraphInstantiate(&executable, graph, 0) == CUDA_SUCCESS);
  return executable;
}

size_t nodes_of(const InContext& in, CUgraph graph) {
  size_t count = 0;
  REQUIRE(in.cuda.cuGraphGetNodes(graph, nullptr, &count) == CUDA_SUCCESS);
  return count;
}

}  // namespace

TEST_CASE("emulation: a graph with a fork and a join is replayed any number of times") {
  const InContext in;
  const CUstream origin = in.stream();
  const CUstream side = in.stream();
  const CUevent fork = in.event();
  const CUevent join = in.event();
  const CUdeviceptr left = in.allocate(kCount * 4);
  const CUdeviceptr right = in.allocate(kCount * 4);
  REQUIRE(in.cuda.cuMemsetD32Async(left, 1, kCount, origin) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuStreamSynchronize(origin) == CUDA_SUCCESS);

  REQUIRE(in.cuda.cuStreamBeginCapture(origin, CU_STREAM_CAPTURE_MODE_GLOBAL) == CUDA_SUCCESS);
  CHECK(in.cuda.cuStreamBeginCapture(origin, CU_STREAM_CAPTURE_MODE_GLOBAL) == CUDA_ERROR_ILLEGAL_STATE);
  REQUIRE(in.launch("affine", origin, affine(left, 3, 1)) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuEventRecord(fork, origin) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuStreamWaitEvent(side, fork, 0) == CUDA_SUCCESS);
  CHECK(status_of(in, side) == CU_STREAM_CAPTURE_STATUS_ACTIVE);
  REQUIRE(in.cuda.cuMemcpyDtoDAsync(right, left, kCount * 4, side) == CUDA_SUCCESS);
  REQUIRE(in.launch("affine", side, affine(right, 10, 0)) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuEventRecord(join, side) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuStreamWaitEvent(origin, join, 0) == CUDA_SUCCESS);
  REQUIRE(in.launch("affine", origin, affine(right, 1, 7)) == CUDA_SUCCESS);
  // Nothing of it has been done.
  CHECK((all_are(left, 1) && all_are(right, 0xA7A7A7A7)));
  CUgraph graph = end_capture(in, origin);
  CHECK(status_of(in, side) == CU_STREAM_CAPTURE_STATUS_NONE);
  CHECK(nodes_of(in, graph) == 4);

  const CUgraphExec executable = instantiate(in, graph);
  CHECK(in.cuda.cuGraphDestroy(graph) == CUDA_SUCCESS);
  uint32_t value = 1;
  for (int replay = 0; replay < 50; ++replay) {
    REQUIRE(in.cuda.cuGraphLaunch(executable, replay % 2 == 0 ? origin : side) == CUDA_SUCCESS);
    value = value * 3 + 1;
  }
  CHECK(in.cuda.cuGraphExecDestroy(executable) == CUDA_SUCCESS);
  CHECK(in.cuda.cuCtxSynchronize() == CUDA_SUCCESS);
  CHECK((all_are(left, value) && all_are(right, value * 10 + 7)));
  CHECK(in.cuda.cuGraphLaunch(executable, origin) == CUDA_ERROR_INVALID_VALUE);
  for (const CUevent each : {fork, join}) CHECK(in.cuda.cuEventDestroy(each) == CUDA_SUCCESS);
  for (const CUstream each : {origin, side}) CHECK(in.cuda.cuStreamDestroy(each) == CUDA_SUCCESS);
}

TEST_CASE("emulation: a graph comes after what is in its stream and before what follows") {
  const InContext in;
  const CUstream stream = in.stream();
  const CUstream other = in.stream();
  const CUdeviceptr data = in.allocate(kCount * 4);
  REQUIRE(in.cuda.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED) == CUDA_SUCCESS);
  REQUIRE(in.launch("affine", stream, affine(data, 2, 0)) == CUDA_SUCCESS);
  CUgraph graph = end_capture(in, stream);
  const CUgraphExec executable = instantiate(in, graph);
  // Captured into a larger one, twice.
  REQUIRE(in.cuda.cuStreamBeginCapture(other, CU_STREAM_CAPTURE_MODE_RELAXED) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuGraphLaunch(executable, other) == CUDA_SUCCESS);
  REQUIRE(in.launch("affine", other, affine(data, 1, 3)) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuGraphLaunch(executable, other) == CUDA_SUCCESS);
  CUgraph larger = end_capture(in, other);
  CHECK(nodes_of(in, larger) == 3);
  const CUgraphExec both = instantiate(in, larger);
  {
    Gate gate(in, stream);
    REQUIRE(in.cuda.cuMemsetD32Async(data, 5, kCount, stream) == CUDA_SUCCESS);
    REQUIRE(in.cuda.cuGraphLaunch(executable, stream) == CUDA_SUCCESS);
    REQUIRE(in.cuda.cuGraphLaunch(both, stream) == CUDA_SUCCESS);
    REQUIRE(in.launch("affine", stream, affine(data, 1, 1)) == CUDA_SUCCESS);
  }
  CHECK(in.cuda.cuStreamSynchronize(stream) == CUDA_SUCCESS);
  CHECK(all_are(data, (5 * 2 * 2 + 3) * 2 + 1));
  for (const CUgraphExec each : {executable, both}) CHECK(in.cuda.cuGraphExecDestroy(each) == CUDA_SUCCESS);
  for (const CUgraph each : {graph, larger}) CHECK(in.cuda.cuGraphDestroy(each) == CUDA_SUCCESS);
  for (const CUstream each : {stream, other}) CHECK(in.cuda.cuStreamDestroy(each) == CUDA_SUCCESS);
}

TEST_CASE("emulation: what must not be done with a stream that captures") {
  const InContext in;
  const CUstream stream = in.stream(CU_STREAM_DEFAULT);
  const CUstream side = in.stream();
  const CUevent event = in.event();
  const auto begin = [&](CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED) {
    REQUIRE(in.cuda.cuStreamBeginCapture(stream, mode) == CUDA_SUCCESS);
  };
  CUgraph graph = nullptr;
  CHECK(in.cuda.cuStreamBeginCapture(nullptr, CU_STREAM_CAPTURE_MODE_RELAXED) ==
        CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  CHECK(in.cuda.cuStreamEndCapture(stream, &graph) == CUDA_ERROR_ILLEGAL_STATE);

  SECTION("wait for it") {
    begin();
    CHECK(in.cuda.cuStreamSynchronize(stream) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CHECK(in.cuda.cuStreamQuery(stream) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CHECK(in.cuda.cuCtxSynchronize() == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CHECK(in.launch("gate", stream, GateParameters{}) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    check_invalidated(in, stream);
  }
  SECTION("wait for an event of it") {
    begin();
    REQUIRE(in.cuda.cuEventRecord(event, stream) == CUDA_SUCCESS);
    CHECK(in.cuda.cuEventQuery(event) == CUDA_ERROR_CAPTURED_EVENT);
    check_invalidated(in, stream);
    CHECK(in.cuda.cuEventSynchronize(event) == CUDA_ERROR_CAPTURED_EVENT);
    CHECK(in.cuda.cuStreamWaitEvent(side, event, 0) != CUDA_SUCCESS);
  }
  SECTION("make it wait for something outside") {
    REQUIRE(in.cuda.cuEventRecord(event, side) == CUDA_SUCCESS);
    begin();
    CHECK(in.cuda.cuStreamWaitEvent(stream, event, 0) == CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    check_invalidated(in, stream);
  }
  SECTION("merge it with another capture") {
    begin();
    REQUIRE(in.cuda.cuStreamBeginCapture(side, CU_STREAM_CAPTURE_MODE_RELAXED) == CUDA_SUCCESS);
    REQUIRE(in.cuda.cuEventRecord(event, side) == CUDA_SUCCESS);
    CHECK(in.cuda.cuStreamWaitEvent(stream, event, 0) == CUDA_ERROR_STREAM_CAPTURE_MERGE);
    check_invalidated(in, stream);
    check_invalidated(in, side);
  }
  SECTION("leave a stream unjoined, or end it elsewhere") {
    begin();
    REQUIRE(in.cuda.cuEventRecord(event, stream) == CUDA_SUCCESS);
    REQUIRE(in.cuda.cuStreamWaitEvent(side, event, 0) == CUDA_SUCCESS);
    REQUIRE(in.launch("gate", side, GateParameters{}) == CUDA_SUCCESS);
    CHECK(in.cuda.cuStreamEndCapture(side, &graph) == CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    CHECK(in.cuda.cuStreamEndCapture(stream, &graph) == CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    CHECK(graph == nullptr);
    CHECK(status_of(in, side) == CU_STREAM_CAPTURE_STATUS_NONE);
  }
  SECTION("use the default stream meanwhile") {
    begin();
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    CHECK(in.cuda.cuStreamIsCapturing(nullptr, &status) == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    CHECK(status_of(in, stream) == CU_STREAM_CAPTURE_STATUS_ACTIVE);
    CHECK(in.launch("gate", nullptr, GateParameters{}) == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    check_invalidated(in, stream);
  }
  SECTION("end it on another thread") {
    begin(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    CUresult elsewhere = CUDA_SUCCESS;
    std::thread([&] {
      in.cuda.cuCtxPushCurrent(in.context);
      elsewhere = in.cuda.cuStreamEndCapture(stream, &graph);
    }).join();
    CHECK(elsewhere == CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    CHECK(in.cuda.cuGraphDestroy(end_capture(in, stream)) == CUDA_SUCCESS);
  }
  CHECK(in.cuda.cuEventDestroy(event) == CUDA_SUCCESS);
  for (const CUstream each : {stream, side}) CHECK(in.cuda.cuStreamDestroy(each) == CUDA_SUCCESS);
}

TEST_CASE("emulation: a capture forbids calls that could wait, by its mode and the thread's") {
  const InContext in;
  const CUstream stream = in.stream();
  const auto allocate = [&] {
    CUdeviceptr pointer = 0;
    const CUresult result = in.cuda.cuMemAlloc(&pointer, 8);
    if (result == CUDA_SUCCESS) in.cuda.cuMemFree(pointer);
    return result;
  };
  const auto allocate_elsewhere = [&](CUstreamCaptureMode mode) {
    CUresult result = CUDA_ERROR_UNKNOWN;
    std::thread([&] {
      in.cuda.cuCtxPushCurrent(in.context);
      in.cuda.cuThreadExchangeStreamCaptureMode(&mode);
      result = allocate();
    }).join();
    return result;
  };
  using Mode = CUstreamCaptureMode;
  constexpr Mode kGlobal = CU_STREAM_CAPTURE_MODE_GLOBAL;
  constexpr Mode kLocal = CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
  constexpr Mode kRelaxed = CU_STREAM_CAPTURE_MODE_RELAXED;
  struct Case {
    Mode capture;
    Mode thread;  ///< of another thread
    bool here;
    bool elsewhere;
  };
  for (const Case& c : {Case{kGlobal, kGlobal, false, false}, Case{kGlobal, kLocal, false, true},
                        Case{kGlobal, kRelaxed, false, true}, Case{kLocal, kGlobal, false, true},
                        Case{kRelaxed, kGlobal, true, true}}) {
    for (const bool here : {true, false}) {
      REQUIRE(in.cuda.cuStreamBeginCapture(stream, c.capture) == CUDA_SUCCESS);
      const bool allowed = here ? c.here : c.elsewhere;
      const CUresult result = here ? allocate() : allocate_elsewhere(c.thread);
      CHECK(result == (allowed ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED));
      if (allowed) {
        CHECK(in.cuda.cuGraphDestroy(end_capture(in, stream)) == CUDA_SUCCESS);
      } else {
        check_invalidated(in, stream);
      }
    }
  }
  Mode mode = kRelaxed;
  CHECK(in.cuda.cuThreadExchangeStreamCaptureMode(&mode) == CUDA_SUCCESS);
  CHECK(mode == kGlobal);
  REQUIRE(in.cuda.cuStreamBeginCapture(stream, kGlobal) == CUDA_SUCCESS);
  CHECK(allocate() == CUDA_SUCCESS);
  // A capture goes with its stream.
  CHECK(in.cuda.cuStreamDestroy(stream) == CUDA_SUCCESS);
  CHECK(in.cuda.cuThreadExchangeStreamCaptureMode(&mode) == CUDA_SUCCESS);
  CHECK(allocate() == CUDA_SUCCESS);
}
