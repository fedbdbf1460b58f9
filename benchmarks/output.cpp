// Table, result file, progress.
#include "benchmarks/output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "benchmarks/options.h"
#include "core/clock.h"
#include "core/units.h"

namespace tutti::bench {
namespace {

std::string microseconds(std::optional<double> us) {
  if (!us) return "-";
  if (*us < 100) return fmt::format("{:.2f}", *us);
  if (*us < 10'000) return fmt::format("{:.1f}", *us);
  return fmt::format("{:.0f}", *us);
}

/// Each line goes out when it is known. A table that nobody gets is a failure of the run.
void flush_table() {
  if (std::fflush(stdout) != 0) throw std::system_error(errno, std::generic_category(), "standard output");
}

std::string gigabytes(double value) {
  return fmt::format("{:.{}f}", value, value < 10 ? 3 : 2);
}

}  // namespace

double Row::algbw() const {
  const double p50 = us.p50.value_or(0);
  return p50 > 0 ? static_cast<double>(bytes) / (p50 * 1000) : 0;
}

void Row::add_intervals(const Row& tutti) {
  constexpr int kP50 = 5000;
  constexpr int kP99 = 9900;
  p50_interval = confidence(trace.us, kP50);
  p99_interval = confidence(trace.us, kP99);
  if (&tutti == this) return;
  p50_ratio_interval = ratio_confidence(trace.us, tutti.trace.us, kP50);
  p99_ratio_interval = ratio_confidence(trace.us, tutti.trace.us, kP99);
}

std::optional<double> Row::bound_fraction() const {
  if (!bound_us || us.p50.value_or(0) <= 0) return std::nullopt;
  return *bound_us / *us.p50;
}

bool Row::machine_changed() const {
  constexpr double kMuch = 1.3;
  if (!cache_line_ns) return false;
  const auto [least, most] = std::minmax((*cache_line_ns)[0], (*cache_line_ns)[1]);
  return most > kMuch * least;
}

// ---- Table ----

void Table::header(const Machine& machine) const {
  fmt::print("# {}, tutti {}: {} ranks on {} node{} ({} cores, {}), launch: {}\n", collective_.program,
             machine.tutti_version, machine.ranks, machine.nodes, machine.nodes == 1 ? "" : "s",
             machine.cores, machine.cpu, machine.launch);
  if (!machine.mpi.empty()) {
    fmt::print("# {}; OMPI_MCA_mpi_yield_when_idle is {}\n", machine.mpi,
               machine.mpi_yields.empty() ? "not set" : machine.mpi_yields);
  }
  for (const BaselineInfo& one : machine.baselines)
    if (one.name != "mpi") fmt::print("# {} {}: {}\n", one.name, one.version, one.settings);
  const bool with_device = machine.gpu.has_value();
  if (with_device) {
    const Gpu& gpu = *machine.gpu;
    fmt::print(
        "# {} x {}, driver for CUDA {}, copies {} GB/s read and written, at most {} blocks a rank{}{}\n",
        gpu.devices, gpu.name, gpu.cuda, gigabytes(gpu.copy_gbs), gpu.blocks,
        gpu.nccl.empty() ? "" : ", NCCL ", gpu.nccl);
  } else if (machine.ranks > machine.cores) {
    fmt::print(
        "# more ranks than cores: ranks wait for each other's turns, so times are longer and vary more\n");
  }
  fmt::print("# {}\n",
             with_device
                 ? "times in us by CUDA events, of one call: from its start to the end of its last rank"
                 : "times in us: maximum over ranks of (exit - own entry) after a barrier, percentiles over "
                   "iterations");
  if (machine.limits) {
    fmt::print(
        "# limits: a cache line takes {} ns one way, all ranks at once copy {} GB/s read and written\n",
        machine.limits->cache_line_ns ? fmt::format("{:.0f}", *machine.limits->cache_line_ns) : "-",
        machine.limits->copy_gbs ? gigabytes(*machine.limits->copy_gbs) : "-");
  }
  if (machine.measuring_ns) fmt::print("# measuring adds {:.0f} ns to each time\n", *machine.measuring_ns);
  fmt::print("#\n#{:>11} {:>12} {:>11} {:>5} {:>19} {:>5}", "bytes", "count", "type",
             collective_.has_op() ? "op" : "root", "algorithm", "place");
  if (with_library_) fmt::print(" {:>7}", "library");
  fmt::print(" {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>6}", "p50", "p90", "p99", "p99.9", "max", "algbw",
             "busbw", "#wrong");
  if (with_device) fmt::print(" {:>8} {:>9} {:>6} {:>8}", "mode", "bound", "bound%", "call_ns");
  if (wide_) wide_header();
  fmt::print("\n");
  flush_table();
}

void Table::row(const Row& row) const {
  fmt::print("{:>12} {:>12} {:>11} {:>5} {:>19} {:>5}", row.bytes, row.call.count,
             tutti_datatype_name(row.call.datatype),
             collective_.has_op() ? tutti_op_name(row.call.op) : std::to_string(row.call.root), row.algorithm,
             row.in_place ? "in" : "out");
  if (with_library_) fmt::print(" {:>7}", row.library);
  fmt::print(" {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>6}", microseconds(row.us.p50),
             microseconds(row.us.p90), microseconds(row.us.p99), microseconds(row.us.p999),
             microseconds(row.us.max), gigabytes(row.algbw()), gigabytes(row.busbw()),
             row.verified ? std::to_string(row.wrong) : "-");
  if (row.device) device_columns(row);
  if (wide_) wide_columns(row);
  fmt::print("\n");
  flush_table();
}

void Table::device_columns(const Row& row) {
  const std::optional<double> reached = row.bound_fraction();
  fmt::print(" {:>8} {:>9} {:>6} {:>8.0f}", row.mode, microseconds(row.bound_us),
             reached ? fmt::format("{:.1f}", 100 * *reached) : "-", row.device->call_ns);
  if (!row.device->settings.empty()) fmt::print("  {}", row.device->settings);
}

void Table::wide_header() {
  fmt::print(" {:>9} {:>9} {:>9} {:>12} {:>10} {:>10} {:>6}", "skew", "service", "serv.p99", "culprit",
             "core_s/GB", "switches", "bound%");
}

void Table::wide_columns(const Row& row) {
  if (row.arrivals) {
    const Arrivals& arrivals = *row.arrivals;
    fmt::print(" {:>9} {:>9} {:>9} {:>12}", microseconds(arrivals.skew_p50_us),
               microseconds(arrivals.service_p50_us), microseconds(arrivals.service_p99_us),
               fmt::format("{} ({:.0f}%)", arrivals.culprit_rank, 100 * arrivals.culprit_share));
  } else {
    fmt::print(" {:>9} {:>9} {:>9} {:>12}", "-", "-", "-", "-");
  }
  if (row.cpu) {
    fmt::print(" {:>10} {:>10}",
               row.bytes == 0 ? "-" : fmt::format("{:.3g}", row.cpu->core_s_per_gb(row.bytes)),
               fmt::format("{:.2g}", row.cpu->voluntary + row.cpu->involuntary));
  } else {
    fmt::print(" {:>10} {:>10}", "-", "-");
  }
  const std::optional<double> reached = row.bound_fraction();
  fmt::print(" {:>6}", reached ? fmt::format("{:.1f}", 100 * *reached) : "-");
}

void Table::windows(const Row& row) const {
  const std::vector<RowWindow>& all = row.trace.windows;
  const auto by_p50 = [](const RowWindow& a, const RowWindow& b) { return a.p50_us < b.p50_us; };
  const auto [best, worst] = std::minmax_element(all.begin(), all.end(), by_p50);
  fmt::print("# {}, {} windows: p50 from {} (at {:.1f} s) to {} (at {:.1f} s)\n", row.library, all.size(),
             microseconds(best->p50_us), best->start_s, microseconds(worst->p50_us), worst->start_s);
  flush_table();
}

namespace {

std::string times(std::optional<double> slow, std::optional<double> fast,
                  const std::optional<Interval>& interval = std::nullopt) {
  if (!slow || !fast || *fast <= 0) return "-";
  const std::string value = fmt::format("{:.2f}", *slow / *fast);
  return interval ? fmt::format("{} ({:.2f} to {:.2f})", value, interval->low, interval->high) : value;
}

}  // namespace

void Table::tail(const Row& row) const {
  const Summary& alone = *row.alone;
  fmt::print("# {} / alone: p50 {}, p99 {}, p99.9 {}; alone: p50 {}, p99 {}, p99.9 {}, max {}\n",
             row.disturbance, times(row.us.p50, alone.p50), times(row.us.p99, alone.p99),
             times(row.us.p999, alone.p999), microseconds(alone.p50), microseconds(alone.p99),
             microseconds(alone.p999), microseconds(alone.max));
  flush_table();
}

void Table::ratio(const Row& tutti, const Row& baseline) const {
  fmt::print("# {} / tutti: p50 {}, p99 {}\n", baseline.library,
             times(baseline.us.p50, tutti.us.p50, baseline.p50_ratio_interval),
             times(baseline.us.p99, tutti.us.p99, baseline.p99_ratio_interval));
  flush_table();
}

void Table::no_ratio(const std::string& library, const std::string& why) const {
  fmt::print("# {} / tutti: - ({})\n", library, why);
  flush_table();
}

void Table::remark(const std::string& text) const {
  fmt::print("# {}\n", text);
  flush_table();
}

// ---- Result file ----

ResultFile::ResultFile(const std::string& path)
    : path_(path), temporary_(fmt::format("{}.{}.tmp", path, ::getpid())) {
  constexpr off_t kReserved = 1 << 20;
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    throw UsageError(fmt::format("--json: {} is not a regular file", printable(path)));
  }
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd_ < 0) throw UsageError(give_up("cannot be created", errno));
  const int error = ::posix_fallocate(fd_, 0, kReserved);
  if (error != 0 && error != EOPNOTSUPP && error != EINVAL)
    throw UsageError(give_up("cannot be written", error));
}

