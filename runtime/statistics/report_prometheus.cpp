#include <fmt/format.h>

#include <iterator>

#include "runtime/statistics/report.h"

namespace tutti::statistics {

namespace {

// Prometheus wants few, fixed buckets: one per octave, from 256 ns to 34 s.
constexpr int kFirstOctave = 8;
constexpr int kLastOctave = 35;

double seconds(uint64_t nanoseconds) {
  return static_cast<double>(nanoseconds) * 1e-9;
}

std::string kind_labels(Kind kind) {
  if (kind == kOtherKinds) return R"(collective="others",bytes_to="")";
  const uint64_t most = most_bytes(size_class_of_kind(kind));
  return fmt::format(R"(collective="{}",bytes_to="{}")", name_of(collective_of(kind)),
                     most == UINT64_MAX ? "+Inf" : std::to_string(most));
}

class Writer {
 public:
  explicit Writer(const Scope& scope)
      : scope_labels_(fmt::format(R"(communicator="{}",node="{}")", scope.communicator, scope.node)),
        rank_labels_(fmt::format(R"({},rank="{}")", scope_labels_, scope.rank)) {}

  const std::string& of_node() const { return scope_labels_; }
  const std::string& of_rank() const { return rank_labels_; }

  void metric(const char* name, const char* type, const char* help) {
    fmt::format_to(std::back_inserter(text_), "# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, type);
  }

  template <typename Value>
  void sample(const char* name, const std::string& labels, Value value) {
    fmt::format_to(std::back_inserter(text_), "{}{{{}}} {}\n", name, labels, value);
  }

  void histogram(const char* name, const std::string& labels, const Histogram& histogram) {
    uint64_t below = 0;
    size_t bucket = 0;
    for (int octave = kFirstOctave; octave <= kLastOctave; ++octave) {
      const uint64_t edge = uint64_t{1} << octave;
      for (; Histogram::upper_bound(bucket) < edge; ++bucket) below += histogram.count_in(bucket);
      fmt::format_to(std::back_inserter(text_), "{}_bucket{{{},le=\"{}\"}} {}\n", name, labels, seconds(edge),
                     below);
    }
    const uint64_t count = histogram.count();
    fmt::format_to(std::back_inserter(text_),
                   "{0}_bucket{{{1},le=\"+Inf\"}} {2}\n{0}_sum{{{1}}} {3}\n{0}_count{{{1}}} {2}\n", name,
                   labels, count, seconds(histogram.sum()));
  }

  std::string take() { return std::move(text_); }

 private:
  std::string scope_labels_;
  std::string rank_labels_;
  std::string text_;
};

void write_kinds(Writer& writer, const Summary& summary, const char* name, const char* help,
                 const std::string& labels, Histogram KindSummary::*which) {
  writer.metric(name, "histogram", help);
  for (const KindSummary& kind : summary.kinds)
    writer.histogram(name, labels + "," + kind_labels(kind.kind), kind.*which);
}

void write_ranks(Writer& writer, const Summary& summary, const char* name, const char* type, const char* help,
                 double (*value)(const RankSummary&)) {
  writer.metric(name, type, help);
  for (const RankSummary& rank : summary.ranks)
    writer.sample(name, fmt::format(R"({},rank="{}")", writer.of_node(), rank.rank), value(rank));
}

void write_node(Writer& writer, const Summary& summary) {
  write_kinds(writer, summary, "tutti_skew_seconds",
              "Last arrival minus first arrival among the ranks of the node.", writer.of_node(),
              &KindSummary::skew);
  write_kinds(writer, summary, "tutti_service_seconds",
              "Last completion minus last arrival among the ranks of the node.", writer.of_node(),
              &KindSummary::service);
  write_ranks(writer, summary, "tutti_last_arrivals_total", "counter",
              "Operations in which the rank was the last to arrive.",
              [](const RankSummary& rank) { return static_cast<double>(rank.times_last); });
  write_ranks(writer, summary, "tutti_late_seconds_total", "counter",
              "By how much the rank arrived after the one before it, where it was the last.",
              [](const RankSummary& rank) { return seconds(rank.late_ns); });
  write_ranks(writer, summary, "tutti_late_seconds_max", "gauge", "The longest of these times.",
              [](const RankSummary& rank) { return seconds(rank.most_late_ns); });
  writer.metric("tutti_statistics_derived_total", "counter",
                "Operations of which skew and culprit are known.");
  writer.sample("tutti_statistics_derived_total", writer.of_node(), summary.derived);
  writer.metric("tutti_statistics_dropped_total", "counter",
                "Operations whose stamps were overwritten before they were looked at.");
  writer.sample("tutti_statistics_dropped_total", writer.of_node(), summary.dropped);
}

void write_job_kinds(Writer& writer, const JobSummary& job, const std::string& labels) {
  const auto each = [&](const char* name, const char* help, Histogram JobKind::*which) {
    writer.metric(name, "histogram", help);
    for (const JobKind& kind : job.kinds)
      writer.histogram(name, labels + "," + kind_labels(kind.kind), kind.*which);
  };
  each("tutti_job_skew_seconds", "Last arrival minus first arrival among all ranks.", &JobKind::skew);
  each("tutti_job_service_seconds", "Last completion minus last arrival among all ranks.", &JobKind::service);
  const char* most = "tutti_job_uncertainty_seconds_max";
  writer.metric(most, "gauge",
                "By how much the clocks of the nodes may have falsified one skew, service or lateness.");
  for (const JobKind& kind : job.kinds)
    writer.sample(most, labels + "," + kind_labels(kind.kind), seconds(kind.uncertainty.most_ns));
}

void write_job_ranks(Writer& writer, const JobSummary& job, const std::string& labels) {
  const auto each = [&](const char* name, const char* type, const char* help,
                        double (*value)(const JobRank&)) {
    writer.metric(name, type, help);
    for (size_t r = 0; r < job.ranks.size(); ++r)
      writer.sample(name, fmt::format(R"({},rank="{}")", labels, r), value(job.ranks[r]));
  };
  each("tutti_job_last_arrivals_total", "counter",
       "Operations in which the rank was the last of all to arrive.",
       [](const JobRank& rank) { return static_cast<double>(rank.times_last); });
  each("tutti_job_certain_last_arrivals_total", "counter",
       "Of these, those in which it was late by more than the uncertainty.",
       [](const JobRank& rank) { return static_cast<double>(rank.times_certain); });
  each("tutti_job_late_seconds_total", "counter",
       "By how much the rank arrived after the one before it, where it was the last of all.",
       [](const JobRank& rank) { return seconds(rank.late_ns); });
  each("tutti_job_late_seconds_max", "gauge", "The longest of these times.",
       [](const JobRank& rank) { return seconds(rank.most_late_ns); });
}

void write_job(Writer& writer, const JobSummary& job, int communicator) {
  const std::string labels = fmt::format(R"(communicator="{}")", communicator);
  write_job_kinds(writer, job, labels);
  write_job_ranks(writer, job, labels);
  writer.metric("tutti_job_clock_uncertainty_seconds", "gauge",
                "Of the node's clock, compared with that of rank 0.");
  for (size_t n = 0; n < job.nodes.size(); ++n) {
    writer.sample("tutti_job_clock_uncertainty_seconds", fmt::format(R"({},node="{}")", labels, n),
                  seconds(job.nodes[n].error_ns));
  }
  writer.metric("tutti_job_derived_total", "counter",
                "Operations of which skew and culprit are known for the whole job.");
  writer.sample("tutti_job_derived_total", labels, job.derived);
  writer.metric("tutti_job_incomplete_total", "counter", "Operations of which not all nodes have told.");
  writer.sample("tutti_job_incomplete_total", labels, job.incomplete);
}

void write_rail_events(Writer& writer, std::span<const RailStatistics> rails) {
  const char* name = "tutti_rail_events_total";
  writer.metric(name, "counter", "What the device has said of itself and of its port.");
  for (const RailStatistics& rail : rails) {
    const auto sample = [&](const char* event, uint64_t count) {
      writer.sample(name, fmt::format(R"({},rail="{}",event="{}")", writer.of_rank(), rail.name, event),
                    count);
    };
    sample("port_down", rail.port_downs);
    sample("port_up", rail.port_ups);
    sample("address_change", rail.address_changes);
    sample("device_failure", rail.device_failures);
  }
}

void write_rails(Writer& writer, std::span<const RailStatistics> rails) {
  const auto labels = [&](const RailStatistics& rail) {
    return fmt::format(R"({},rail="{}")", writer.of_rank(), rail.name);
  };
  const auto each = [&](const char* name, const char* type, const char* help,
                        uint64_t RailStatistics::*which) {
    writer.metric(name, type, help);
    for (const RailStatistics& rail : rails) writer.sample(name, labels(rail), rail.*which);
  };
  each("tutti_rail_bytes_total", "counter", "Bytes that were given to the rail.", &RailStatistics::bytes);
  each("tutti_rail_writes_total", "counter", "Writes that were given to the rail.", &RailStatistics::writes);
  each("tutti_rail_outstanding_bytes", "gauge", "Of these bytes, those that are not complete.",
       &RailStatistics::outstanding);
  each("tutti_rail_dead_peers", "gauge", "Ranks that are not reached by the rail any more.",
       &RailStatistics::dead_peers);
  writer.metric("tutti_rail_up", "gauge", "1, or 0 where the port is down or the device has failed.");
  for (const RailStatistics& rail : rails) writer.sample("tutti_rail_up", labels(rail), rail.is_up ? 1 : 0);
  write_rail_events(writer, rails);
  const char* completion = "tutti_rail_completion_seconds";
  writer.metric(completion, "histogram",
                "Time from the posting of a signalled write until it is seen to be complete.");
  for (const RailStatistics& rail : rails) writer.histogram(completion, labels(rail), rail.completion);
}

}  // namespace

std::string as_prometheus(const Summary& summary, const Scope& scope, const std::optional<JobSummary>& job,
                          std::span<const RailStatistics> rails) {
  Writer writer(scope);
  write_kinds(writer, summary, "tutti_latency_seconds", "Time from the arrival of the rank to its result.",
              writer.of_rank(), &KindSummary::latency);
  if (summary.place == 0 && summary.ranks.size() > 1) write_node(writer, summary);
  if (!rails.empty()) write_rails(writer, rails);
  if (job) write_job(writer, *job, scope.communicator);
  return writer.take();
}

}  // namespace tutti::statistics
