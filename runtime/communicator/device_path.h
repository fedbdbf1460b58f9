// What a communicator knows of its operations on device memory; made and implemented by runtime/device, where CUDA is built in.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "collectives/plan/plan.h"
#include "core/error.h"
#include "runtime/communicator/signature.h"

namespace tutti {

/// Where a buffer lies, as far as it decides who works on it.
enum class Place : uint8_t { host, pinned, device, unknown };

class DevicePath {
 public:
  struct Failure {
    Result code = Result::success;
    std::string text;
  };

  virtual ~DevicePath() = default;

  virtual int device() const = 0;
  virtual Place place_of(const void* pointer) const noexcept = 0;
  /// Enqueues an operation on `stream` and returns at once.
  virtual Result enqueue(const Call& call, const void* send, void* recv, void* stream,
                         std::string& problem) = 0;
  /// Why kernels of this rank gave up; empty while all is well. Costs one load while it is.
  virtual std::optional<Failure> failure() const = 0;
  /// Ends the operations of all ranks that this one can reach. Any thread, any number of times.
  virtual void give_up() noexcept = 0;
  virtual plan::Algorithm algorithm_for(Collective collective, uint64_t bytes) const = 0;

  /// Which buffer of a call, registered as it is, was freed since; empty where all is well.
  virtual std::string freed_buffer(const Call& call, const void* send, const void* recv) const = 0;
  /// Collective; `id` is the same on all ranks and never used again. Throw Error.
  virtual void register_buffer(uint64_t id, const void* buffer, size_t bytes) = 0;
  virtual void deregister_buffer(uint64_t id) = 0;

  /// For people.
  virtual std::string describe() const = 0;
};

}  // namespace tutti
