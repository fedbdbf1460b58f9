// Ranks of a test that are threads of its process: their communicators, and how one function runs on all of them.
#pragma once

#include <tutti/tutti.h>

#include <vector>

#include "core/thread_group.h"
#include "tests/runtime/support/expect.h"

inline constexpr int64_t kSecond = 1'000'000'000;

/// A configuration that lets no test hang: a wait ends after two minutes, long enough for any loaded machine.
inline tutti_comm_config_t patient_config(const char* algorithm = nullptr,
                                          int64_t timeout_ns = 120 * kSecond) {
  tutti_comm_config_t config = TUTTI_COMM_CONFIG_INIT;
  config.timeout_ns = timeout_ns;
  config.algorithm = algorithm;
  return config;
}

class LocalRanks {
 public:
  explicit LocalRanks(int ranks, const char* algorithm = nullptr)
      : LocalRanks(ranks, patient_config(algorithm)) {}
  LocalRanks(int ranks, const tutti_comm_config_t& config) : comms_(static_cast<size_t>(ranks)) {
    expect_success(tutti_comm_create_local(comms_.data(), ranks, &config), "tutti_comm_create_local");
  }
  LocalRanks(const LocalRanks&) = delete;
  LocalRanks& operator=(const LocalRanks&) = delete;
  ~LocalRanks() {
    for (size_t r = 0; r < comms_.size(); ++r) destroy(static_cast<int>(r));
  }

  int size() const { return static_cast<int>(comms_.size()); }
  tutti_comm_t operator[](int rank) const { return comms_[static_cast<size_t>(rank)]; }

  tutti_result_t destroy(int rank) {
    tutti_comm_t& comm = comms_[static_cast<size_t>(rank)];
    const tutti_result_t result = tutti_comm_destroy(comm);
    comm = nullptr;
    return result;
  }

  /// body(rank, comm) on a thread per rank. The first failure ends the others' waits and is thrown.
  template <typename Body>
  void run(Body&& body) {
    tutti::ThreadGroup group(size());
    group.run([&](int rank) {
      try {
        body(rank, (*this)[rank]);
      } catch (...) {
        tutti_comm_abort((*this)[rank]);
        throw;
      }
    });
  }

 private:
  std::vector<tutti_comm_t> comms_;
};
