// The options' names, help texts and places in --help.
#include "benchmarks/option_texts.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <utility>

#include "benchmarks/names.h"

namespace tutti::bench {
namespace {

/// Options that stand together in --help.
class Section {
 public:
  Section(CLI::App& app, std::string title) : app_(app), title_(std::move(title)) {}

  /// `type` says what is to be written in the value's place.
  void option(const char* names, OptionTexts::Text& text, const char* type, const std::string& help) const {
    app_.add_option(names, text, help)->type_name(type)->group(title_);
  }
  void flag(const char* name, bool& given, const std::string& help) const {
    app_.add_flag(name, given, help)->group(title_);
  }

 private:
  CLI::App& app_;
  std::string title_;
};

void declare_what(CLI::App& app, const CollectiveInfo& collective, OptionTexts& texts) {
  const Section what(app, "What to measure");
  what.option("-b,--minbytes", texts.min_bytes, "SIZE",
              "Smallest message, such as 8, 64K or 128M (default 8)");
  what.option("-e,--maxbytes", texts.max_bytes, "SIZE", "Largest message (default 32M)");
  what.option("-f,--stepfactor", texts.step_factor, "N",
              "Each message is so many times the last (default 4)");
  what.option("-i,--stepbytes", texts.step_bytes, "SIZE", "Or so many bytes more than the last");
  what.option("-d,--datatype", texts.datatype, "TYPE,...",
              "Element types, separated by commas, or all (default float32): " +
                  names_of<tutti_datatype_t>(kDatatypes));
  if (collective.has_op()) {
    what.option("-o,--op", texts.op, "OP,...",
                "Operators, separated by commas, or all (default sum): " + names_of<tutti_op_t>(kOps));
  }
  if (collective.has_root()) {
    what.option("-r,--root", texts.root, "RANK", "The rank that sends, or all for each in turn (default 0)");
  }
  what.option("--placement", texts.placement, "PLACE",
              fmt::format("in: one buffer is sent and received; out: two buffers; both (default {})",
                          collective.in_place_by_default ? "in" : "out"));
  what.flag("--in-place", texts.in_place, "The same as --placement in");
  what.option("--algorithm", texts.algorithm, "NAME", "Use this algorithm (see tutti-info) at every size");
}

void declare_how(CLI::App& app, OptionTexts& texts) {
  const Section how(app, "How to measure");
  how.option("-n,--iters", texts.iterations, "N",
             "Timed iterations per row (default: as many as fit into --seconds, at least 20)");
  how.option("-w,--warmup_iters,--warmup-iters", texts.warmup, "N",
             "Iterations before them (default: as many as fit into a tenth of --seconds, at least 5)");
  how.option("--seconds", texts.seconds, "SECONDS", "Time for the iterations of a row (default 0.5)");
  how.option("--duration", texts.duration, "TIME",
             "Or a long run: so much for each row, such as 10s or 10m, with percentiles of its windows");
  how.option(
      "--mode", texts.mode, "MODE",
      "isolated: a sample is one call, after a barrier (default); chain: the mean of calls that follow "
      "each other");
  how.option("--chain", texts.chain, "K", "Calls in a chain (default 20); above 1 it means --mode chain");
  how.option("--rate", texts.rate, "CALLS",
             "Call at fixed times, so often in a second, and time each call from when it was due");
  how.flag("--registered", texts.registered,
           "Buffers that tutti_register was told of; on a device, of tutti_mem_alloc instead of cuMemAlloc");
  how.flag("--limits", texts.limits,
           "Measure cache-line latency and copy bandwidth too, and how near each row comes to them");
  how.option(
      "-c,--check", texts.checks, "N",
      "Iterations whose whole result is verified, before the timed ones; 0: verify nothing (default 5)");
  how.option("--timeout", texts.timeout, "TIME",
             "Limit of one operation, such as 30s (default: TUTTI_TIMEOUT)");
}

void declare_provoke(CLI::App& app, OptionTexts& texts) {
  const Section provoke(app, "Provoke it");
  provoke.option("--skew", texts.skew, "RANK:US[:PERIOD]",
                 "This rank comes so many microseconds late, in every PERIOD-th iteration (default 1)");
  provoke.option("--noise", texts.noise, "CORE[:PERCENT]",
                 "Keep a core of the first rank's node busy, for so many percent of the time (default 100)");
  provoke.option(
      "--aggressor", texts.aggressor, "[COLLECTIVE:]SIZE",
      "A second communicator of the same ranks calls a collective meanwhile (default: the other one)");
}

void declare_device(CLI::App& app, OptionTexts& texts) {
  const Section device(app, "Device memory (CUDA)");
  device.option("--memory", texts.memory, "MEMORY", "Where the buffers lie: host (default) or device");
  device.option("--ranks-per-gpu", texts.ranks_per_gpu, "N",
                "Ranks on each device, all in this process, driven by one thread (default 2)");
  device.option("--devices", texts.devices, "LIST", "Devices, separated by commas (default 0)");
  device.flag("--graph", texts.graph, "Capture the calls into a CUDA graph and time its replays");
  device.flag("--one-stream", texts.one_stream, "One stream for all ranks instead of one each");
  device.option("--nccl", texts.nccl, "PATH", "The NCCL of --baseline nccl (default libnccl.so.2)");
  device.flag("--nccl-sweep", texts.nccl_sweep,
              "Run once with each algorithm and protocol of NCCL, and keep its best for each row");
}

void declare_run(CLI::App& app, OptionTexts& texts) {
  const Section run(app, "Ranks and output");
  run.option("--np", texts.local_ranks, "N", "Start so many local ranks (default 2; not under mpirun)");
  run.option("--baseline", texts.baseline, "LIBRARY,...",
             "Measure other libraries beside Tutti, in turns: mpi (under mpirun), ucc, gloo, or nccl (on "
             "device memory)");
  run.option("--peers", texts.peers, "DIR",
             "Where the modules of ucc and gloo are (default: beside the program)");
  run.option("--json", texts.json, "FILE", "Also write the results to this file, schema tutti-bench/1");
  run.option("--raw", texts.raw, "FILE",
             "Also write every sample to this file, as JSON Lines, each row as soon as it is measured");
  run.flag("--wide", texts.wide, "More columns in the table: skew, service, culprit, CPU cost, bound");
  app.add_option("--plant-error", texts.plant_error)->group("");
  app.add_option("--plant-death", texts.plant_death)->group("");
  app.add_option("--plant-slowdown", texts.plant_slowdown)->group("");
}

}  // namespace

void declare_options(CLI::App& app, const CollectiveInfo& collective, OptionTexts& texts) {
  declare_what(app, collective, texts);
  declare_how(app, texts);
  declare_provoke(app, texts);
  declare_device(app, texts);
  declare_run(app, texts);
}

}  // namespace tutti::bench
