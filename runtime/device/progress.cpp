#include "runtime/device/progress.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

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

Progress::Progress(Work work) : work_(std::move(work)), wake_(Sleeper::make_wake_descriptor()) {
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

void Progress::run() noexcept {
  try {
    uint64_t latest = now_ns();
    while (!ending_.load(std::memory_order_acquire)) {
      if (turn()) {
        latest = now_ns();
      } else {
        rest(now_ns() - latest);
      }
    }
    const uint64_t end = now_ns() + patience_ns_;
    while (turn() && now_ns() < end) sched_yield();
    work_.transport->close(patience_ns_);
  } catch (const std::exception& error) {
    fail({-1, error.what()});
  }
}

/// True where something happened.
bool Progress::turn() {
  cuda::TakenTrigger trigger;
  bool any = false;
  for (int i = 0; i < kTriggersPerTurn && work_.triggers.take(trigger); ++i) {
    post(trigger);
    any = true;
  }
  work_.transport->advance();
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
  Port& port = *work_.ports.at(static_cast<size_t>(trigger.peer));
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
  const PortTransport::Failure& failure = work_.transport->failure();
  if (failure.rank >= 0 && !failed_.load(std::memory_order_relaxed)) fail(failure);
}

void Progress::fail(PortTransport::Failure failure) {
  if (failed_.load(std::memory_order_relaxed)) return;
  failure_ = std::move(failure);
  failed_.store(true, std::memory_order_release);
  end_kernels();
}

void Progress::mind_alarm() {
  if (raised_) return;
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

/// A wake-up between the look at the triggers and the sleep is missed only where `sleeping_` is seen late: the sleep is short.
void Progress::sleep(uint64_t longest_ns) {
  sleeping_.store(true, std::memory_order_seq_cst);
  if (!ending_.load(std::memory_order_acquire) && work_.transport->arm()) {
    std::array<pollfd, 2> entries = {{{work_.transport->descriptor(), POLLIN, 0}, {wake_.get(), POLLIN, 0}}};
    const timespec limit = {0, static_cast<long>(longest_ns)};
    if (ppoll(entries.data(), entries.size(), &limit, nullptr) > 0 && entries[1].revents != 0) {
      uint64_t wakes = 0;
      [[maybe_unused]] const auto got = ::read(wake_.get(), &wakes, sizeof(wakes));
    }
  }
  sleeping_.store(false, std::memory_order_relaxed);
}

}  // namespace tutti
