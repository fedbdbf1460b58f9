// From JSON to rows: the inverse of to_json.
#include "benchmarks/results.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace tutti::bench {
namespace {

using Json = nlohmann::json;

template <typename Value>
std::optional<Value> maybe(const Json& json) {
  return json.is_null() ? std::nullopt : std::optional(json.get<Value>());
}

/// Of a file that may be from before there was this key.
std::optional<Interval> interval_from(const Json& json, const char* key) {
  if (!json.contains(key) || json.at(key).is_null()) return std::nullopt;
  return Interval{json.at(key).at(0), json.at(key).at(1)};
}

std::string text_or_empty(const Json& json) {
  return json.is_null() ? "" : json.get<std::string>();
}

/// The value whose name this is.
template <typename Value>
Value named(const std::string& name, int values, const char* (*name_of)(Value)) {
  for (int value = 0; value < values; ++value) {
    if (name == name_of(static_cast<Value>(value))) return static_cast<Value>(value);
  }
  throw std::runtime_error(fmt::format("'{}' is no name of a type or operator", name));
}

Gpu gpu_from(const Json& json) {
  return {.name = json.at("name"),
          .devices = json.at("devices"),
          .cuda = json.at("cuda"),
          .copy_gbs = json.at("copy_gbs"),
          .blocks = json.at("blocks"),
          .nccl = text_or_empty(json.at("nccl"))};
}

OnDevice device_from(const Json& json) {
  return {.ranks_per_gpu = json.at("ranks_per_gpu"),
          .call_ns = json.at("call_ns"),
          .settings = text_or_empty(json.at("settings"))};
}

Row row_from(const CollectiveInfo& collective, const Json& json) {
  constexpr int kDatatypes = TUTTI_FLOAT8_E5M2 + 1;
  constexpr int kOps = TUTTI_AVG + 1;
  Row row;
  row.library = json.at("library");
  row.algorithm = json.at("algorithm");
  row.ranks = json.at("ranks");
  row.nodes = json.at("nodes");
  row.bytes = json.at("bytes");
  row.call.count = json.at("count");
  row.call.datatype = named<tutti_datatype_t>(json.at("dtype"), kDatatypes, tutti_datatype_name);
  if (collective.has_op()) row.call.op = named<tutti_op_t>(json.at("op"), kOps, tutti_op_name);
  if (collective.has_root()) row.call.root = json.at("root");
  row.in_place = json.at("in_place");
  row.us.samples = json.at("iterations");
  row.us.p50 = maybe<double>(json.at("p50_us"));
  row.us.p90 = maybe<double>(json.at("p90_us"));
  row.us.p99 = maybe<double>(json.at("p99_us"));
  row.us.p999 = maybe<double>(json.at("p999_us"));
  row.us.p9999 = maybe<double>(json.at("p9999_us"));
  row.us.max = json.at("max_us");
  row.us.mean = json.at("mean_us");
  row.us.cv = maybe<double>(json.at("cv"));
  row.p50_interval = interval_from(json, "p50_interval_us");
  row.p99_interval = interval_from(json, "p99_interval_us");
  row.p50_ratio_interval = interval_from(json, "p50_ratio_interval");
  row.p99_ratio_interval = interval_from(json, "p99_ratio_interval");
  row.bus_factor = collective.bus_factor(row.ranks);
  row.verified = !json.at("wrong").is_null();
  if (row.verified) row.wrong = json.at("wrong");
  if (json.at("memory") == "device") row.device = device_from(json);
  if (!json.at("mode").is_null()) row.mode = json.at("mode");
  if (!json.at("chain").is_null()) row.chain = json.at("chain");
  row.bound_us = maybe<double>(json.at("bound_us"));
  row.no_baseline = text_or_empty(json.at("no_baseline"));
  return row;
}

}  // namespace

Results read_results(const CollectiveInfo& collective, const std::string& text) {
  try {
    const Json document = Json::parse(text);
    Results results;
    for (const Json& json : document.at("results")) results.rows.push_back(row_from(collective, json));
    const Json& gpu = document.at("machine").at("gpu");
    if (!gpu.is_null()) results.gpu = gpu_from(gpu);
    return results;
  } catch (const Json::exception& error) {
    throw std::runtime_error(fmt::format("no result of this program: {}", error.what()));
  }
}

}  // namespace tutti::bench
