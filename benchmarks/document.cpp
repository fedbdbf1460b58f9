// From rows to JSON; results.h is the way back.
#include "benchmarks/document.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace tutti::bench {
namespace {

using Json = nlohmann::ordered_json;

Json or_null(std::optional<double> value) {
  return value ? Json(*value) : Json(nullptr);
}
Json or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json or_null(const std::optional<Interval>& interval) {
  return interval ? Json{interval->low, interval->high} : Json(nullptr);
}

Json gpu_json(const std::optional<Gpu>& gpu) {
  if (!gpu) return nullptr;
  return {{"name", gpu->name},         {"devices", gpu->devices}, {"cuda", gpu->cuda},
          {"copy_gbs", gpu->copy_gbs}, {"blocks", gpu->blocks},   {"nccl", or_null(gpu->nccl)}};
}

Json limits_json(const std::optional<MachineLimits>& limits) {
  if (!limits) return nullptr;
  return {{"cache_line_ns", or_null(limits->cache_line_ns)}, {"copy_gbs", or_null(limits->copy_gbs)}};
}

Json baselines_json(const std::vector<BaselineInfo>& baselines) {
  Json json = Json::object();
  for (const BaselineInfo& one : baselines)
    json[one.name] = {{"version", one.version}, {"settings", or_null(one.settings)}};
  return json;
}

Json machine_json(const Machine& machine) {
  return {{"cpu", machine.cpu},
          {"cores", machine.cores},
          {"memory_bytes", machine.memory_bytes},
          {"kernel", machine.kernel},
          {"architecture", machine.architecture},
          {"node", machine.node},
          {"compiler", machine.compiler},
          {"tutti_version", machine.tutti_version},
          {"mpi", or_null(machine.mpi)},
          {"mpi_yield_when_idle", or_null(machine.mpi_yields)},
          {"launch", machine.launch},
          {"time", machine.time},
          {"command", machine.command},
          {"measuring_ns", or_null(machine.measuring_ns)},
          {"limits", limits_json(machine.limits)},
          {"baselines", baselines_json(machine.baselines)},
          {"gpu", gpu_json(machine.gpu)}};
}

void add_device(const Row& row, Json& json) {
  const bool there = row.device.has_value();
  const OnDevice none;
  const OnDevice& device = there ? *row.device : none;
  json["memory"] = there ? "device" : "host";
  json["ranks_per_gpu"] = there ? Json(device.ranks_per_gpu) : Json(nullptr);
  json["mode"] = row.mode;
  json["chain"] = row.chain;
  json["rate"] = or_null(row.rate);
  json["bound_us"] = or_null(row.bound_us);
  json["bound_fraction"] = or_null(row.bound_fraction());
  json["cache_line_ns"] = row.cache_line_ns ? Json(*row.cache_line_ns) : Json(nullptr);
  json["machine_changed"] = row.cache_line_ns ? Json(row.machine_changed()) : Json(nullptr);
  json["call_ns"] = there ? Json(device.call_ns) : Json(nullptr);
  json["settings"] = or_null(device.settings);
  json["no_baseline"] = or_null(row.no_baseline);
}

void add_arrivals(const Row& row, Json& json) {
  const bool there = row.arrivals.has_value();
  const Arrivals arrivals = row.arrivals.value_or(Arrivals());
  json["skew_p50_us"] = there ? Json(arrivals.skew_p50_us) : Json(nullptr);
  json["service_p50_us"] = there ? Json(arrivals.service_p50_us) : Json(nullptr);
  json["service_p99_us"] = or_null(arrivals.service_p99_us);
  json["culprit_rank"] = there ? Json(arrivals.culprit_rank) : Json(nullptr);
  json["culprit_share"] = there ? Json(arrivals.culprit_share) : Json(nullptr);
}

void add_windows(const Row& row, Json& json) {
  json["interrupted"] = row.interrupted;
  json["kept_every"] = row.trace.every;
  json["windows"] = nullptr;
  for (const RowWindow& window : row.trace.windows) {
    json["windows"].push_back({{"start_s", window.start_s},
                               {"iterations", window.iterations},
                               {"p50_us", window.p50_us},
                               {"p99_us", or_null(window.p99_us)},
                               {"max_us", window.max_us}});
  }
}

void add_disturbance(const Row& row, Json& json) {
  json["disturbance"] = or_null(row.disturbance);
  json["alone"] = nullptr;
  if (!row.alone) return;
  json["alone"] = {{"p50_us", or_null(row.alone->p50)},
                   {"p99_us", or_null(row.alone->p99)},
                   {"p999_us", or_null(row.alone->p999)},
                   {"max_us", row.alone->max}};
}

void add_cpu(const Row& row, Json& json) {
  const bool there = row.cpu.has_value();
  const CpuCost cpu = row.cpu.value_or(CpuCost());
  json["cpu_core_s_per_gb"] = there && row.bytes > 0 ? Json(cpu.core_s_per_gb(row.bytes)) : Json(nullptr);
  json["cpu_core_s_per_mcall"] = there ? Json(cpu.core_s_per_million()) : Json(nullptr);
  json["voluntary_switches"] = there ? Json(cpu.voluntary) : Json(nullptr);
  json["involuntary_switches"] = there ? Json(cpu.involuntary) : Json(nullptr);
}

Json row_json(const CollectiveInfo& collective, const Row& row) {
  Json json{{"library", row.library},
            {"collective", collective.name},
            {"algorithm", row.algorithm},
            {"ranks", row.ranks},
            {"nodes", row.nodes},
            {"bytes", row.bytes},
            {"count", row.call.count},
            {"dtype", tutti_datatype_name(row.call.datatype)},
            {"op", collective.has_op() ? Json(tutti_op_name(row.call.op)) : Json(nullptr)},
            {"root", collective.has_root() ? Json(row.call.root) : Json(nullptr)},
            {"in_place", row.in_place},
            {"iterations", row.us.samples},
            {"p50_us", or_null(row.us.p50)},
            {"p90_us", or_null(row.us.p90)},
            {"p99_us", or_null(row.us.p99)},
            {"p999_us", or_null(row.us.p999)},
            {"p9999_us", or_null(row.us.p9999)},
            {"max_us", row.us.max},
            {"mean_us", row.us.mean},
            {"p50_interval_us", or_null(row.p50_interval)},
            {"p99_interval_us", or_null(row.p99_interval)},
            {"p50_ratio_interval", or_null(row.p50_ratio_interval)},
            {"p99_ratio_interval", or_null(row.p99_ratio_interval)},
            {"cv", or_null(row.us.cv)},
            {"algbw_gbs", row.algbw()},
            {"busbw_gbs", row.busbw()},
            {"wrong", row.verified ? Json(row.wrong) : Json(nullptr)}};
  add_device(row, json);
  add_arrivals(row, json);
  add_cpu(row, json);
  add_windows(row, json);
  add_disturbance(row, json);
  return json;
}

Json raw_head(const CollectiveInfo& collective, const Machine& machine) {
  return {{"kind", "tutti-raw"},
          {"version", 1},
          {"collective", collective.name},
          {"machine", machine_json(machine)},
          {"command", machine.command}};
}

/// What a machine or a command line says about itself need not be UTF-8.
std::string text_of(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string to_json(const CollectiveInfo& collective, const Machine& machine, const std::vector<Row>& rows,
                    bool was_interrupted) {
  Json results = Json::array();
  for (const Row& row : rows) results.push_back(row_json(collective, row));
  const Json document{{"schema", "tutti-bench/1"},
                      {"machine", machine_json(machine)},
                      {"interrupted", was_interrupted},
                      {"results", std::move(results)}};
  return text_of(document, 2) + "\n";
}

std::string raw_header(const CollectiveInfo& collective, const Machine& machine) {
  return text_of(raw_head(collective, machine), -1);
}

std::string row_text(const CollectiveInfo& collective, const Row& row) {
  return text_of(row_json(collective, row), -1);
}

}  // namespace tutti::bench
