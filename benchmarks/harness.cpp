// The iterations of a row, verified and timed.
#include "benchmarks/harness.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "benchmarks/local_ranks.h"
#include "benchmarks/schedule.h"
#include "benchmarks/timed_call.h"
#include "core/clock.h"

namespace tutti::bench {
namespace {

/// A random time up to 50 us that differs between ranks and iterations; in every fourth iteration all arrive at once.
void arrive_late(int rank, uint64_t generation) {
  if (generation % 4 == 0) return;
  constexpr uint64_t kMostNs = 50'000;
  const uint64_t random =
      (generation * 0x9e3779b97f4a7c15 + static_cast<uint64_t>(rank)) * 0xbf58476d1ce4e5b9;
  const uint64_t until = now_ns() + (random >> 32) % kMostNs;
  while (now_ns() < until) sched_yield();
}

/// Does nothing, to see what measuring costs.
class NoLibrary final : public Library {
 public:
  const char* name() const override { return "none"; }
  void prepare(const Call&) override {}
  int run(const Call&) noexcept override { return 0; }
  std::string explain(int) const override { return {}; }
  std::string algorithm(const Call&) const override { return {}; }
};

}  // namespace

/// A library and what was measured of it.
struct Harness::Subject {
  Library* library = nullptr;
  std::vector<Stamps> stamps;  // of this rank, since they were last combined; preallocated
  Trace trace;
  std::optional<CpuCost> cpu;
  int64_t wrong = 0;
};

/// One row of the plan on its way through verified, warm-up and timed iterations.
class Harness::Measurement {
 public:
  Measurement(Harness& harness, const RowPlan& plan, const std::vector<Library*>& libraries)
      : harness_(harness),
        world_(harness.world_),
        options_(harness.options_),
        plan_(plan),
        call_(with_buffers(harness, plan)),
        message_(harness.collective_, call_, send(harness, plan), harness.recv_.data(), world_.size(),
                 world_.rank()),
        calls_{.chain = options_.chain} {
    for (Library* library : libraries) {
      library->prepare(call_);
      subjects_.push_back({library, {}, {}, std::nullopt, 0});
    }
  }

  std::vector<Row> run() {
    for (int64_t i = 0; i < options_.checks; ++i) verified_round(i == 0 ? Plant::checked : Plant::none);
    message_.prepare(Extent::whole, ++harness_.generation_);
    measure_times();
    // An aggressor's threads are this process's too.
    if (!options_.aggressor)
      for (Subject& subject : subjects_) measure_cpu(subject, aside());
    if (options_.checks > 0) verified_round(Plant::last);
    return rows();
  }

 private:
  static std::byte* send(Harness& harness, const RowPlan& plan) {
    return plan.in_place ? harness.recv_.data() : harness.send_.data();
  }

  static Call with_buffers(Harness& harness, const RowPlan& plan) {
    Call call = plan.call;
    call.send = send(harness, plan);
    call.recv = harness.recv_.data();
    return call;
  }

  /// Only one library's result is spoiled, on the last rank, so that one element is wrong.
  bool plants_here(const Subject& subject, Plant plant) const {
    return plant != Plant::none && plant == options_.plant_error &&
           options_.plant_library == subject.library->name() && world_.rank() == world_.size() - 1;
  }

  void must_succeed(const Subject& subject, int code) const {
    if (code == 0) return;
    throw std::runtime_error(fmt::format("{} by {}: {}", plan_.label(harness_.collective_),
                                         subject.library->name(), subject.library->explain(code)));
  }

  void verified_round(Plant plant) {
    for (Subject& subject : subjects_) {
      const uint64_t generation = ++harness_.generation_;
      message_.prepare(Extent::whole, generation);
      world_.barrier();
      arrive_late(world_.rank(), generation);
      must_succeed(subject, subject.library->run(call_));
      if (plants_here(subject, plant)) message_.plant_error(Extent::whole, generation);
      subject.wrong += message_.check(Extent::whole, generation);
    }
  }

  /// Whether the second of two calls with the same buffers has the result of the first.
  bool repeatable() const {
    return calls_.chain == 1 || !plan_.in_place || harness_.collective_.kind == Kind::broadcast;
  }

  /// By how many ticks this rank is to come late.
  uint64_t lateness(int64_t iteration) const {
    const std::optional<LateRank>& late = options_.late_rank;
    if (!late || late->rank != world_.rank() || iteration % late->period != 0) return 0;
    return ns_to_ticks(static_cast<uint64_t>(late->us * 1000));
  }

  Stamps call_now(Subject& subject) {
    TimedCalls calls = calls_;
    if (&subject == subjects_.data()) calls.slow_by = options_.plant_slowdown;
    int code = 0;
    const Stamps stamps = timed_call(*subject.library, call_, calls, code);
    must_succeed(subject, code);
    return stamps;
  }

