#include "runtime/communicator/settings.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "runtime/statistics/built_in.h"
#include "runtime/version.h"

namespace tutti {

namespace {

uint64_t limit(int64_t given, const char* field, uint64_t fallback) {
  if (given < 0)
    raise(Result::invalid_argument, "{} is {} ns; expected more than 0, or 0 for the default", field, given);
  return given != 0 ? static_cast<uint64_t>(given) : fallback;
}

int device_of(const Environment& environment) {
  if (environment.is_automatic(Variable::device)) return kDeviceAutomatic;
  const uint64_t number = environment.integer(Variable::device);
  return number == kNone ? kDeviceNone : static_cast<int>(number);
}

std::string digest(const Environment& environment, const std::string& algorithm) {
  std::string lines = fmt::format("library version={}\nstatistics in this build={}\n", kVersionText,
                                  kStatisticsBuiltIn ? "yes" : "no");
  for (const auto& [name, value] : environment.plan_values()) {
    // The configuration's algorithm stands for the variable.
    const bool replaced = name == "TUTTI_ALGO" && !algorithm.empty();
    lines += fmt::format("{}={}\n", name, replaced ? algorithm : value);
  }
  return lines;
}

}  // namespace

Settings make_settings(const Environment& environment, const Overrides& overrides) {
  Settings s;
  s.timeout_ns = limit(overrides.timeout_ns, "timeout_ns", environment.duration_ns(Variable::timeout));
  s.setup_timeout_ns =
      limit(overrides.setup_timeout_ns, "setup_timeout_ns", environment.duration_ns(Variable::setup_timeout));
  s.warn_after_ns = environment.duration_ns(Variable::warn_after);
  s.scratch_bytes = environment.size(Variable::scratch_bytes);
  s.epoch_start = environment.integer(Variable::epoch_start);
  s.simd = environment.choice<SimdChoice>(Variable::simd);
  if (!environment.is_automatic(Variable::spin)) {
    s.wait.spin_ns = environment.duration_ns(Variable::spin);
    s.spin_given = true;
  }
  s.wait.sleep_after_ns = environment.duration_ns(Variable::sleep_after);

  const std::string& algorithm =
      overrides.algorithm.empty() ? environment.text(Variable::algo) : overrides.algorithm;
  s.tuning.forced = parse_forced(algorithm);
  s.tuning.slice_bytes = environment.size(Variable::slice_bytes);
  s.tuning.credits = static_cast<int>(environment.integer(Variable::credits));
  s.tuning.one_shot_bytes = environment.size(Variable::one_shot_bytes);
  s.interfaces = environment.text(Variable::ifname);
  s.ports = environment.text(Variable::port_range);
  s.node_id = environment.text(Variable::node_id);
  s.transport = environment.choice<TransportChoice>(Variable::transport);
  s.ib_rails = environment.text(Variable::ib_hca);
  if (!environment.is_automatic(Variable::ib_gid_index))
    s.ib_tuning.gid_index = static_cast<int>(environment.integer(Variable::ib_gid_index));
  s.ib_tuning.traffic_class = static_cast<int>(environment.integer(Variable::ib_traffic_class));
  s.ib_tuning.timeout = static_cast<int>(environment.integer(Variable::ib_timeout));
  s.ib_tuning.retries = static_cast<int>(environment.integer(Variable::ib_retry_count));
  s.ucx_put = environment.choice<UcxPut>(Variable::ucx_put);
  if (overrides.device < kDeviceNone) {
    raise(Result::invalid_argument,
          "config.device is {}; expected the number of a CUDA device, TUTTI_DEVICE_AUTO (-1) or "
          "TUTTI_DEVICE_NONE (-2)",
          overrides.device);
  }
  s.device = overrides.device != kDeviceAutomatic ? overrides.device : device_of(environment);
  s.ctas = static_cast<int>(environment.integer(Variable::ctas));
  s.device_comms = static_cast<int>(environment.integer(Variable::device_comms));
  s.device_scratch_bytes = environment.size(Variable::device_scratch_bytes);
  s.stats_file = environment.text(Variable::stats);
  s.digest = digest(environment, overrides.algorithm);
  return s;
}

/// Within the same bound for the node as without others.
size_t scratch_bytes(const Settings& settings, int nodes, int most) {
  constexpr size_t kBetweenNodes = size_t{4} << 20;
  constexpr size_t kNodeLimit = size_t{64} << 20;
  if (settings.scratch_bytes != 0 || nodes == 1) return settings.scratch_bytes;
  return std::min(kBetweenNodes, kNodeLimit / static_cast<size_t>(most));
}

}  // namespace tutti
