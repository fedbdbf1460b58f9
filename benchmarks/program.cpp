// Puts options, ranks, harness and output together, and says what went wrong where.
//
// What the user did wrong is found by all ranks alike: rank 0 prints it, all end with status 2. What fails in the run
// may be known to one rank alone: that rank prints it, and its launcher ends the others.
#include "benchmarks/program.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "benchmarks/baselines.h"
#include "benchmarks/device_run.h"
#include "benchmarks/disturbance.h"
#include "benchmarks/harness.h"
#include "benchmarks/launcher.h"
#include "benchmarks/limits.h"
#include "benchmarks/local_ranks.h"
#include "benchmarks/machine.h"
#include "benchmarks/mpi_session.h"
#include "benchmarks/report.h"
#include "core/units.h"

namespace tutti::bench {
namespace {

constexpr int kWrong = 1;
constexpr int kUsage = 2;
constexpr int kDefaultLocalRanks = 2;

void check_launch(const Options& options, Launch launch) {
  if (options.device && launch != Launch::local) {
    throw UsageError("--memory device: all ranks are in one process; start it without a launcher");
  }
  if (options.local_ranks && launch != Launch::local) {
    throw UsageError("--np: the ranks were started already; --np starts local ranks where no launcher did");
  }
  const bool with_mpi = std::count(options.baselines.begin(), options.baselines.end(), "mpi") != 0;
  if (with_mpi && launch != Launch::mpi) {
    throw UsageError(built_with_mpi() ? "--baseline mpi: start the ranks with mpirun, which MPI needs"
                                      : "--baseline mpi: this build has no MPI");
  }
}

/// One rank's part of the run, after it has joined the others.
class Run {
 public:
  Run(const CollectiveInfo& collective, const Options& options, World& world, Machine& machine)
      : collective_(collective),
        options_(options),
        world_(world),
        machine_(machine),
        plans_(plan_rows(collective, options, roots_for(options, world.size()))),
        largest_(longest(plans_)) {}

  int all_rows() {
    if (!memory_suffices() || !open_baselines() || !open_report() || !start_disturbances()) return kUsage;
    Harness harness(world_, collective_, options_, largest_);
    const auto tutti = make_tutti_library(collective_, world_.measured());
    baselines_->make(collective_, world_, machine_);
    machine_.baselines = baselines_->infos();
    if (options_.limits) {
      limits_.emplace(world_);
      machine_.limits = limits_->of_machine();
    }
    machine_.measuring_ns = harness.measuring_ns();
    report_->header(machine_);
    Progress progress(is_first(), plans_.size());
    bool stopped = false;
    for (size_t i = 0; i < plans_.size() && !stopped; ++i) {
      progress.at(i, plans_[i].label(collective_));
      if (i == 1 && options_.plant_death == world_.rank()) ::raise(SIGKILL);
      std::vector<Library*> libraries{tutti.get()};
      const std::vector<LeftOut> left_out = baselines_->add(plans_[i].call, libraries);
      std::vector<Row> rows = measure_within_limits(harness, plans_[i], libraries);
      progress.clear();
      report_->keep(std::move(rows), left_out);
      stopped = world_.any(interrupted());
    }
    return report_->finish(machine_, plans_.size(), stopped);
  }

 private:
  bool is_first() const { return world_.rank() == 0; }

  void complain(const std::string& text) const { fmt::print(stderr, "{}: {}\n", collective_.program, text); }

  bool memory_suffices() {
    const uint64_t needed = Harness::memory_needed(options_, largest_) * static_cast<uint64_t>(world_.size());
    const uint64_t available = available_memory();
    const bool too_much = is_first() && available != 0 && needed > available;
    if (too_much) {
      complain(fmt::format("--maxbytes: messages of {} take {} MiB on {} ranks, and {} MiB are available",
                           format_size(largest_), needed >> 20, world_.size(), available >> 20));
    }
    return !world_.any(too_much);
  }

  /// Each rank opens the modules; the first that cannot says why.
  bool open_baselines() {
    std::string why;
    try {
      baselines_.emplace(options_);
    } catch (const UsageError& error) {
      why = error.what();
    }
    const auto behind = static_cast<double>(world_.size() - world_.rank());  // largest on the first rank
    const double first = world_.max(why.empty() ? 0 : behind);
    if (!why.empty() && first == behind) complain(why);
    return first == 0;
  }

  /// The first rank alone opens the file: all learn whether it could.
  bool open_report() {
    try {
      report_.emplace(collective_, options_, is_first());
    } catch (const UsageError& error) {
      complain(error.what());
    }
    return !world_.any(!report_);
  }

  /// The first rank alone makes noise.
  bool start_disturbances() {
    bool failed = false;
    try {
      if (options_.noise && is_first()) disturbances_.push_back(std::make_unique<NoiseLoad>(*options_.noise));
    } catch (const UsageError& error) {
      complain(error.what());
      failed = true;
    }
    if (world_.any(failed)) return false;
    if (options_.aggressor) disturbances_.push_back(std::make_unique<Aggressor>(world_, *options_.aggressor));
    return true;
  }

