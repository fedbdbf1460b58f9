// CUDA graphs, for tests: what a stream captures, and replaying it. Straight from the driver, which the library needs no graphs of.
#pragma once

#include <dlfcn.h>

#include <cstdlib>

#include "tests/runtime/support/expect.h"
#include "transports/cuda_ipc/device.h"

#define TUTTI_TEXT2(name) #name
#define TUTTI_TEXT(name) TUTTI_TEXT2(name)

/// The driver's function of that name, with the symbol that cuda.h gives it.
#define TUTTI_DRIVER_FUNCTION(name) reinterpret_cast<decltype(&::name)>(driver_symbol(TUTTI_TEXT(name)))

inline void* driver_symbol(const char* symbol) {
  const char* library = std::getenv("TUTTI_CUDA_LIBRARY");
  void* handle = dlopen(library != nullptr ? library : "libcuda.so.1", RTLD_NOW);
  void* found = handle != nullptr ? dlsym(handle, symbol) : nullptr;
  expect(found != nullptr, "the driver has no {}", symbol);
  return found;
}

/// What `stream` gets between construction and launch() or end() is captured.
class Graph {
 public:
  Graph(const tutti::cuda::Driver& driver, CUstream stream) : driver_(driver), stream_(stream) {
    driver_.check(TUTTI_DRIVER_FUNCTION(cuStreamBeginCapture)(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
                  "cuStreamBeginCapture");
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() {
    if (executable_ != nullptr) TUTTI_DRIVER_FUNCTION(cuGraphExecDestroy)(executable_);
    if (graph_ != nullptr) TUTTI_DRIVER_FUNCTION(cuGraphDestroy)(graph_);
  }
  void end() {
    driver_.check(TUTTI_DRIVER_FUNCTION(cuStreamEndCapture)(stream_, &graph_), "cuStreamEndCapture");
    driver_.check(TUTTI_DRIVER_FUNCTION(cuGraphInstantiate)(&executable_, graph_, 0), "cuGraphInstantiate");
  }
  void launch() const {
    driver_.check(TUTTI_DRIVER_FUNCTION(cuGraphLaunch)(executable_, stream_), "cuGraphLaunch");
  }

 private:
  const tutti::cuda::Driver& driver_;
  CUstream stream_;
  CUgraph graph_ = nullptr;
  CUgraphExec executable_ = nullptr;
};