ResultFile::~ResultFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

std::string ResultFile::give_up(const char* what, int error) {
  if (fd_ >= 0) {
    ::close(std::exchange(fd_, -1));
    ::unlink(temporary_.c_str());
  }
  return fmt::format("--json: {} {}: {}", printable(path_), what, std::generic_category().message(error));
}

void ResultFile::finish(const std::string& text) {
  for (size_t written = 0; written < text.size();) {
    const ssize_t now = ::write(fd_, text.data() + written, text.size() - written);
    if (now < 0 && errno == EINTR) continue;
    if (now <= 0) throw std::runtime_error(give_up("cannot be written", errno));
    written += static_cast<size_t>(now);
  }
  if (::ftruncate(fd_, static_cast<off_t>(text.size())) != 0 || ::fsync(fd_) != 0)
    throw std::runtime_error(give_up("cannot be written", errno));
  if (::rename(temporary_.c_str(), path_.c_str()) != 0)
    throw std::runtime_error(give_up("cannot be put in place", errno));
  ::close(std::exchange(fd_, -1));
}

// ---- Progress ----

Progress::Progress(bool wanted, size_t rows)
    : wanted_(wanted && ::isatty(STDERR_FILENO) == 1), rows_(rows), start_ns_(now_ns()) {}

void Progress::at(size_t row, const std::string& label) {
  constexpr uint64_t kQuietNs = 1'000'000'000;
  if (!wanted_ || now_ns() - start_ns_ < kQuietNs) return;
  fmt::print(stderr, "\r\x1b[K[{}/{}] {}", row + 1, rows_, label);
  std::fflush(stderr);
  shown_ = true;
}

void Progress::clear() {
  if (shown_) fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  shown_ = false;
}

}  // namespace tutti::bench
