// The iterations of a row on device memory.
#include "benchmarks/device_harness.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "benchmarks/stamp.h"
#include "core/clock.h"

namespace tutti::bench {
namespace {

/// Longer messages are compared whole in the first verified iteration only.
constexpr uint64_t kOftenWhole = uint64_t{64} << 20;

}  // namespace

double least_traffic(Kind kind, int ranks, uint64_t bytes, bool in_place) {
  const auto message = static_cast<double>(bytes);
  // All-reduce: every input is read, every output written. Broadcast: one input is read, every output but the root's own is written.
  if (kind == Kind::all_reduce) return 2.0 * ranks * message;
  return (ranks + (in_place ? 0.0 : 1.0)) * message;
}

/// A library and what was measured of it.
struct DeviceHarness::Subject {
  DeviceLibrary* library = nullptr;
  std::unique_ptr<gpu::Graph> graph;  // of the mode graph
  Trace trace;
  std::vector<double> call_ns;
  int64_t wrong = 0;
};

class DeviceHarness::Measurement {
 public:
  Measurement(DeviceHarness& harness, const RowPlan& plan, const std::vector<DeviceLibrary*>& libraries)
      : harness_(harness),
        ranks_(harness.ranks_),
        options_(harness.options_),
        device_(*harness.options_.device),
        plan_(plan),
        label_(plan.label(harness.collective_)) {
    for (int rank = 0; rank < ranks_.size(); ++rank) {
      Call call = plan.call;
      call.recv = ranks_.recv(rank).pointer();
      call.send = plan.in_place ? call.recv : ranks_.send(rank).pointer();
      calls_.push_back({call, ranks_.stream(rank)});
      messages_.push_back(
          std::make_unique<DeviceMessage>(harness.collective_, call, ranks_, rank, harness.downloads_));
    }
    for (DeviceLibrary* library : libraries) subjects_.push_back({library, nullptr, {}, {}, 0});
  }

  std::vector<Row> run() {
    for (int64_t i = 0; i < options_.checks; ++i) verified_round(i == 0 ? Plant::checked : Plant::none);
    // Whatever a library does at its first call of a kind, it has done before the device is held, or a stream captured.
    if (options_.checks == 0) each_once();
    if (device_.graph) capture();
    measure_times();
    if (options_.checks > 0) verified_round(Plant::last);
    return rows();
  }

 private:
  /// Whether the second of two calls with the same buffers has the result of the first.
  bool repeatable() const {
    return options_.chain == 1 || !plan_.in_place || harness_.collective_.kind == Kind::broadcast;
  }

  std::string what(const Subject& subject) const {
    return fmt::format("{} by {}", label_, subject.library->name());
  }

  void must_succeed(const Subject& subject, int code) const {
    if (code != 0)
      throw std::runtime_error(fmt::format("{}: {}", what(subject), subject.library->explain(code)));
  }
  void must_be_well(const Subject& subject) const {
    const std::string trouble = subject.library->trouble();
    if (!trouble.empty()) throw std::runtime_error(fmt::format("{}: {}", what(subject), trouble));
  }

  void prepare() {
    ++harness_.generation_;
    for (const auto& message : messages_) message->prepare(harness_.generation_);
    ranks_.settle("preparing inputs");
  }

  /// Only one library's result is spoiled, on the last rank, so that one element is wrong.
  void check(Subject& subject, Extent extent, Plant plant) {
    if (plant != Plant::none && plant == options_.plant_error &&
        options_.plant_library == subject.library->name())
      messages_.back()->plant_error(extent, harness_.generation_);
    for (const auto& message : messages_) subject.wrong += message->check(extent, harness_.generation_);
  }

  void call_once(Subject& subject) {
    prepare();
    ranks_.device(0).make_current();
    must_succeed(subject, subject.library->enqueue(calls_));
    ranks_.settle(what(subject));
    must_be_well(subject);
  }
  void each_once() {
    for (Subject& subject : subjects_) call_once(subject);
  }
  /// Downloading a long message from all ranks takes seconds: that is done once.
  void verified_round(Plant plant) {
    const bool whole = plan_.bytes <= kOftenWhole || plant == Plant::checked;
    for (Subject& subject : subjects_) {
      call_once(subject);
      check(subject, whole ? Extent::whole : Extent::spans, plant);
    }
  }