  std::vector<Row> measure_within_limits(Harness& harness, const RowPlan& plan,
                                         const std::vector<Library*>& libraries) {
    if (!limits_) return measure(harness, plan, libraries);
    const std::optional<double> before = limits_->one_way_ns();
    const std::optional<double> bound = limits_->bound_us(collective_, plan, before);
    std::vector<Row> rows = measure(harness, plan, libraries);
    const std::optional<double> after = limits_->one_way_ns();
    for (Row& row : rows) {
      row.bound_us = bound;
      if (before && after) row.cache_line_ns = {*before, *after};
    }
    return rows;
  }

  /// Where something disturbs, first alone and then with it.
  std::vector<Row> measure(Harness& harness, const RowPlan& plan, const std::vector<Library*>& libraries) {
    if (!options_.noise && !options_.aggressor) return harness.measure(plan, libraries);
    const std::vector<Row> alone = harness.measure(plan, libraries);
    for (const auto& one : disturbances_) one->begin();
    std::vector<Row> rows = harness.measure(plan, libraries);
    for (const auto& one : disturbances_) one->end();
    std::string text;
    for (const auto& one : disturbances_) text += (text.empty() ? "" : ", ") + one->text();
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].disturbance += (rows[i].disturbance.empty() || text.empty() ? "" : ", ") + text;
      rows[i].alone = alone[i].us;
      rows[i].wrong += alone[i].wrong;
    }
    return rows;
  }

  const CollectiveInfo& collective_;
  const Options& options_;
  World& world_;
  Machine& machine_;
  std::vector<RowPlan> plans_;
  uint64_t largest_;
  std::optional<Baselines> baselines_;
  std::optional<Report> report_;
  std::optional<LimitProbe> limits_;
  std::vector<std::unique_ptr<Disturbance>> disturbances_;
};

/// One process of the program.
class Process {
 public:
  Process(const CollectiveInfo& collective, int argc, char** argv, int first)
      : collective_(collective),
        argc_(argc),
        argv_(argv),
        first_(first),
        started_(how_started()),
        rank_(started_.rank) {}

  int main() {
    try {
      if (started_.launch == Launch::mpi) {
        mpi_.emplace();
        rank_ = mpi_->rank();
      }
      return after_start();
    } catch (const UsageError& error) {
      // Without a launcher each process has an environment of its own, and maybe an error of its own.
      if (rank_ == 0 || started_.launch == Launch::environment) {
        fmt::print(stderr, "{}: {}\n", collective_.program, error.what());
      }
      if (mpi_) mpi_->barrier();
      return kUsage;
    } catch (const std::exception& error) {
      fmt::print(stderr, "{}: rank {}: {}\n", collective_.program, rank_, error.what());
      if (mpi_) mpi_->abort(kWrong);
      return kWrong;
    }
  }

 private:
  int after_start() {
    const ParsedOptions parsed = parse_options(collective_, {argv_ + first_, argv_ + argc_});
    if (!parsed.options) {
      if (rank_ == 0) fmt::print(parsed.exit_code == 0 ? stdout : stderr, "{}", parsed.text);
      if (mpi_) mpi_->barrier();
      return parsed.exit_code;
    }
    check_launch(*parsed.options, started_.launch);
    handle_interrupts(parsed.options->device.has_value());
    if (parsed.options->device) return run_on_device(collective_, *parsed.options, argc_, argv_);
    if (started_.launch == Launch::local) return local(*parsed.options);
    World world = mpi_ ? join_mpi(*mpi_, *parsed.options) : join_environment(*parsed.options);
    return in_world(world, *parsed.options);
  }

  int local(const Options& options) {
    const int ranks = options.local_ranks.value_or(kDefaultLocalRanks);
    check_ranks(options, ranks);  // before any rank is started
    IdBoard board;
    const LocalRank started = start_local_ranks(collective_.program, ranks);
    if (started.is_parent) return started.exit_code;
    rank_ = started.rank;
    World world = join_local(rank_, ranks, board, options);
    return in_world(world, options);
  }

  int in_world(World& world, const Options& options) {
    rank_ = world.rank();
    check_ranks(options, world.size());
    Machine machine = describe_machine(world, argc_, argv_);
    return Run(collective_, options, world, machine).all_rows();
  }

  const CollectiveInfo& collective_;
  int argc_;
  char** argv_;
  int first_;  // of the options
  Started started_;
  int rank_;
  std::optional<MpiSession> mpi_;  // ends last: the World is gone by then
};

}  // namespace

int run_program(const CollectiveInfo& collective, int argc, char** argv, int first) {
  return Process(collective, argc, argv, first).main();
}

}  // namespace tutti::bench
