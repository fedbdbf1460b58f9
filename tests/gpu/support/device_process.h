// Ranks with a device that are processes: what each has, made after the fork, and a sum to check.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "tests/gpu/support/allocations.h"
#include "tests/gpu/support/copies.h"
#include "tests/gpu/support/driver.h"
#include "tests/process/support/forked.h"

inline tutti_comm_config_t device_config(const char* algorithm = nullptr) {
  tutti_comm_config_t config = patient_config(algorithm);
  config.device = 0;
  return config;
}

/// As skipped(); but CUDA must not be initialised before a fork, so a process of its own asks.
inline bool skipped_here() {
  static const std::string missing = [] {
    Shared<char> text(200);
    Forked asker;
    asker.start([&] { std::strncpy(text.data(), missing_device().c_str(), 199); });
    asker.expect_all_good();
    return std::string(text.data());
  }();
  if (!missing.empty()) std::printf("SKIPPED: %s\n", missing.c_str());
  return !missing.empty();
}

/// What one rank of a test has: made in its own process.
struct DeviceProcess {
  DeviceProcess(const tutti_unique_id_t& id, int rank, int ranks, const tutti_comm_config_t& config)
      : own(id, rank, ranks, config),
        device(tutti::cuda::Device::open(0)),
        context(*device),
        stream(*device) {}

  tutti_comm_t comm() const { return own.get(); }

  OwnRank own;
  tutti::cuda::DevicePtr device;
  tutti::cuda::ContextGuard context;
  CopyStream stream;
};

/// The same sum on every rank, from numbers that change with `turn`.
struct Sum {
  Sum(const DeviceProcess& own, int rank_in, int ranks_in, size_t count_in)
      : rank(rank_in), ranks(ranks_in), count(count_in), memory(own.device, count_in * sizeof(int32_t)) {}

  void fill(const DeviceProcess& own, int turn) const {
    const std::vector<int32_t> values(count, (rank + 1) * (turn + 1));
    const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
    upload(*own.device, memory.address(), {bytes, bytes + count * sizeof(int32_t)});
  }
  tutti_result_t run(const DeviceProcess& own) const {
    auto* const data = reinterpret_cast<void*>(memory.address());  // NOLINT(performance-no-int-to-ptr)
    return tutti_all_reduce(data, data, static_cast<int64_t>(count), TUTTI_INT32, TUTTI_SUM, own.comm(),
                            own.stream.get());
  }
  void check(const DeviceProcess& own, int turn) const {
    const std::vector<uint8_t> bytes = download(*own.device, memory.address(), count * sizeof(int32_t));
    const int32_t wanted = ranks * (ranks + 1) / 2 * (turn + 1);
    for (size_t i = 0; i < count; ++i) {
      int32_t got = 0;
      std::memcpy(&got, bytes.data() + i * sizeof(got), sizeof(got));
      expect(got == wanted, "rank {}, turn {}: element {} of {} is {}, expected {}", rank, turn, i, count,
             got, wanted);
    }
  }

  int rank;
  int ranks;
  size_t count;
  Allocation memory;
};
