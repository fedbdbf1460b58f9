// Ranks of the control tree as threads of the test.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/error.h"
#include "core/thread_group.h"
#include "runtime/bootstrap/control.h"
#include "tests/runtime/support/expect.h"

namespace control_test {

using namespace tutti;

inline constexpr uint64_t kMsNs = 1'000'000;
inline constexpr uint64_t kSecondNs = 1000 * kMsNs;
inline constexpr uint64_t kPatientNs = 60 * kSecondNs;

inline ControlSettings settings_of(int rank, int size, uint64_t limit_ns = kPatientNs) {
  ControlSettings settings;
  settings.rank = rank;
  settings.size = size;
  settings.limit_ns = limit_ns;
  settings.digest = "version=1\nTUTTI_ALGO=ring\n";
  return settings;
}

/// Set-up on loopback, where nothing but this test is.
inline UniqueId loopback_id() {
  return UniqueId::create("=lo");
}

/// How a rank's part ended.
struct Outcome {
  Result code = Result::success;
  std::string text;
  uint64_t ns = 0;
};

/// Runs body(rank) on a thread for each of `ranks`; what each threw.
inline std::vector<Outcome> outcomes_of(const std::vector<int>& ranks, const std::function<void(int)>& body) {
  std::vector<Outcome> outcomes(ranks.size());
  ThreadGroup group(static_cast<int>(ranks.size()));
  group.run([&](int index) {
    Outcome& outcome = outcomes[static_cast<size_t>(index)];
    const uint64_t start = now_ns();
    try {
      body(ranks[static_cast<size_t>(index)]);
    } catch (const Error& e) {
      outcome.code = e.code();
      outcome.text = e.what();
    }
    outcome.ns = now_ns() - start;
  });
  return outcomes;
}

inline std::vector<int> all_ranks(int size) {
  std::vector<int> ranks;
  for (int r = 0; r < size; ++r) ranks.push_back(r);
  return ranks;
}

/// Waits until `holds()`; throws when it does not within `limit_ns`.
inline void await(const char* what, const std::function<bool()>& holds, uint64_t limit_ns = 20 * kSecondNs) {
  const uint64_t start = now_ns();
  while (!holds()) {
    expect(now_ns() - start < limit_ns, "waited {} ms for {}", limit_ns / kMsNs, what);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

/// The tree works: every rank gathers everybody's bytes, of different lengths.
inline void expect_gathers(Control& control, int rank, int size, size_t bytes = 40) {
  const auto entry = [&](int r) {
    return std::string(bytes + static_cast<size_t>(r % 3), static_cast<char>('a' + r % 26));
  };
  const std::vector<std::string> table = control.all_gather(entry(rank));
  expect(table.size() == static_cast<size_t>(size), "rank {}: a table of {} entries, expected {}", rank,
         table.size(), size);
  for (int r = 0; r < size; ++r) {
    expect(table[static_cast<size_t>(r)] == entry(r), "rank {}: the entry of rank {} is '{}'", rank, r,
           table[static_cast<size_t>(r)]);
  }
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// What the control thread has told one rank.
class Heard {
 public:
  struct Report {
    int count = 0;
    int from = -1;
    Result code = Result::success;
    std::string text;
  };

  ControlEvents events(int rank) {
    ControlEvents events;
    events.failed = [this](Result code, int from, const std::string& text) {
      const std::lock_guard lock(mutex_);
      report_ = {report_.count + 1, from, code, text};
    };
    events.status = [rank] {
      RankStatus status;
      status.flags = RankStatus::kInOperation;
      status.epoch = 100 + static_cast<uint64_t>(rank);
      status.since_waiting_ns = 7;
      return status;
    };
    return events;
  }
  Report report() const {
    const std::lock_guard lock(mutex_);
    return report_;
  }

 private:
  mutable std::mutex mutex_;
  Report report_;
};

}  // namespace control_test
