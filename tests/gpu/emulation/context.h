// Devices and their primary contexts, and what a call needs before it may do anything: a driver that has been initialised, by this very
// process, and a context that is current to the calling thread.
#pragma once

#include <atomic>

#include "tests/gpu/emulation/driver_api.h"

namespace tutti::emulation {

struct Context {
  int device = 0;
  std::atomic<unsigned> retained{0};  ///< the context exists while this is not zero
  std::atomic<unsigned> peers{0};     ///< bit d: may reach device d
};

inline CUcontext handle_of(Context& context) {
  return reinterpret_cast<CUcontext>(&context);
}
/// Null for what is no context.
Context* context_of(CUcontext handle);
Context& primary_context(int device);

/// cuInit has been called in this process, and not only in the one it was forked from.
CUresult enter();
/// The same, and `current` is the calling thread's context.
CUresult enter(Context*& current);

}  // namespace tutti::emulation
