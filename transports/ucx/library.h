// The part of UCX that the transport uses, as C++ objects that clean up after themselves: context, worker, registered memory.
#pragma once

#include <ucp/api/ucp.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace tutti::ucx {

/// Throws Error(system_error) saying "UCX: <what>: <why>" unless `status` is UCS_OK.
void require(ucs_status_t status, std::string_view what);

/// A UCX context set up for port channels, with one worker for one thread.
class Worker {
 public:
  /// `peers`: about how many endpoints there will be. `one_sided`: whether ucp_put_nbx will be called.
  Worker(int peers, bool one_sided);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  ucp_context_h context() const { return context_; }
  ucp_worker_h get() const { return worker_; }
  /// Where it can be reached, as UCX packs it.
  std::string address() const;
  /// Readable when there is something to progress.
  int descriptor() const { return descriptor_; }

 private:
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  int descriptor_ = -1;  // UCX's own
};

/// Memory that peers may write one-sidedly.
class Registration {
 public:
  Registration(ucp_context_h context, void* address, size_t bytes);
  ~Registration();
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

  /// What a peer needs to write it.
  const std::string& rkey() const { return rkey_; }

 private:
  ucp_context_h context_;
  ucp_mem_h memory_ = nullptr;
  std::string rkey_;
};

/// Which network the lanes of an endpoint use, from UCX's description of it: "tcp/eth0", "rc_mlx5/mlx5_0:1". The lane that
/// carries active messages, or else the first. Empty where the text names none.
std::string route_in(std::string_view description);

/// The description of an endpoint that ucp_ep_print_info() writes.
std::string describe(ucp_ep_h endpoint);

/// True where a route's network does one-sided puts in hardware.
bool is_one_sided(std::string_view route);

}  // namespace tutti::ucx
