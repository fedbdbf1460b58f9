// What libibverbs gives out and wants back, owned.
#pragma once

#include <infiniband/verbs.h>

#include <memory>

namespace tutti::verbs {

/// Calls `Release` on the pointer. What it answers is of no use: there is nothing left to try.
template <auto Release>
struct Releaser {
  template <typename T>
  void operator()(T* handle) const {
    static_cast<void>(Release(handle));
  }
};

using DeviceList = std::unique_ptr<ibv_device*, Releaser<ibv_free_device_list>>;
using Context = std::unique_ptr<ibv_context, Releaser<ibv_close_device>>;
using Domain = std::unique_ptr<ibv_pd, Releaser<ibv_dealloc_pd>>;
using EventChannel = std::unique_ptr<ibv_comp_channel, Releaser<ibv_destroy_comp_channel>>;
using CompletionQueue = std::unique_ptr<ibv_cq, Releaser<ibv_destroy_cq>>;
using QueuePair = std::unique_ptr<ibv_qp, Releaser<ibv_destroy_qp>>;
using Region = std::unique_ptr<ibv_mr, Releaser<ibv_dereg_mr>>;
using PathHandle = std::unique_ptr<ibv_ah, Releaser<ibv_destroy_ah>>;

}  // namespace tutti::verbs