  Stamps timed(Subject& subject, int64_t iteration, Plant plant) {
    const uint64_t generation = ++harness_.generation_;
    message_.prepare(Extent::spans, generation);
    world_.barrier();
    if (const uint64_t late = lateness(iteration); late != 0) wait_until(ticks() + late);
    const Stamps stamps = call_now(subject);
    if (!repeatable()) return stamps;
    if (plants_here(subject, plant)) message_.plant_error(Extent::spans, generation);
    if (options_.checks > 0) subject.wrong += message_.check(Extent::spans, generation);
    return stamps;
  }

  /// At fixed times there is none for new inputs and checks: the message stays as it is.
  Stamps timed_when_due(Subject& subject, int64_t iteration, uint64_t due) {
    wait_until(due + lateness(iteration));
    Stamps stamps = call_now(subject);
    stamps.due = due;
    return stamps;
  }

  /// One call of each library, in turns.
  void timed_rounds(int64_t first, int64_t rounds, bool keep) {
    std::optional<Schedule> schedule;
    const auto libraries = static_cast<int64_t>(subjects_.size());
    if (options_.rate) schedule.emplace(world_, *options_.rate * static_cast<double>(libraries));
    int64_t slot = 0;
    for (int64_t i = first; i < first + rounds; ++i) {
      for (size_t turn = 0; turn < subjects_.size(); ++turn, ++slot) {
        Subject& subject = subjects_[whose_turn(i, turn, subjects_.size())];
        const Stamps stamps = schedule ? timed_when_due(subject, i, schedule->due(slot))
                                       : timed(subject, i, keep && i == 0 ? Plant::timed : Plant::none);
        if (keep) subject.stamps.push_back(stamps);
      }
    }
  }

  void combine() {
    if (harness_.run_start_ == 0) harness_.run_start_ = subjects_.front().stamps.front().arrival;
    Combiner combiner(world_, !options_.raw.empty(), calls_.chain, harness_.run_start_);
    for (Subject& subject : subjects_) {
      combiner.add(subject.stamps, subject.trace);
      subject.stamps.clear();
    }
  }

  /// Stamps are combined after each kMostIterations of them; what that does to the caches is not timed.
  void counted_rounds(int64_t rounds) {
    for (int64_t done = 0; done < rounds && (done == 0 || !interrupted_);) {
      if (done > 0) timed_rounds(done, kLeastWarmup, false);
      const int64_t batch = std::min(rounds - done, kMostIterations);
      timed_rounds(done, batch, true);
      combine();
      done += batch;
      if (done < rounds) interrupted_ = world_.any(interrupted());
    }
  }

  /// At least `least` rounds, then more until `seconds` have passed on some rank or there are `most`. Ranks agree after
  /// each batch; batches grow with what is done, so that agreeing costs little and the time is kept roughly. No batch lasts much longer than kLongestBatch
  /// seconds: an interruption is heeded before a launcher loses its patience.
  /// Returns the seconds.
  double rounds_within(double seconds, int64_t least, int64_t most, bool keep) {
    constexpr int64_t kLargestBatch = 1000;
    constexpr double kLongestBatch = 0.25;
    const uint64_t start = now_ns();
    int64_t done = 0;
    double elapsed = 0;
    while (done < most && (done < least || (elapsed < seconds && !interrupted_))) {
      int64_t batch = std::min(std::clamp(done, least, kLargestBatch), most - done);
      if (elapsed > 0) {
        const double in_time = kLongestBatch * static_cast<double>(done) / elapsed;
        batch = std::clamp(static_cast<int64_t>(in_time), int64_t{1}, batch);
      }
      timed_rounds(done, batch, keep);
      done += batch;
      std::array<double, 2> state{static_cast<double>(now_ns() - start) * 1e-9, interrupted() ? 1.0 : 0.0};
      world_.max(std::span<double>(state));
      elapsed = state[0];
      interrupted_ = state[1] > 0;
    }
    return elapsed;
  }

  void warm_up(double seconds) {
    if (options_.warmup) {
      timed_rounds(0, *options_.warmup, false);
    } else {
      rounds_within(seconds, kLeastWarmup, kMostWarmup, false);
    }
  }

  /// A long row: window after window, each combined by itself. Of the samples some millions are kept.
  void windowed_rounds(double seconds) {
    constexpr size_t kMostKept = size_t{4} << 20;
    const double window = window_seconds(seconds);
    for (double elapsed = 0; elapsed == 0 || (elapsed < seconds && !interrupted_);) {
      const size_t first = subjects_.front().trace.us.size();
      for (double left = window; elapsed == 0 || (left > 0 && !interrupted_);) {
        if (elapsed > 0) timed_rounds(1, kLeastWarmup, false);
        const double spent = rounds_within(left, kLeastIterations, kMostIterations, true);
        combine();
        left -= spent;
        elapsed += spent;
      }
      for (Subject& subject : subjects_) {
        subject.trace.end_window(first);
        subject.trace.thin(first, kMostKept);
      }
    }
  }

