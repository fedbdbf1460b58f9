#include "runtime/device/progress.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <exception>

#include "core/clock.h"
#include "core/sleeper.h"
#include "core/sync.h"

namespace tutti {

namespace {

/// How long after the latest event it goes round without sleeping, how long it sleeps at most then, and after a while.
constexpr uint64_t kSpinNs = 1'000'000;
constexpr uint64_t kShortSleepNs = 50'000;
constexpr uint64_t kLongIdleNs = 50'000'000;
constexpr uint64_t kLongSleepNs = 200'000;
constexpr int kTriggersPerTurn = 64;

/// Signals of the program are for its own threads.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

}  // namespace

Progress::Progress(const Work& work)
    : work_(work), pollers_(work_.networks->pollers()), wake_(Sleeper::make_wake_descriptor()) {
  awaited_.push_back({wake_.get(), POLLIN, 0});
  for (const Poller* poller : pollers_) awaited_.push_back({poller->descriptor(), POLLIN, 0});
  const SignalsBlocked blocked;
  thread_ = std::thread([this] { run(); });
}

void Progress::watch(Alarm alarm) {
  alarm_ = std::move(alarm);
  watching_.store(true, std::memory_order_release);
}

void Progress::wake() const noexcept {
  if (sleeping_.load(std::memory_order_relaxed)) Sleeper::wake(wake_.get());
}

std::optional<PortTransport::Failure> Progress::failure() const {
  if (!failed_.load(std::memory_order_acquire)) return std::nullopt;
  return failure_;
}

void Progress::finish(uint64_t patience_ns) noexcept {
  if (!thread_.joinable()) return;
  patience_ns_ = patience_ns;
  ending_.store(true, std::memory_order_release);
  Sleeper::wake(wake_.get());
  thread_.join();
}

void Progress::let_in(const std::function<void()>& look) {
  std::unique_lock lock(visits_);
  visit_over_.wait(lock, [this] { return visitor_ == nullptr; });
  if (is_over_) return look();
  visitor_ = &look;
  has_visitor_.store(true, std::memory_order_release);
  Sleeper::wake(wake_.get());
  visit_over_.wait(lock, [&] { return visitor_ != &look; });
}

void Progress::receive_visitor(bool is_last) noexcept {
  const std::lock_guard lock(visits_);
  is_over_ = is_last;
  has_visitor_.store(false, std::memory_order_relaxed);
  if (visitor_ == nullptr) return;
  (*visitor_)();
  visitor_ = nullptr;
  visit_over_.notify_all();
}

void Progress::run() noexcept {
  try {
    serve();
  } catch (const std::exception& error) {
    fail({-1, fmt::format("{}: {}", work_.placement->rank_name(work_.rank), error.what())});
    if (watching_.load(std::memory_order_acquire)) mind_alarm();
  }
  receive_visitor(true);
}

void Progress::serve() {
  uint64_t latest = now_ns();
  while (!ending_.load(std::memory_order_acquire)) {
    if (turn()) {
      latest = now_ns();
    } else {
      rest(now_ns() - latest);
    }
    if (has_visitor_.load(std::memory_order_relaxed)) receive_visitor(false);
  }
  const uint64_t end = now_ns() + patience_ns_;
  while (turn() && now_ns() < end) sched_yield();
  work_.networks->close(patience_ns_);
  if (watching_.load(std::memory_order_acquire)) look_for_undelivered();
}

/// True where something happened.
bool Progress::turn() {
  cuda::TakenTrigger trigger;
  bool any = false;
  for (int i = 0; i < kTriggersPerTurn && work_.triggers.take(trigger); ++i) {
    post(trigger);
    any = true;
  }
  for (Poller* poller : pollers_) poller->advance();
  if (!rooms_.empty()) {
    give_room_back();
    any = true;
  }
  look_for_failure();
  if (watching_.load(std::memory_order_acquire)) mind_alarm();
  return any;
}

void Progress::post(const cuda::TakenTrigger& trigger) {
  if (trigger.kind == cuda::TriggerKind::announce) {
    const std::array<uint64_t*, 4> fields = {&info_.tag, &info_.epoch, &info_.call, &info_.count};
    *fields.at(trigger.detail) = trigger.value;
    return;
  }
  Port& port = *work_.networks->port(static_cast<int>(trigger.peer));
  switch (trigger.kind) {
    case cuda::TriggerKind::put: {
      const cuda::StagingPiece piece = cuda::next_piece(staged_, trigger.detail, work_.staging_bytes);
      staged_ = piece.end;
      port.put(work_.staging + piece.offset, trigger.detail, trigger.value);
      rooms_.push_back({&port, piece.end});
      return;
    }
    case cuda::TriggerKind::signal:
      port.signal(static_cast<uint8_t>(trigger.detail), trigger.value, info_);
      return;
    case cuda::TriggerKind::grant:
      port.grant(trigger.value);
      return;
    case cuda::TriggerKind::announce:
      return;
  }
}

void Progress::give_room_back() {
  uint64_t freed = 0;
  while (!rooms_.empty() && rooms_.front().port->flushed()) {
    freed = rooms_.front().end;
    rooms_.pop_front();
  }
  if (freed != 0) std::atomic_ref(work_.feedback->freed).store(freed, std::memory_order_release);
}

void Progress::look_for_failure() {
  if (failed_.load(std::memory_order_relaxed)) return;
  const PortTransport::Failure* failure =
      work_.networks->first_failure([](const PortTransport::Failure&) { return true; });
  if (failure != nullptr) fail({failure->rank, broken_text(*failure)});
}

/// What was posted last and has not arrived is awaited by kernels of ranks that are still there.
void Progress::look_for_undelivered() {
  if (failed_.load(std::memory_order_relaxed) || alarm_.is_raised()) return;
  const PortTransport::Failure* failure = work_.networks->first_failure(
      [this](const PortTransport::Failure& candidate) { return !alarm_.has_ended(candidate.rank); });
  if (failure != nullptr) alarm_.raise(broken_text(*failure));
}

std::string Progress::broken_text(const PortTransport::Failure& failure) const {
  return fmt::format("the connection from {} to {} for device memory ({}) is broken: {}",
                     work_.placement->rank_name(work_.rank), work_.placement->rank_name(failure.rank),
                     work_.networks->route(failure.rank), failure.text);
}

/// A connection on which nothing is to be sent does not tell, and kernels that wait ask nobody.
void Progress::look_for_ended() {
  constexpr uint64_t kLookNs = 10'000'000;
  if (failed_.load(std::memory_order_relaxed) || ticks() < next_look_) return;
  next_look_ = ticks() + ns_to_ticks(kLookNs);
  for (int peer = 0; peer < work_.placement->size(); ++peer) {
    if (work_.networks->port(peer) == nullptr || !alarm_.has_ended(peer)) continue;
    return fail({peer, fmt::format("{} has ended", work_.placement->rank_name(peer))});
  }
}

void Progress::fail(PortTransport::Failure failure) {
  if (failed_.load(std::memory_order_relaxed)) return;
  failure_ = std::move(failure);
  failed_.store(true, std::memory_order_release);
  end_kernels();
}

void Progress::mind_alarm() {
  if (raised_) return;
  look_for_ended();
  const bool failed = failed_.load(std::memory_order_relaxed);
  if (!failed && !alarm_.is_raised()) return;
  raised_ = true;
  if (failed) alarm_.raise(failure_.text);
  end_kernels();
}

void Progress::end_kernels() {
  std::atomic_ref(*work_.abort_word).store(1, std::memory_order_release);
}

void Progress::rest(uint64_t idle_ns) {
  if (idle_ns < kSpinNs) {
    sched_yield();
    return;
  }
  sleep(idle_ns < kLongIdleNs ? kShortSleepNs : kLongSleepNs);
}

/// A wake-up between the look at the triggers and the sleep is missed only where `sleeping_` is seen late: the sleep is short. A transport that cannot be
/// armed has something to do at once, or waits for an answer (verbs, while two ranks greet each other), which may take its time.
void Progress::sleep(uint64_t longest_ns) {
  sleeping_.store(true, std::memory_order_seq_cst);
  if (ending_.load(std::memory_order_acquire) ||
      !std::ranges::all_of(pollers_, [](Poller* poller) { return poller->arm(); })) {
    sched_yield();
  } else {
    const timespec limit = {0, static_cast<long>(longest_ns)};
    if (ppoll(awaited_.data(), awaited_.size(), &limit, nullptr) > 0 && awaited_.front().revents != 0) {
      uint64_t wakes = 0;
      [[maybe_unused]] const auto got = ::read(wake_.get(), &wakes, sizeof(wakes));
    }
  }
  sleeping_.store(false, std::memory_order_relaxed);
}

}  // namespace tutti
