// Operations on device memory, as far as the communicator is concerned: which calls they are, and what their errors mean.
#include <fmt/format.h>

#include "core/log.h"
#include "runtime/communicator/communicator.h"
#include "runtime/device.h"

namespace tutti {

namespace {

const char* name_of(Place place) {
  constexpr const char* kNames[] = {"pageable host memory", "pinned host memory", "device memory",
                                    "memory unknown to CUDA"};
  return kNames[static_cast<size_t>(place)];
}

}  // namespace

Result Communicator::choose_place(const Call& call, const void* send, const void* recv, const void* stream,
                                  bool& on_device) {
  on_device = false;
  if (device_ == nullptr) return check_without_device(call, send, recv, stream);
  // Nothing to look at, and every rank must choose alike.
  if (call.bytes() == 0) {
    on_device = stream != nullptr;
    return Result::success;
  }
  const Place to = device_->place_of(recv);
  const Place from = send != nullptr && call.sends(rank()) ? device_->place_of(send) : to;
  if (to == Place::unknown || from == Place::unknown) {
    return refuse(Result::system_error, call,
                  fmt::format("the CUDA driver does not say what the {} buffer is",
                              to == Place::unknown ? "receive" : "send"));
  }
  if ((to == Place::device) != (from == Place::device)) {
    return refuse(Result::invalid_argument, call,
                  fmt::format("the send buffer is {} and the receive buffer {}; expected both in device "
                              "memory or both on the host",
                              name_of(from), name_of(to)));
  }
  if (to != Place::device && stream != nullptr && (to == Place::host || from == Place::host)) {
    return refuse(
        Result::invalid_argument, call,
        fmt::format(
            "a stream was given, and the {} buffer is pageable host memory, which no device can reach",
            to == Place::host ? "receive" : "send"));
  }
  on_device = to == Place::device || stream != nullptr;
  return Result::success;
}

Result Communicator::check_without_device(const Call& call, const void* send, const void* recv,
                                          const void* stream) {
  constexpr const char* kExpected =
      "a communicator made with a device (config.device, TUTTI_DEVICE, or cudaSetDevice before it is made)";
  if (stream != nullptr) {
    return refuse(
        Result::unsupported, call,
        fmt::format("a stream was given, and this communicator has no device; expected a null stream, or {}",
                    kExpected));
  }
  if (call.bytes() == 0 || !guards_host_memory_) return Result::success;
  const bool to = is_device_memory(recv);
  if (!to && !(call.sends(rank()) && is_device_memory(send))) return Result::success;
  return refuse(
      Result::unsupported, call,
      fmt::format("the {} buffer is device memory, and this communicator has no device; expected {}",
                  to ? "receive" : "send", kExpected));
}

Result Communicator::check_on_device(const Call& call, const void* send, const void* recv) {
  if (const Result failed = look_for_device_failure(); failed != Result::success) return failed;
  if (const Result checked = check_call(call, send, recv); checked != Result::success) return checked;
  if (registered_.empty()) return Result::success;
  const std::string freed = device_->freed_buffer(call, send, recv);
  return freed.empty() ? Result::success : refuse(Result::invalid_usage, call, freed);
}

Result Communicator::run_on_device(const Call& call, const void* send, void* recv, void* stream) {
  if (const Result checked = check_on_device(call, send, recv); checked != Result::success) return checked;
  std::string problem;
  const Result enqueued = device_->enqueue(call, send, recv, stream, problem);
  return enqueued == Result::success ? enqueued : device_failed(call, problem);
}

Result Communicator::device_failed(const Call& call, const std::string& problem) {
  return poison(Result::system_error,
                fmt::format("{}: {}: {}", rank_text(rank()), tutti::describe(call), problem));
}

/// Errors of kernels are found late, by the next call or query, and stay.
Result Communicator::look_for_device_failure() {
  if (poisoned_ != Result::success || abort_.raised()) return adopt_poison();
  if (device_ == nullptr) return Result::success;
  const auto failure = device_->failure();
  return failure ? poison(failure->code, failure->text) : Result::success;
}

uint64_t Communicator::register_buffer(const void* buffer, size_t bytes) {
  if (const Result failed = look_for_device_failure(); failed != Result::success)
    throw Error(failed, error_text());
  const uint64_t id = next_registration_++;
  if (device_ != nullptr) device_->register_buffer(id, buffer, bytes);
  registered_.insert(id);
  if (world_->networks && bytes != 0 && !lies_on_device(buffer)) register_with_networks(id, buffer, bytes);
  return id;
}

bool Communicator::lies_on_device(const void* buffer) const {
  if (device_ != nullptr) return device_->place_of(buffer) == Place::device;
  return guards_host_memory_ && is_device_memory(buffer);
}

/// What cannot be registered is copied, as if it had not been.
void Communicator::register_with_networks(uint64_t id, const void* buffer, size_t bytes) {
  const std::unique_lock taken = take_custody();
  const std::string problem =
      world_->networks->register_source(id, {static_cast<const std::byte*>(buffer), bytes});
  if (problem.empty()) return;
  registration_problem_ = problem;
  log(Level::warn, "{}: a buffer of {} bytes at {} is copied before it is sent, though it was registered: {}",
      rank_text(rank()), bytes, buffer, problem);
}

void Communicator::deregister_buffer(uint64_t id) {
  if (const Result failed = look_for_device_failure(); failed != Result::success)
    throw Error(failed, error_text());
  if (registered_.erase(id) == 0)
    raise(Result::invalid_argument, "{}: tutti_deregister: buffer {} is not registered", rank_text(rank()),
          id);
  if (world_->networks) {
    const std::unique_lock taken = take_custody();
    world_->networks->forget_source(id);
  }
  if (device_ != nullptr) device_->deregister_buffer(id);
}

}  // namespace tutti