  /// Calls that follow each other with nothing between them, so that all that the process uses is theirs; as many as fit into `seconds`, but at least
  /// kLeastCalls, or what the user finds enough.
  void measure_cpu(Subject& subject, double seconds) {
    constexpr double kLeastCalls = 20;
    constexpr double kMostCalls = 10'000;
    const std::vector<double>& us = subject.trace.us;
    const double mean = std::accumulate(us.begin(), us.end(), 0.0) / static_cast<double>(us.size());
    const double least =
        std::min(kLeastCalls, static_cast<double>(options_.iterations.value_or(kMostIterations)));
    const auto calls =
        static_cast<int64_t>(std::clamp(seconds * 1e6 / std::max(mean, 0.01), least, kMostCalls));
    world_.barrier();
    const CpuUse before = cpu_use();
    for (int64_t i = 0; i < calls; ++i) must_succeed(subject, subject.library->run(call_));
    subject.cpu = cost_per_call(cpu_use() - before, calls);
  }

  CpuCost cost_per_call(const CpuUse& used, int64_t calls) {
    std::array<int64_t, 3> sums{static_cast<int64_t>(used.seconds * 1e9),
                                static_cast<int64_t>(used.voluntary), static_cast<int64_t>(used.involuntary)};
    world_.sum(std::span<int64_t>(sums));
    const auto all = static_cast<double>(calls * world_.size());
    return {static_cast<double>(sums[0]) / 1000 / all, static_cast<double>(sums[1]) / all,
            static_cast<double>(sums[2]) / all};
  }

  /// Seconds for what is done beside the timed iterations.
  double aside() const {
    constexpr double kMost = 1;
    return std::min(options_.seconds / 10, kMost);
  }

  void measure_times() {
    const auto libraries = static_cast<double>(subjects_.size());
    warm_up(aside() * libraries);
    const auto room =
        static_cast<size_t>(std::min(options_.iterations.value_or(kMostIterations), kMostIterations));
    for (Subject& subject : subjects_) {
      subject.stamps.resize(room);  // so that no page of it is new in a timed iteration
      subject.stamps.clear();
    }
    if (options_.iterations) return counted_rounds(*options_.iterations);
    if (options_.windows) return windowed_rounds(options_.seconds * libraries);
    rounds_within(options_.seconds * libraries, kLeastIterations, kMostIterations, true);
    combine();
  }

  std::vector<Row> rows() {
    std::vector<Row> rows;
    for (Subject& subject : subjects_) {
      Row row = plan_.row(harness_.collective_, options_, world_.size(), std::move(subject.trace));
      row.library = subject.library->name();
      row.algorithm = subject.library->algorithm(call_);
      row.nodes = world_.nodes();
      row.cpu = subject.cpu;
      row.mode = options_.rate ? "rate" : calls_.chain > 1 ? "chain" : "isolated";
      row.chain = calls_.chain;
      row.rate = options_.rate;
      row.interrupted = interrupted_;
      row.wrong = world_.sum(subject.wrong);
      rows.push_back(std::move(row));
    }
    return rows;
  }

  Harness& harness_;
  World& world_;
  const Options& options_;
  const RowPlan& plan_;
  Call call_;
  Message message_;
  TimedCalls calls_;
  std::vector<Subject> subjects_;
  bool interrupted_ = false;  // the same on all ranks
};

Registration::Registration(tutti_comm_t comm, const Buffer& buffer) : comm_(comm) {
  if (tutti_register(comm, buffer.data(), buffer.bytes(), &registration_) != TUTTI_SUCCESS)
    throw std::runtime_error(fmt::format("--registered: {}", tutti_last_error()));
}

Registration::~Registration() {
  static_cast<void>(tutti_deregister(comm_, registration_));
}

Harness::Harness(World& world, const CollectiveInfo& collective, const Options& options, uint64_t largest)
    : world_(world),
      collective_(collective),
      options_(options),
      recv_(largest),
      send_(options.has_out_of_place() ? largest : 0) {
  calibrate_ticks();
  if (!options.registered) return;
  recv_registration_.emplace(world.measured(), recv_);
  send_registration_.emplace(world.measured(), send_);
}

double Harness::measuring_ns() {
  constexpr int kCalls = 10'001;
  constexpr int kTogether = 100;  // so that the clock's own steps do not show
  NoLibrary nothing;
  Library* volatile hidden = &nothing;  // the compiler may not see that its calls do nothing
  Library& library = *hidden;
  std::vector<double> ns;
  for (int i = 0; i < kCalls / kTogether; ++i) {
    uint64_t ticks = 0;
    for (int j = 0; j < kTogether; ++j) {
      int code = 0;
      const Stamps stamps = timed_call(library, {}, {}, code);
      ticks += stamps.exit - stamps.arrival;
    }
    ns.push_back(static_cast<double>(ticks_to_ns(ticks)) / kTogether);
  }
  return summarize(std::move(ns)).p50.value_or(0);
}

double Harness::window_seconds(double seconds) {
  constexpr double kLong = 60;
  return seconds > kLong ? seconds / kLong : std::min(seconds / 10, 1.0);
}

uint64_t Harness::memory_needed(const Options& options, uint64_t largest) {
  return (options.has_out_of_place() ? 2 * largest : largest) + (options.limits ? 2 * largest : 0);
}

std::vector<Row> Harness::measure(const RowPlan& plan, const std::vector<Library*>& libraries) {
  return Measurement(*this, plan, libraries).run();
}

}  // namespace tutti::bench
