// Tutti as a library to be measured on device memory: all ranks of a call are one group.
#include "benchmarks/device_library.h"

#include <fmt/format.h>

#include <cstdlib>
#include <stdexcept>

#include "benchmarks/options.h"

namespace tutti::bench {

TuttiOnDevice::TuttiOnDevice(const CollectiveInfo& collective, const std::vector<int>& devices,
                             const std::string& algorithm, int64_t timeout_ns)
    : collective_(collective), comms_(devices.size()) {
  tutti_comm_config_t config = TUTTI_COMM_CONFIG_INIT;
  config.timeout_ns = timeout_ns;
  config.algorithm = algorithm.empty() ? nullptr : algorithm.c_str();
  config.devices = devices.data();
  const tutti_result_t made =
      tutti_comm_create_local(comms_.data(), static_cast<int>(devices.size()), &config);
  if (made == TUTTI_SUCCESS) return;
  if (made == TUTTI_INVALID_ARGUMENT && !algorithm.empty())
    throw UsageError(fmt::format("--algorithm: {}", tutti_last_error()));
  throw std::runtime_error(tutti_last_error());
}

TuttiOnDevice::~TuttiOnDevice() {
  for (tutti_comm_t comm : comms_) tutti_comm_destroy(comm);
}

int TuttiOnDevice::enqueue(std::span<const DeviceCall> calls) noexcept {
  tutti_result_t first = tutti_group_start();
  for (size_t rank = 0; rank < calls.size() && first == TUTTI_SUCCESS; ++rank) {
    const Call& call = calls[rank].call;
    tutti_stream_t stream = calls[rank].stream;
    tutti_comm_t comm = comms_[rank];
    first = collective_.kind == Kind::broadcast
                ? tutti_broadcast(call.send, call.recv, call.count, call.datatype, call.root, comm, stream)
                : tutti_all_reduce(call.send, call.recv, call.count, call.datatype, call.op, comm, stream);
  }
  const tutti_result_t ended = tutti_group_end();
  return first == TUTTI_SUCCESS ? ended : first;
}

std::string TuttiOnDevice::explain(int code) const {
  const std::string text = tutti_last_error();
  return text.empty() ? tutti_result_name(static_cast<tutti_result_t>(code)) : text;
}

std::string TuttiOnDevice::trouble() const {
  for (tutti_comm_t comm : comms_) {
    const tutti_result_t result = tutti_comm_query(comm);
    if (result != TUTTI_SUCCESS) return explain(result);
  }
  return {};
}

std::string TuttiOnDevice::algorithm(const Call& call) const {
  const char* name = tutti_algorithm_name(comms_.front(), collective_.name, call.count, call.datatype);
  return name == nullptr ? "unknown" : name;
}

int TuttiOnDevice::blocks() const {
  size_t needed = 0;
  if (tutti_comm_describe(comms_.front(), nullptr, 0, &needed) != TUTTI_SUCCESS) return 0;
  std::string text(needed, '\0');
  if (tutti_comm_describe(comms_.front(), text.data(), text.size(), nullptr) != TUTTI_SUCCESS) return 0;
  // "device 0 (NVIDIA H200), at most 16 thread blocks, ...".
  const size_t end = text.find(" thread blocks");
  const size_t before = end == std::string::npos ? end : text.rfind(' ', end - 1);
  return before == std::string::npos ? 0 : std::atoi(text.c_str() + before + 1);
}

}  // namespace tutti::bench
