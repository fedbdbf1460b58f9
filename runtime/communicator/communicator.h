// One rank's communicator: takes calls, turns them into operations, and runs those in order.
//
// Life of an operation: begin() checks the call, gives it an epoch, a signature and a place in scratch, and queues it. The
// operation at the head of the queue runs in the interpreter whenever somebody waits or tests. finish() waits for one
// and, through the wait loop, for everything queued before it. So progress is made on the caller's own thread. (Where there are
// several nodes the control tree has a thread, which sleeps but for errors, surveys and a heartbeat, and looks after transports that mend
// what fails: a rank that has done its part of an operation, and computes or waits in another communicator, may be needed again.)
//
// Errors. What begin() refuses leaves the communicator as it was. Anything later poisons it: the text goes to all ranks
// through the abort token and the control tree, every queued operation ends with it, and every later call returns it.
//
// A Communicator is used by one thread at a time; only abort() may come from any thread.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "collectives/executors/host/interpreter.h"
#include "core/wait_loop.h"
#include "runtime/communicator/custody.h"
#include "runtime/communicator/device_path.h"
#include "runtime/communicator/settings.h"
#include "runtime/communicator/signature.h"
#include "runtime/communicator/world.h"
#include "runtime/statistics/statistics.h"

namespace tutti {

class Communicator {
 public:
  static constexpr size_t kMaxOutstanding = 64;

  Communicator(std::unique_ptr<World> world, const Settings& settings);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return endpoint_.rank; }
  int size() const { return endpoint_.ranks(); }
  int nodes() const { return world_->placement.node_count(); }

  /// Queues an operation; `ticket` names it from then on. Not success: nothing was queued.
  Result begin(const Call& call, const void* send, void* recv, uint64_t& ticket);

  /// Waits until the operation is complete or `limit_ns` have passed (in_progress then).
  Result finish(uint64_t ticket, uint64_t limit_ns = UINT64_MAX);

  /// The same without waiting.
  Result test(uint64_t ticket);

  /// Notes why a call is not begun; the communicator stays as it was.
  Result refuse(Result code, const Call& call, const std::string& what);
  /// What begin() refuses, without beginning.
  Result check_on_host(const Call& call, const void* send, const void* recv);

  // Operations on device memory: a sequence of their own, beside those on host memory.
  void use_device(std::unique_ptr<DevicePath> device) { device_ = std::move(device); }
  DevicePath* device() const { return device_.get(); }
  /// Whether calls must ask choose_place() even without a stream.
  bool looks_at_memory() const { return device_ != nullptr || guards_host_memory_; }
  /// Collective: device memory that peers may use in place where the device path can map it, host memory that leaves without a copy where a transport can
  /// do that; elsewhere it changes nothing. The number of the registration, the same on all ranks. Throw Error.
  uint64_t register_buffer(const void* buffer, size_t bytes);
  void deregister_buffer(uint64_t id);
  /// True where the call works on device memory: Not success: buffers that do not go together.
  Result choose_place(const Call& call, const void* send, const void* recv, const void* stream,
                      bool& on_device);
  /// What must be right before an operation on the device is enqueued: not poisoned, usable arguments.
  Result check_on_device(const Call& call, const void* send, const void* recv);
  /// Enqueues it on `stream`.
  Result run_on_device(const Call& call, const void* send, void* recv, void* stream);
  /// An operation on the device could not be enqueued though others may be waiting for it.
  Result device_failed(const Call& call, const std::string& problem);

  /// begin() and finish().
  Result run(const Call& call, const void* send, void* recv) {
    uint64_t ticket = 0;
    const Result begun = begin(call, send, recv, ticket);
    return begun == Result::success ? finish(ticket) : begun;
  }

  void abort();
  /// success, or the error that poisoned the communicator.
  Result query();

  /// The latest ticket given out whose low half is `low`: what a request handle keeps.
  uint64_t whole_ticket(uint32_t low) const {
    return tail_ - 1 - static_cast<uint32_t>(static_cast<uint32_t>(tail_ - 1) - low);
  }

  /// What the last call that did not succeed has to say.
  const std::string& error_text() const { return error_text_; }

  plan::Algorithm algorithm_for(Collective collective, uint64_t bytes) const;

  /// Who is where, how each peer is reached, what went there and how long this rank waited for it; text for people.
  std::string describe() const;

  /// Of operations on host memory (docs/statistics.md): "json" or "prometheus". Any thread. Throws Error.
  std::string statistics(const std::string& format) const;
  /// Writes the file that TUTTI_STATS asks for; any thread.
  void write_statistics() const noexcept;

 private:
  struct Pending {
    host::Operation operation;
    Call call;
    uint64_t epoch = 0;
    uint64_t begun = 0;  // ticks at the first test or limited wait; 0: none yet
  };
  /// A plan, and its last binding: loops repeat the same call.
  struct CachedPlan {
    std::unique_ptr<plan::Plan> plan;
    plan::Binding binding;
  };

