// fork, waitpid, and the order in which things end.
#include "benchmarks/local_ranks.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

#include "core/clock.h"

namespace tutti::bench {
namespace {

/// How long ranks may go on after one has failed: longer than Tutti needs to see that a peer is lost.
constexpr uint64_t kGraceNs = 5'000'000'000;

volatile sig_atomic_t interrupt_flag = 0;

extern "C" void on_interrupt(int) {
  interrupt_flag = 1;
}

/// Where no parent does it: the second Ctrl-C ends the process. SIGTERM may come twice for one (timeout sends it to the group as well).
extern "C" void on_interrupt_alone(int signal) {
  if (interrupt_flag != 0 && signal == SIGINT) ::_exit(130);
  if (interrupt_flag != 0) return;
  interrupt_flag = 1;
  constexpr std::string_view kText = "stopping, what was measured is kept; once more to stop at once\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kText.data(), kText.size());
}

/// Blocks the signals that the parent waits for; ranks restore the mask.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigemptyset(&awaited_);
    for (const int signal : {SIGCHLD, SIGINT, SIGTERM}) sigaddset(&awaited_, signal);
    sigprocmask(SIG_BLOCK, &awaited_, &before_);
  }
  ~BlockedSignals() { sigprocmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

  /// The signal that came within `limit_ns`; 0 for none.
  int await(uint64_t limit_ns) const {
    const timespec limit{static_cast<time_t>(limit_ns / 1'000'000'000),
                         static_cast<long>(limit_ns % 1'000'000'000)};
    const int signal = sigtimedwait(&awaited_, nullptr, &limit);
    return signal > 0 ? signal : 0;
  }

 private:
  sigset_t awaited_{};
  sigset_t before_{};
};

class Watch {
 public:
  Watch(const char* program, std::vector<pid_t> pids)
      : program_(program), pids_(std::move(pids)), running_(pids_.size()) {}

  int until_all_ended(const BlockedSignals& signals) {
    collect();
    while (running_ > 0) {
      const int signal = signals.await(deadline_ns_ ? 100'000'000 : 10'000'000'000);
      if (signal == SIGINT || signal == SIGTERM) on_stop(signal);
      collect();
      if (deadline_ns_ && now_ns() > *deadline_ns_) kill_rest();
    }
    return exit_code_;
  }

 private:
  void collect() {
    for (size_t rank = 0; rank < pids_.size(); ++rank) {
      int status = 0;
      if (pids_[rank] == 0 || ::waitpid(pids_[rank], &status, WNOHANG) != pids_[rank]) continue;
      pids_[rank] = 0;
      --running_;
      on_end(rank, status);
    }
  }

  void on_end(size_t rank, int status) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    if (exit_code_ == 0) exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    if (!deadline_ns_) deadline_ns_ = now_ns() + kGraceNs;
    if (!WIFSIGNALED(status) || killing_) return;
    const int signal = WTERMSIG(status);
    fmt::print(stderr, "{}: rank {} was ended by signal {} ({})\n", program_, rank, signal,
               strsignal(signal));
  }

  void on_stop(int signal) {
    if (++stops_ > 1) {
      exit_code_ = 130;
      kill_rest();
      return;
    }
    fmt::print(stderr, "{}: stopping, what was measured is kept; once more to stop at once\n", program_);
    for (const pid_t pid : pids_) {
      if (pid != 0) ::kill(pid, signal);
    }
  }

  void kill_rest() {
    if (!killing_) fmt::print(stderr, "{}: killing the {} ranks that are left\n", program_, running_);
    killing_ = true;
    for (const pid_t pid : pids_) {
      if (pid != 0) ::kill(pid, SIGKILL);
    }
  }

  const char* program_;
  std::vector<pid_t> pids_;  // 0: has ended
  size_t running_;
  int exit_code_ = 0;
  int stops_ = 0;
  bool killing_ = false;
  std::optional<uint64_t> deadline_ns_;
};

}  // namespace

LocalRank start_local_ranks(const char* program, int ranks) {
  ::signal(SIGCHLD, SIG_DFL);  // ignored, as some starters leave it, waitpid would find nobody
  std::fflush(nullptr);        // or each rank would print again what is still in the buffers
  const BlockedSignals signals;
  const pid_t parent = ::getpid();
  std::vector<pid_t> pids;
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) std::_Exit(1);  // it died before the line above
      handle_interrupts(false);
      return {.rank = rank};
    }
    if (pid < 0) {
      const int error = errno;
      for (const pid_t started : pids) ::kill(started, SIGKILL);
      throw std::system_error(error, std::generic_category(), fmt::format("starting rank {}", rank));
    }
    pids.push_back(pid);
  }
  return {.is_parent = true, .exit_code = Watch(program, std::move(pids)).until_all_ended(signals)};
}

bool interrupted() {
  return interrupt_flag != 0;
}

void handle_interrupts(bool is_alone) {
  struct sigaction action {};
  action.sa_handler = is_alone ? on_interrupt_alone : on_interrupt;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace tutti::bench
