#include "runtime/communicator/communicator.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "collectives/algorithms/algorithms.h"
#include "core/error.h"
#include "core/log.h"
#include "runtime/device.h"

namespace tutti {

namespace {

/// Outputs from this size on are written past the caches (docs/performance.md).
constexpr uint64_t kStreamingBytes = uint64_t{8} << 20;

/// Between two looks at the health of peers by a rank that only tests: they may cost system calls.
constexpr uint64_t kCheckIntervalNs = 200'000;

const reduce::Kernels& choose_kernels(SimdChoice choice) {
  constexpr const char* kNames[] = {"auto", "portable", "avx2", "avx512"};
  if (choice == SimdChoice::automatic) return reduce::kernels();
  const char* name = kNames[static_cast<size_t>(choice)];
  const reduce::Kernels* kernels = reduce::kernels(name);
  if (kernels == nullptr) {
    raise(Result::unsupported, "TUTTI_SIMD={}: this processor or this build has no such instructions", name);
  }
  return *kernels;
}

WaitLoop::Settings wait_settings(const Settings& settings, const Crowd& crowd) {
  WaitLoop::Settings wait = settings.wait;
  // More ranks than processors: the awaited rank may need this very one, so it is handed over almost at once.
  if (!settings.spin_given && crowd.is_crowded()) {
    wait.fast_turns = 4;
    wait.spin_ns = 0;
  }
  return wait;
}

}  // namespace

Communicator::Communicator(std::unique_ptr<World> world, const Settings& settings)
    : world_(std::move(world)),
      guards_host_memory_(uses_cuda()),
      settings_(settings),
      endpoint_(world_->endpoint()),
      kernels_(choose_kernels(settings.simd)),
      interpreter_(endpoint_, kernels_),
      abort_(&world_->node->control().abort),
      statistics_(make_statistics(*world_, settings.epoch_start)),
      job_statistics_(make_job_statistics(*world_, statistics_, settings.epoch_start)),
      slots_(world_->node->layout.slots_size),
      packets_(world_->node->layout.packets_size),
      epoch_(settings.epoch_start - 1),
      waited_for_(static_cast<size_t>(endpoint_.ranks())) {
  if (world_->networks) pollers_ = world_->networks->pollers();
  sleeper_ = Sleeper(endpoint_.sleepers, world_->place(), endpoint_.self().wake_descriptor, pollers_);
  wait_loop_ = WaitLoop(wait_settings(settings, world_->crowd), &sleeper_, pollers_);
  const shm::Layout& layout = world_->node->layout;
  for (int c = 0; c < kCollectives; ++c) {
    tables_[static_cast<size_t>(c)] =
        selection_table(static_cast<Collective>(c), world_->shape(), settings_.tuning,
                        scratch_limits(layout.slots_size, layout.packets_size));
  }
  if (const std::string vain = forced_in_vain(world_->shape(), settings_.tuning);
      !vain.empty() && rank() == 0) {
    log(Level::warn, "the algorithm that was asked for is not used: {}", vain);
  }
  check_statistics_file(*world_, settings_.stats_file);
  if (world_->control) serve_control();
}

/// Once, while everything that it tells of is there.
void Communicator::log_description() const noexcept {
  if (!world_->networks || !log_enabled(Level::info)) return;
  try {
    log(Level::info, "{}", describe());
  } catch (const Error& error) {
    log(Level::info, "{} cannot be described: {}", rank_text(rank()), error.what());
  }
}

Communicator::~Communicator() {
  log_description();
  // Operations on the device have the buffers until they end.
  device_.reset();
  if (running_) interpreter_.withdraw();
  // Peers that still wait for this rank learn that it has left.
  publish(endpoint_.self().retired->closed, 1);
  endpoint_.wake_all();
  write_statistics();
  if (!world_->networks) return;
  leave_networks();
  // Its thread looks at this communicator's memory.
  world_->control.reset();
}

// ---- from a call to an operation --------------------------------------------------------------------------------------

plan::Algorithm Communicator::algorithm_for(Collective collective, uint64_t bytes) const {
  return select(tables_[static_cast<size_t>(collective)], bytes);
}

Communicator::CachedPlan& Communicator::cached_plan(const Call& call, plan::Algorithm algorithm) {
  auto& roots =
      plans_[static_cast<size_t>(call.collective) * plan::kAlgorithms + static_cast<size_t>(algorithm)];
  if (roots.size() <= static_cast<size_t>(call.root)) [[unlikely]]
    roots.resize(call.root == 0 ? 1 : static_cast<size_t>(size()));
  CachedPlan& cached = roots[static_cast<size_t>(call.root)];
  if (!cached.plan) [[unlikely]] {
    const auto& nodes = world_->placement.nodes;
    const plan::Shape shape = {
        .ranks = static_cast<uint16_t>(size()),
        .rank = static_cast<uint16_t>(rank()),
        .root = static_cast<uint16_t>(call.root),
        .credits = static_cast<uint16_t>(credits_for(algorithm, settings_.tuning)),
        .nodes = world_->placement.node_count() > 1 ? std::span(nodes) : std::span<const uint16_t>(),
        .one_process = world_->one_process};
    cached.plan = std::make_unique<plan::Plan>(algorithms::build(call.collective, algorithm, shape));
    cached.binding.element = 0;
  }
  return cached;
}

Communicator::CachedPlan& Communicator::plan_for(const Call& call) {
  CachedPlan& cached = cached_plan(call, algorithm_for(call.collective, call.bytes()));
  const auto element = static_cast<uint32_t>(size_of(call.datatype));
  if (cached.binding.count != call.count || cached.binding.element != element) {
    const shm::Layout& layout = world_->node->layout;
    cached.binding = plan::bind(*cached.plan, call.count, element,
                                limits_for(call.collective, world_->shape(), settings_.tuning,
                                           scratch_limits(layout.slots_size, layout.packets_size)));
  }
  return cached;
}

void Communicator::bind_operation(const Call& call, const void* send, void* recv,
                                  host::Operation& operation) {
  const CachedPlan& cached = plan_for(call);
  operation.plan = cached.plan.get();
  operation.binding = cached.binding;
  if (cached.binding.slots_need != 0)
    operation.slots = slots_.take(cached.binding.slots_need);
  else
    operation.slots = {};
  if (cached.binding.packets_need != 0)
    operation.packets = packets_.take(cached.binding.packets_need);
  else
    operation.packets = {};
  operation.base = ticks_;
  ticks_ += cached.binding.ticks;
  ++epoch_;
  history_ = extend_history(history_, pack(call), call.count);
  operation.tag = make_tag(epoch_, history_);
  operation.info = {.tag = operation.tag, .epoch = epoch_, .call = pack(call), .count = call.count};
  operation.renewal = (epoch_ & 0xffffffff) == 0 ? epoch_ >> 32 : 0;
  operation.output = static_cast<std::byte*>(recv);
  // Only the root of a broadcast has an input; the others' plans do not name one.
  operation.input = static_cast<const std::byte*>(send);
  operation.reduce = kernels_.reduce[static_cast<size_t>(call.op)][static_cast<size_t>(call.datatype)];
  operation.reduce_packets =
      kernels_.reduce_packets[static_cast<size_t>(call.op)][static_cast<size_t>(call.datatype)];
  operation.divisor = call.op == ReduceOp::avg ? static_cast<uint32_t>(size()) : 0;
  operation.store = call.bytes() >= kStreamingBytes ? reduce::Store::streaming : reduce::Store::cached;
}

Result Communicator::check_on_host(const Call& call, const void* send, const void* recv) {
  if (poisoned_ != Result::success || abort_.raised()) [[unlikely]]
    return adopt_poison();
  return check_call(call, send, recv);
}

Result Communicator::begin(const Call& call, const void* send, void* recv, uint64_t& ticket) {
  if (const Result checked = check_on_host(call, send, recv); checked != Result::success) [[unlikely]]
    return checked;
  if (tail_ - head_ == kMaxOutstanding) {
    if (const Result freed = finish(head_); freed != Result::success) return freed;
  }
  Pending& pending = queue_[tail_ % kMaxOutstanding];
  bind_operation(call, send, recv, pending.operation);
  pending.call = call;
  pending.epoch = epoch_;
  pending.begun = 0;
  ticket = tail_++;
  return Result::success;
}

Result Communicator::check_call(const Call& call, const void* send, const void* recv) {
  if (call.bytes() == 0) return Result::success;
  if (recv == nullptr || (call.sends(rank()) && send == nullptr)) {
    return refuse(Result::invalid_argument, call,
                  fmt::format("the {} buffer is null", recv == nullptr ? "receive" : "send"));
  }
  const auto from = reinterpret_cast<uintptr_t>(send);
  const auto to = reinterpret_cast<uintptr_t>(recv);
  if (call.sends(rank()) && from != to && from < to + call.bytes() && to < from + call.bytes()) {
    return refuse(
        Result::invalid_argument, call,
        fmt::format(
            "send buffer {} and receive buffer {} of {} bytes overlap; expected the same or disjoint memory",
            send, recv, call.bytes()));
  }
  return Result::success;
}

Result Communicator::refuse(Result code, const Call& call, const std::string& what) {
  error_text_ = fmt::format("rank {}: {}: {}", rank(), tutti::describe(call), what);
  return code;
}

// ---- running ------------------------------------------------------------------------------------------------------------

void Communicator::announce(const Pending& pending) {
  Announcement& slot = endpoint_.self().announcements[pending.epoch % kAnnouncements];
  slot.epoch.store(0, std::memory_order_relaxed);
  slot.count.store(pending.call.count, std::memory_order_release);
  slot.call.store(pack(pending.call), std::memory_order_release);
  slot.signature.store(pending.operation.tag & 0xffffffff, std::memory_order_release);
  slot.epoch.store(pending.epoch, std::memory_order_release);
}

/// Runs the queue as far as it goes without waiting.
void Communicator::progress() {
  while (head_ != tail_) {
    Pending& pending = queue_[head_ % kMaxOutstanding];
    if (!running_) {
      announce(pending);
      statistics_.arrive();
      interpreter_.start(pending.operation);
      running_ = true;
      warned_ = false;
      surveyed_ = false;
      suspected_since_ = 0;
    } else {
      statistics_.retry();
    }
    switch (interpreter_.advance()) {
      case host::Interpreter::Progress::done:
        running_ = false;
        finished_epoch_.store(pending.epoch, std::memory_order_relaxed);
        statistics_.leave(pending.epoch, pending.call);
        ++head_;
        break;
      case host::Interpreter::Progress::blocked:
        statistics_.idle();
        return;
      case host::Interpreter::Progress::mismatch:
        find_mismatch();
        return;
    }
  }
}

Result Communicator::finish(uint64_t ticket, uint64_t limit_ns) {
  if (poisoned_ != Result::success) return adopt_poison();
  if (head_ > ticket) return Result::success;
  const uint64_t limit = limit_ns == UINT64_MAX ? UINT64_MAX : ns_to_ticks(limit_ns);
  // Many short waits are one long one, as far as the operation's own limit goes.
  Pending& pending = queue_[ticket % kMaxOutstanding];
  if (limit != UINT64_MAX && pending.begun == 0) pending.begun = ticks();
  const std::unique_lock taken = take_custody();
  const uint64_t before = pending.begun == 0 ? 0 : ticks() - pending.begun;
  counted_ = before;
  const Result result = wait_loop_.run(
      [&] {
        progress();
        return head_ > ticket || poisoned_ != Result::success;
      },
      [&](uint64_t waited) { return check_wait(before + waited, ticket); }, limit);
  if (poisoned_ != Result::success) return adopt_poison();
  return result;
}

Result Communicator::test(uint64_t ticket) {
  if (poisoned_ != Result::success) return adopt_poison();
  if (head_ > ticket) return Result::success;
  const std::unique_lock taken = take_custody();
  for (Poller* poller : pollers_) poller->advance();
  progress();
  if (poisoned_ != Result::success) return adopt_poison();
  if (head_ > ticket) return Result::success;
  // Somebody who only ever tests must find out about errors and deadlines too.
  Pending& pending = queue_[ticket % kMaxOutstanding];
  const uint64_t now = ticks();
  if (pending.begun == 0) {
    pending.begun = now;
    counted_ = 0;
  }
  if (now < next_check_) return Result::in_progress;
  next_check_ = now + ns_to_ticks(kCheckIntervalNs);
  const Result checked = check_wait(now - pending.begun, ticket);
  return checked == Result::success ? Result::in_progress : checked;
}

/// Asked at a gated rate while an operation does not complete.
Result Communicator::check_wait(uint64_t waited_ticks, uint64_t ticket) {
  constexpr uint64_t kProbeNs = 1'000'000'000;
  if (abort_.raised()) return adopt_poison();
  count_waiting(waited_ticks);
  find_mismatch();
  if (poisoned_ == Result::success) find_lost_peer();
  if (poisoned_ != Result::success) return poisoned_;
  if (head_ > ticket) return Result::success;
  const uint64_t waited_ns = ticks_to_ns(waited_ticks);
  if (is_overdue(waited_ns)) {
    return poison(Result::timeout, fmt::format("{}{} after {:.3g} s", position_text(), culprits_,
                                               static_cast<double>(waited_ns) * 1e-9));
  }
  if (waited_ns >= kProbeNs) probe_awaited();
  if (waited_ns >= settings_.warn_after_ns) warn_of_late(waited_ns);
  return Result::success;
}

}  // namespace tutti