  CachedPlan& cached_plan(const Call& call, plan::Algorithm algorithm);
  CachedPlan& plan_for(const Call& call);
  void serve_control();
  uint64_t look_after();
  /// Holds nothing where there are no transports.
  std::unique_lock<Custody> take_custody() const {
    return world_->networks ? std::unique_lock(custody_) : std::unique_lock<Custody>();
  }
  RankStatus status() const;
  void bind_operation(const Call& call, const void* send, void* recv, host::Operation& operation);
  void progress();
  void announce(const Pending& pending);

  void log_description() const noexcept;
  /// Waits for what was sent last, which may still be on its way to ranks that are late, and tells all ranks of what will never arrive.
  void leave_networks();
  std::string undelivered_text() const;
  Result check_call(const Call& call, const void* send, const void* recv);
  bool lies_on_device(const void* buffer) const;
  void register_with_networks(uint64_t id, const void* buffer, size_t bytes);
  Result check_without_device(const Call& call, const void* send, const void* recv, const void* stream);
  Result check_wait(uint64_t waited_ticks, uint64_t ticket);
  Result look_for_device_failure();
  Result poison(Result code, const std::string& what);
  Result adopt_poison();
  void give_up();
  void spread(Result code, const std::string& what);

  void find_mismatch();
  void find_lost_peer();
  void probe_awaited();
  bool find_broken_port();
  bool is_unexplained(const PortTransport::Failure& failure) const;
  std::string broken_text(const PortTransport::Failure& failure) const;
  static bool has_waited_for_news(uint64_t& since);
  void count_waiting(uint64_t waited_ticks);
  std::string lost_text(int peer) const;
  std::string slowest_text() const;
  void warn_of_late(uint64_t waited_ns);
  int first_lost() const;
  bool has_closed(int peer) const;
  bool has_ended(int peer) const;
  bool differs_from(int peer, std::string& text) const;
  bool first_difference(int peer, std::string& text) const;
  std::string culprits() const;
  std::string culprits_elsewhere() const;
  uint64_t survey_ns() const;
  bool is_overdue(uint64_t waited_ns);
  std::string rank_text(int rank) const { return world_->placement.rank_name(rank); }
  std::string ranks_text(const std::vector<int>& ranks) const;
  std::string position_text() const;
  std::string waiting_text() const;
  const Pending& head() const { return queue_[head_ % kMaxOutstanding]; }

  std::unique_ptr<World> world_;
  std::unique_ptr<DevicePath> device_;  // null: host memory only
  std::set<uint64_t> registered_;
  uint64_t next_registration_ = 1;
  std::string registration_problem_;  // the latest, of host memory
  bool guards_host_memory_;           // the process uses CUDA: buffers may be such that the host cannot reach
  Settings settings_;
  host::Endpoint endpoint_;
  std::vector<Poller*> pollers_;
  mutable Custody custody_;  // of these, and of the networks
  const reduce::Kernels& kernels_;
  host::Interpreter interpreter_;
  Sleeper sleeper_;
  WaitLoop wait_loop_;
  AbortToken abort_;
  [[no_unique_address]] OperationStatistics statistics_;
  [[no_unique_address]] JobStatistics job_statistics_;

  std::array<std::vector<Row>, kCollectives> tables_;
  std::array<std::vector<CachedPlan>, static_cast<size_t>(kCollectives) * plan::kAlgorithms>
      plans_;  // by root
  plan::Ring slots_;
  plan::Ring packets_;
  uint64_t ticks_ = 0;  // base of all counters: advanced by every operation
  uint64_t epoch_ = 0;  // of the latest operation
  uint64_t history_ = kNoHistory;

  std::array<Pending, kMaxOutstanding> queue_;
  uint64_t head_ = 0;  // tickets below are complete
  uint64_t tail_ = 0;  // the next ticket
  bool running_ = false;
  Result poisoned_ = Result::success;
  bool warned_ = false;
  bool surveyed_ = false;    // who is to blame was looked into, shortly before the deadline of this operation
  std::string culprits_;     // what came of it
  uint64_t next_check_ = 0;  // ticks
  uint64_t suspected_since_ = 0;  // ns: when a port first told that a peer is gone; 0: not in this operation
  uint64_t undelivered_since_ =
      0;  // ns: when it was first seen that something cannot be delivered; 0: nothing
  uint64_t next_probe_ns_ = 0;
  std::atomic<uint64_t> finished_epoch_ = 0;  // for surveys
  uint64_t counted_ = 0;                      // ticks of the current wait that are in waited_for_
  std::vector<uint64_t> waited_for_;          // by rank: ticks during which it was awaited
  std::string error_text_;
  std::string poison_text_;
};

}  // namespace tutti