  /// All streams go on from here together.
  void fork(const gpu::Event& start) const {
    start.record(ranks_.stream(0));
    for (int rank = 1; rank < ranks_.size(); ++rank)
      if (ranks_.stream(rank) != ranks_.stream(0)) start.hold(ranks_.stream(rank));
  }
  const gpu::Event& end(int rank) const { return *harness_.ends_[static_cast<size_t>(rank)]; }

  /// An event behind each rank's calls; the first stream goes on when all have come.
  void join() const {
    for (int rank = ranks_.size() - 1; rank >= 0; --rank)
      record_end(rank, ranks_.stream(rank) != ranks_.stream(0));
  }
  void record_end(int rank, bool first_waits) const {
    ranks_.device(rank).make_current();
    end(rank).record(ranks_.stream(rank));
    if (first_waits) end(rank).hold(ranks_.stream(0));
  }

  void capture() {
    for (Subject& subject : subjects_) {
      const gpu::Event start;
      ranks_.device(0).make_current();
      gpu::Graph::start(ranks_.stream(0));
      fork(start);
      int code = 0;
      for (int64_t i = 0; i < options_.chain && code == 0; ++i) code = subject.library->enqueue(calls_);
      std::string why = code == 0 ? "" : subject.library->explain(code);
      join();
      ranks_.device(0).make_current();
      subject.graph = std::make_unique<gpu::Graph>(ranks_.stream(0));
      if (code != 0) throw std::runtime_error(fmt::format("{}, captured: {}", what(subject), why));
    }
  }

  int enqueue(const Subject& subject) const {
    if (subject.graph != nullptr) return static_cast<int>(subject.graph->launch(ranks_.stream(0)));
    int code = 0;
    for (int64_t i = 0; i < options_.chain && code == 0; ++i) code = subject.library->enqueue(calls_);
    return code;
  }

  void must_be_enqueued(const Subject& subject, int code) const {
    if (subject.graph == nullptr) return must_succeed(subject, code);
    gpu::Driver::get().check(static_cast<CUresult>(code), "cuGraphLaunch");
  }

  /// A graph ends on the first stream, when all of it has; single calls end on the stream of each rank.
  int ends(const Subject& subject) const { return subject.graph == nullptr ? ranks_.size() : 1; }
  bool on_first_device(int rank) const { return &ranks_.device(rank) == &ranks_.device(0); }

  /// Events of two devices cannot be compared: the first stream, whose end is the last to be recorded, waits for those of other devices.
  void record_ends(const Subject& subject) const {
    for (int rank = ends(subject) - 1; rank >= 0; --rank) record_end(rank, !on_first_device(rank));
  }

  /// From the start to the latest end.
  double elapsed(const Subject& subject) const {
    double longest = 0;
    for (int rank = 0; rank < ends(subject); ++rank) {
      ranks_.device(rank).make_current();
      ranks_.await(end(rank), what(subject));
      if (on_first_device(rank)) longest = std::max(longest, end(rank).since(harness_.start_));
    }
    return longest;
  }

  struct Times {
    double ns = 0;       // on the device, of one call
    double call_ns = 0;  // of the host, of one call
    uint64_t entry = 0;
  };

  Times timed(Subject& subject, Plant plant) {
    prepare();
    ranks_.device(0).make_current();
    // More than one call would wait for room in the device's queue, and the device for the gate.
    if (options_.chain == 1 || subject.graph != nullptr) harness_.gate_.close(ranks_.stream(0));
    int code = 0;
    uint64_t entry = 0;
    uint64_t exit = 0;
    try {
      fork(harness_.start_);
      entry = stamp();
      code = enqueue(subject);
      exit = stamp();
      record_ends(subject);
    } catch (...) {
      harness_.gate_.open();
      throw;
    }
    harness_.gate_.open();
    must_be_enqueued(subject, code);
    const double ns = elapsed(subject);
    if (options_.checks > 0 && repeatable()) check(subject, Extent::spans, plant);
    const auto calls = static_cast<double>(options_.chain);
    return {ns / calls, static_cast<double>(ticks_to_ns(exit - entry)) / calls, entry};
  }

