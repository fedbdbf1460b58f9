// A library whose collective on device memory is measured: Tutti, or NCCL beside it. One thread is all ranks.
#pragma once

#include <tutti/tutti.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "benchmarks/collective.h"

namespace tutti::bench {

/// One rank's part of a collective.
struct DeviceCall {
  Call call;
  tutti_stream_t stream = nullptr;
};

class DeviceLibrary {
 public:
  DeviceLibrary() = default;
  virtual ~DeviceLibrary() = default;
  DeviceLibrary(const DeviceLibrary&) = delete;
  DeviceLibrary& operator=(const DeviceLibrary&) = delete;

  /// "tutti" or "nccl", as in the results.
  virtual const char* name() const = 0;
  /// Enqueues one collective, the calls of all ranks, by rank. 0 for success, else a code for explain().
  virtual int enqueue(std::span<const DeviceCall> calls) noexcept = 0;
  virtual std::string explain(int code) const = 0;
  /// What went wrong in calls that have ended; empty where nothing did.
  virtual std::string trouble() const = 0;
  /// The algorithm that this call uses; "default" where the library does not tell.
  virtual std::string algorithm(const Call& call) const = 0;
  /// Settings that tell this row from others of the library; empty where there are none.
  virtual std::string settings() const = 0;
};

class TuttiOnDevice final : public DeviceLibrary {
 public:
  /// `devices` by rank. Throws std::runtime_error, UsageError where `algorithm` is none.
  TuttiOnDevice(const CollectiveInfo& collective, const std::vector<int>& devices,
                const std::string& algorithm, int64_t timeout_ns);
  ~TuttiOnDevice() override;

  const char* name() const override { return "tutti"; }
  int enqueue(std::span<const DeviceCall> calls) noexcept override;
  std::string explain(int code) const override;
  std::string trouble() const override;
  std::string algorithm(const Call& call) const override;
  std::string settings() const override { return {}; }

  /// Thread blocks of one rank at most; 0 where the library does not tell.
  int blocks() const;

 private:
  const CollectiveInfo& collective_;
  std::vector<tutti_comm_t> comms_;
};

}  // namespace tutti::bench
