// Ranks of a test that are processes: forked from the test, each runs one function, and none outlives it.
//
//     Forked ranks;
//     for (int r = 0; r < n; ++r) ranks.start([&] { ...throws what is wrong... });
//     ranks.expect_all_good();       // waits; a rank that does not end is killed and reported
//
// The test itself must have made no communicator and read no TUTTI_ variable before: a forked rank sets its own.
#pragma once

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <tutti/tutti.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "core/clock.h"
#include "tests/runtime/support/expect.h"
#include "tests/runtime/support/gate.h"

inline constexpr int64_t kMs = 1'000'000;
inline constexpr int64_t kSecond = 1000 * kMs;

inline void sleep_ms(int64_t ms) {
  const timespec pause = {ms / 1000, static_cast<long>(ms % 1000 * kMs)};
  nanosleep(&pause, nullptr);
}

/// An array that this process and those forked from it later share.
template <typename T>
class Shared {
 public:
  explicit Shared(size_t count) : bytes_(count * sizeof(T)) {
    void* at = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<T*>(at);
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { munmap(data_, bytes_); }
  T* data() { return data_; }
  T& operator[](size_t i) { return data_[i]; }

 private:
  size_t bytes_;
  T* data_ = nullptr;
};

class Forked {
 public:
  struct Rank {
    pid_t pid = 0;
    bool ended = false;
    int status = 0;
  };

  Forked() : texts_(kMost * kTextBytes) {}
  Forked(const Forked&) = delete;
  Forked& operator=(const Forked&) = delete;
  ~Forked() { kill_all(); }

  /// Returns the number of the process: 0, 1, ...
  template <typename Body>
  size_t start(Body&& body) {
    const size_t index = ranks_.size();
    expect(index < kMost, "too many processes");
    const pid_t parent = getpid();
    const pid_t pid = fork();
    expect(pid >= 0, "fork failed: {}", strerror(errno));
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(3);
      _exit(run(body, index));
    }
    ranks_.push_back({pid, false, 0});
    return index;
  }

  pid_t pid(size_t index) const { return ranks_[index].pid; }
  void signal(size_t index, int number) { kill(ranks_[index].pid, number); }

  /// True once that process has ended; waits up to `limit_ns`.
  bool wait_for(size_t index, int64_t limit_ns) {
    const uint64_t start = tutti::now_ns();
    for (;;) {
      Rank& rank = ranks_[index];
      if (!rank.ended && waitpid(rank.pid, &rank.status, WNOHANG) == rank.pid) rank.ended = true;
      if (rank.ended) return true;
      if (tutti::now_ns() - start > static_cast<uint64_t>(limit_ns)) return false;
      sleep_ms(1);
    }
  }

  /// What a process has thrown; "" when it ended well.
  std::string failure(size_t index) {
    const Rank& rank = ranks_[index];
    if (WIFEXITED(rank.status) && WEXITSTATUS(rank.status) == 0) return "";
    const std::string text = &texts_[index * kTextBytes];
    if (!text.empty()) return fmt::format("process {}: {}", index, text);
    return WIFSIGNALED(rank.status)
               ? fmt::format("process {} was ended by signal {}", index, WTERMSIG(rank.status))
               : fmt::format("process {} ended with status {}", index, WEXITSTATUS(rank.status));
  }

  /// Waits for all processes but those in `spared`; throws what the first of them says that did not end well.
  void expect_all_good(int64_t limit_ns = 120 * kSecond, const std::vector<size_t>& spared = {}) {
    std::string failures;
    for (size_t i = 0; i < ranks_.size(); ++i) {
      const bool is_spared = std::find(spared.begin(), spared.end(), i) != spared.end();
      if (is_spared) continue;
      if (!wait_for(i, limit_ns)) {
        failures += fmt::format("process {} has not ended within {} s\n", i, limit_ns / kSecond);
        limit_ns = kSecond;
      } else if (const std::string text = failure(i); !text.empty()) {
        failures += text + "\n";
        limit_ns = std::min(limit_ns, 5 * kSecond);
      }
    }
    kill_all();
    expect(failures.empty(), "{}", failures);
  }

 private:
  static constexpr size_t kMost = 64;
  static constexpr size_t kTextBytes = 2048;

  template <typename Body>
  int run(Body& body, size_t index) noexcept {
    try {
      body();
      return 0;
    } catch (const std::exception& e) {
      std::strncpy(&texts_[index * kTextBytes], e.what(), kTextBytes - 1);
    } catch (...) {
      std::strncpy(&texts_[index * kTextBytes], "an unknown exception", kTextBytes - 1);
    }
    return 1;
  }

  void kill_all() {
    for (Rank& rank : ranks_) {
      if (rank.ended) continue;
      kill(rank.pid, SIGKILL);
      while (waitpid(rank.pid, &rank.status, 0) < 0 && errno == EINTR) {
      }
      rank.ended = true;
    }
  }

  std::vector<Rank> ranks_;
  Shared<char> texts_;
};

/// Made by a process of its own, as a launcher's tool would make it: whoever makes an id listens at its address until it ends.
inline tutti_unique_id_t make_id() {
  Shared<tutti_unique_id_t> id(1);
  Forked maker;
  maker.start([&] { expect_success(tutti_unique_id_create(id.data()), "tutti_unique_id_create"); });
  maker.expect_all_good();
  return id[0];
}

/// A configuration with limits that a loaded machine keeps, and that end a hang.
inline tutti_comm_config_t patient_config(const char* algorithm = nullptr) {
  tutti_comm_config_t config = TUTTI_COMM_CONFIG_INIT;
  config.timeout_ns = 60 * kSecond;
  config.setup_timeout_ns = 60 * kSecond;
  config.algorithm = algorithm;
  return config;
}

/// This process as one rank; destroyed at the end.
class OwnRank {
 public:
  OwnRank(const tutti_unique_id_t& id, int rank, int size, const tutti_comm_config_t& config) {
    expect_success(tutti_comm_create(&comm_, &id, rank, size, &config),
                   fmt::format("rank {}: tutti_comm_create", rank));
  }
  OwnRank(const OwnRank&) = delete;
  OwnRank& operator=(const OwnRank&) = delete;
  ~OwnRank() { tutti_comm_destroy(comm_); }
  tutti_comm_t get() const { return comm_; }

 private:
  tutti_comm_t comm_ = nullptr;
};

/// All-reduce of one number per rank: the plainest sign that a communicator works.
inline void expect_working(tutti_comm_t comm, int rank, int size) {
  for (const int64_t count : {int64_t{1}, int64_t{10000}}) {
    std::vector<int32_t> data(static_cast<size_t>(count), rank + 1);
    expect_success(tutti_all_reduce(data.data(), data.data(), count, TUTTI_INT32, TUTTI_SUM, comm, nullptr),
                   fmt::format("rank {}: an all-reduce of {}", rank, count));
    const int32_t wanted = size * (size + 1) / 2;
    expect(data.front() == wanted && data.back() == wanted, "rank {}: the sum is {} and {}, expected {}",
           rank, data.front(), data.back(), wanted);
  }
}
