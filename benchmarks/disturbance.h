// What disturbs a row on purpose, while it is measured: background load on a core, or another communicator at work.
//
// A disturbance begins before a row and ends after it, so that the same row can be measured alone first.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "benchmarks/launcher.h"

namespace tutti::bench {

class Disturbance {
 public:
  Disturbance() = default;
  virtual ~Disturbance() = default;
  Disturbance(const Disturbance&) = delete;
  Disturbance& operator=(const Disturbance&) = delete;

  virtual std::string text() const = 0;
  // Collective.
  virtual void begin() = 0;
  virtual void end() = 0;
};

/// A process that keeps a core busy for a share of every 10 ms. One for the whole run, beside the first rank; it stands still
/// between rows. It is started before there are messages: it would share their pages, and the first write to each would copy it.
class NoiseLoad final : public Disturbance {
 public:
  /// Throws UsageError where the core cannot be had.
  explicit NoiseLoad(const NoiseOptions& options);
  ~NoiseLoad() override;

  std::string text() const override;
  void begin() override;
  void end() override;

 private:
  NoiseOptions options_;
  pid_t pid_ = 0;
};

/// A thread of each rank, with a communicator of its own, calls a collective again and again. Rank 0 says in the data of a
/// call that it was the last: so all ranks make as many calls.
class Aggressor final : public Disturbance {
 public:
  /// Collective.
  Aggressor(World& world, const AggressorOptions& options);
  /// Where a row failed, the calls under way are aborted.
  ~Aggressor() override;

  std::string text() const override;
  void begin() override;
  /// Throws what a call threw.
  void end() override;

 private:
  void call_until_told();

  AggressorOptions options_;
  Communicator comm_;
  bool is_first_;
  std::vector<int32_t> message_;  // element 0 says whether this call is the last
  std::atomic<bool> stop_{false};
  std::exception_ptr error_;  // of the thread
  std::thread thread_;
};

}  // namespace tutti::bench
