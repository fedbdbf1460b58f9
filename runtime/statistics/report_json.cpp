#include <nlohmann/json.hpp>
#include <string_view>

#include "runtime/statistics/report.h"
#include "runtime/version.h"

namespace tutti::statistics {

namespace {

using Json = nlohmann::ordered_json;

Json histogram_json(const Histogram& histogram) {
  Json out = {{"count", histogram.count()}};
  if (histogram.count() == 0) return out;
  out["sum_ns"] = histogram.sum();
  out["mean_ns"] = histogram.mean();
  out["min_ns"] = histogram.min();
  out["p50_ns"] = histogram.percentile(0.5);
  out["p90_ns"] = histogram.percentile(0.9);
  out["p99_ns"] = histogram.percentile(0.99);
  out["p999_ns"] = histogram.percentile(0.999);
  out["max_ns"] = histogram.max();
  Json buckets = Json::array();
  for (size_t i = 0; i < Histogram::kBuckets; ++i) {
    if (const uint64_t count = histogram.count_in(i); count != 0)
      buckets.push_back({Histogram::lower_bound(i), count});
  }
  out["buckets"] = buckets;
  return out;
}

Json head_of_kind(Kind kind) {
  if (kind == kOtherKinds) return {{"collective", "others"}};
  const int size_class = size_class_of_kind(kind);
  const uint64_t most = most_bytes(size_class);
  return {{"collective", name_of(collective_of(kind))},
          {"bytes_from", least_bytes(size_class)},
          {"bytes_to", most == UINT64_MAX ? Json(nullptr) : Json(most)}};
}

Json kind_json(const KindSummary& kind, bool has_peers) {
  Json out = head_of_kind(kind.kind);
  out["latency"] = histogram_json(kind.latency);
  out["waited_ns"] = kind.waited_ns;
  out["latency_of_node"] = histogram_json(kind.latency_of_node);
  if (has_peers) out["skew"] = histogram_json(kind.skew);
  if (has_peers) out["service"] = histogram_json(kind.service);
  return out;
}

Json rank_json(const RankSummary& rank, uint64_t derived) {
  const auto times = static_cast<double>(rank.times_last);
  return {{"rank", rank.rank},
          {"operations", rank.operations},
          {"times_last", rank.times_last},
          {"share_last", derived == 0 ? 0.0 : times / static_cast<double>(derived)},
          {"late_ns", rank.late_ns},
          {"mean_late_ns", rank.times_last == 0 ? 0.0 : static_cast<double>(rank.late_ns) / times},
          {"max_late_ns", rank.most_late_ns}};
}

/// Beside figures that come from several clocks.
void add_uncertainty(Json& figures, const Uncertainty& uncertainty, uint64_t count) {
  if (count == 0) return;
  figures["uncertainty_mean_ns"] = static_cast<double>(uncertainty.sum_ns) / static_cast<double>(count);
  figures["uncertainty_max_ns"] = uncertainty.most_ns;
}

Json job_kind_json(const JobKind& kind) {
  Json out = head_of_kind(kind.kind);
  out["skew"] = histogram_json(kind.skew);
  add_uncertainty(out["skew"], kind.uncertainty, kind.skew.count());
  out["service"] = histogram_json(kind.service);
  add_uncertainty(out["service"], kind.uncertainty, kind.service.count());
  return out;
}

Json job_rank_json(const JobRank& rank, int number, uint64_t derived) {
  const auto times = static_cast<double>(rank.times_last);
  Json out = {{"rank", number},
              {"times_last", rank.times_last},
              {"times_certain", rank.times_certain},
              {"share_last", derived == 0 ? 0.0 : times / static_cast<double>(derived)},
              {"late_ns", rank.late_ns},
              {"mean_late_ns", rank.times_last == 0 ? 0.0 : static_cast<double>(rank.late_ns) / times},
              {"max_late_ns", rank.most_late_ns}};
  add_uncertainty(out, rank.uncertainty, rank.times_last);
  return out;
}

Json job_json(const JobSummary& job) {
  Json out = {
      {"scope", "job"}, {"derived", job.derived}, {"incomplete", job.incomplete}, {"one_in", job.one_in}};
  Json nodes = Json::array();
  for (size_t n = 0; n < job.nodes.size(); ++n)
    nodes.push_back(
        {{"node", n}, {"clock_uncertainty_ns", job.nodes[n].error_ns}, {"lost", job.nodes[n].lost}});
  out["nodes"] = nodes;
  Json kinds = Json::array();
  for (const JobKind& kind : job.kinds) kinds.push_back(job_kind_json(kind));
  out["kinds"] = kinds;
  Json ranks = Json::array();
  for (size_t r = 0; r < job.ranks.size(); ++r)
    ranks.push_back(job_rank_json(job.ranks[r], static_cast<int>(r), job.derived));
  out["ranks"] = ranks;
  return out;
}

Json rail_json(const RailStatistics& rail, std::span<const RailStatistics> rails) {
  return {{"rail", rail.name},
          {"bytes", rail.bytes},
          {"writes", rail.writes},
          {"share", share_of(rail, rails)},
          {"outstanding_bytes", rail.outstanding},
          {"dead_peers", rail.dead_peers},
          {"up", rail.is_up},
          {"events",
           {{"port_down", rail.port_downs},
            {"port_up", rail.port_ups},
            {"address_change", rail.address_changes},
            {"device_failure", rail.device_failures}}},
          {"completion", histogram_json(rail.completion)}};
}

/// A list of buckets is one line, not one for every number.
std::string with_short_buckets(const std::string& text) {
  constexpr std::string_view kKey = "\"buckets\": [";
  std::string out;
  size_t at = 0;
  for (size_t found = 0; (found = text.find(kKey, at)) != std::string::npos;) {
    size_t i = found + kKey.size();
    out.append(text, at, i - at);
    for (int depth = 1; depth > 0; ++i) {
      if (text[i] == '[') ++depth;
      if (text[i] == ']') --depth;
      if (text[i] != ' ' && text[i] != '\n') out += text[i];
      if (text[i] == ',' && depth == 1) out += ' ';
    }
    at = i;
  }
  return out.append(text, at);
}

}  // namespace

std::string as_json(const Summary& summary, const Scope& scope, const std::optional<JobSummary>& job,
                    std::span<const RailStatistics> rails) {
  Json out;
  out["schema"] = "tutti-stats/1";
  out["version"] = kVersionText;
  out["communicator"] = scope.communicator;
  out["rank"] = scope.rank;
  out["size"] = scope.size;
  out["node"] = scope.node;
  out["nodes"] = scope.nodes;
  out["scope"] = scope.nodes == 1 ? "all ranks" : "ranks of this node";
  out["memory"] = "host";
  out["operations"] = summary.own().operations;
  out["derived"] = summary.derived;
  out["pending"] = summary.pending;
  out["dropped"] = summary.dropped;
  Json kinds = Json::array();
  for (const KindSummary& kind : summary.kinds) kinds.push_back(kind_json(kind, summary.ranks.size() > 1));
  out["kinds"] = kinds;
  Json ranks = Json::array();
  for (const RankSummary& rank : summary.ranks) ranks.push_back(rank_json(rank, summary.derived));
  out["ranks"] = ranks;
  if (!rails.empty()) {
    Json list = Json::array();
    for (const RailStatistics& rail : rails) list.push_back(rail_json(rail, rails));
    out["rails"] = list;
  }
  if (job) out["job"] = job_json(*job);
  return with_short_buckets(out.dump(2)) + "\n";
}

}  // namespace tutti::statistics