  void keep_times(Subject& subject, const Times& times) {
    if (harness_.run_start_ == 0) harness_.run_start_ = times.entry;
    subject.trace.start_us.push_back(static_cast<double>(ticks_to_ns(times.entry - harness_.run_start_)) /
                                     1000);
    subject.trace.us.push_back(times.ns / 1000);
    ++subject.trace.iterations;
    subject.trace.max_us = std::max(subject.trace.max_us, times.ns / 1000);
    subject.call_ns.push_back(times.call_ns);
  }

  void timed_rounds(int64_t first, int64_t rounds, bool keep) {
    for (int64_t i = first; i < first + rounds; ++i) {
      for (size_t turn = 0; turn < subjects_.size(); ++turn) {
        Subject& subject = subjects_[whose_turn(i, turn, subjects_.size())];
        const Times times = timed(subject, keep && i == 0 ? Plant::timed : Plant::none);
        if (keep) keep_times(subject, times);
      }
    }
  }

  void rounds_within(double seconds, int64_t least, int64_t most, bool keep) {
    const uint64_t start = now_ns();
    for (int64_t done = 0;
         done < most && (done < least || static_cast<double>(now_ns() - start) * 1e-9 < seconds); ++done) {
      timed_rounds(done, 1, keep);
    }
  }

  void measure_times() {
    const double seconds = options_.seconds * static_cast<double>(subjects_.size());
    if (options_.warmup) {
      timed_rounds(0, *options_.warmup, false);
    } else {
      rounds_within(seconds / 10, kLeastWarmup, kMostWarmup, false);
    }
    if (options_.iterations) {
      timed_rounds(0, *options_.iterations, true);
    } else {
      rounds_within(seconds, kLeastIterations, kMostIterations, true);
    }
    for (const Subject& subject : subjects_) must_be_well(subject);
  }

  OnDevice on_device(const Subject& subject) const {
    OnDevice device;
    device.ranks_per_gpu = device_.ranks_per_gpu;
    device.call_ns = summarize(subject.call_ns).p50.value_or(0);
    device.settings = subject.library->settings();
    return device;
  }

  std::optional<double> bound_us() const {
    if (device_.devices.size() > 1 || harness_.copy_bandwidth_ <= 0) return std::nullopt;
    return least_traffic(harness_.collective_.kind, ranks_.size(), plan_.bytes, plan_.in_place) /
           harness_.copy_bandwidth_ / 1000;
  }

  std::vector<Row> rows() {
    std::vector<Row> rows;
    for (Subject& subject : subjects_) {
      Row row = plan_.row(harness_.collective_, options_, ranks_.size(), std::move(subject.trace));
      row.library = subject.library->name();
      row.algorithm = subject.library->algorithm(plan_.call);
      row.wrong = subject.wrong;
      row.device = on_device(subject);
      row.mode = device_.graph ? "graph" : options_.chain > 1 ? "chain" : "isolated";
      row.chain = options_.chain;
      row.bound_us = bound_us();
      rows.push_back(std::move(row));
    }
    return rows;
  }

  DeviceHarness& harness_;
  DeviceRanks& ranks_;
  const Options& options_;
  const DeviceOptions& device_;
  const RowPlan& plan_;
  std::string label_;
  std::vector<DeviceCall> calls_;
  std::vector<std::unique_ptr<DeviceMessage>> messages_;
  std::vector<Subject> subjects_;
};

DeviceHarness::DeviceHarness(DeviceRanks& ranks, const CollectiveInfo& collective, const Options& options,
                             double copy_bandwidth)
    : ranks_(ranks), collective_(collective), options_(options), copy_bandwidth_(copy_bandwidth) {
  for (int rank = 0; rank < ranks.size(); ++rank) {
    ranks.device(rank).make_current();
    ends_.push_back(std::make_unique<gpu::Event>());
  }
  ranks.device(0).make_current();
  calibrate_ticks();
}

std::vector<Row> DeviceHarness::measure(const RowPlan& plan, const std::vector<DeviceLibrary*>& libraries) {
  return Measurement(*this, plan, libraries).run();
}

}  // namespace tutti::bench
