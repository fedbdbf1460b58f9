// A pinned process and a thread with a communicator.
#include "benchmarks/disturbance.h"

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <span>
#include <system_error>

#include "benchmarks/options.h"
#include "core/clock.h"
#include "core/units.h"

namespace tutti::bench {
namespace {

/// What the process does: only what a fork of a process with threads may. Never returns.
[[noreturn]] void be_noise(const NoiseOptions& options, pid_t parent) {
  constexpr uint64_t kPeriodNs = 10'000'000;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) std::_Exit(1);  // it died before the line above
  ::signal(SIGINT, SIG_IGN);                 // Ctrl-C is for the ranks
  cpu_set_t core;
  CPU_ZERO(&core);
  CPU_SET(static_cast<size_t>(options.core), &core);
  if (sched_setaffinity(0, sizeof core, &core) != 0) std::_Exit(1);
  ::raise(SIGSTOP);
  const uint64_t busy_ns = kPeriodNs / 100 * static_cast<uint64_t>(options.percent);
  for (;;) {
    const uint64_t start = now_ns();
    while (now_ns() - start < busy_ns) {
    }
    const timespec rest{0, static_cast<long>(kPeriodNs - busy_ns)};
    if (rest.tv_nsec > 0) ::nanosleep(&rest, nullptr);
  }
}

}  // namespace

NoiseLoad::NoiseLoad(const NoiseOptions& options) : options_(options) {
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) be_noise(options_, parent);
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "starting the noise");
  int status = 0;
  while (::waitpid(pid_, &status, WUNTRACED) < 0 && errno == EINTR) {
  }
  if (WIFSTOPPED(status)) return;
  pid_ = 0;
  throw UsageError(fmt::format("--noise: core {} cannot be used by this process", options_.core));
}

NoiseLoad::~NoiseLoad() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::string NoiseLoad::text() const {
  return fmt::format("noise {}% on core {}", options_.percent, options_.core);
}

void NoiseLoad::begin() {
  ::kill(pid_, SIGCONT);
}

void NoiseLoad::end() {
  ::kill(pid_, SIGSTOP);
}

Aggressor::Aggressor(World& world, const AggressorOptions& options)
    : options_(options),
      comm_(world.another_communicator()),
      is_first_(world.rank() == 0),
      message_(std::max<size_t>(options.bytes / sizeof(int32_t), 1)) {}

Aggressor::~Aggressor() {
  if (!thread_.joinable()) return;
  static_cast<void>(tutti_comm_abort(comm_.get()));
  thread_.join();
}

std::string Aggressor::text() const {
  return fmt::format("aggressor {} of {}", options_.collective, format_size(options_.bytes));
}

void Aggressor::begin() {
  stop_ = false;
  std::fill(message_.begin(), message_.end(), 0);
  thread_ = std::thread([this] { call_until_told(); });
}

void Aggressor::end() {
  stop_ = true;
  thread_.join();
  if (error_) std::rethrow_exception(error_);
}

void Aggressor::call_until_told() {
  try {
    const std::span<int32_t> message(message_);
    do {
      if (is_first_) message_[0] = stop_ ? 1 : 0;
      if (options_.collective == "broadcast") {
        comm_.broadcast(message, 0);
      } else {
        comm_.all_reduce(message, TUTTI_MAX);
      }
    } while (message_[0] == 0);
  } catch (...) {
    error_ = std::current_exception();
  }
}

}  // namespace tutti::bench
