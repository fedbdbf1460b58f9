// One rank of the cluster tests (cluster_test.py starts it on emulated hosts). The first word says what it does:
//
//   correct  every algorithm in turn: all types and operators on small messages, sizes up to most=BYTES, every root, in and out of
//            place, late ranks, barriers; ends with status 1 at the first wrong byte
//   times    rounds=N operations of bytes=B, collective=C, algorithm=A: how long each took
//   wait     what a rank costs that waits 2 s for rank late=R
//   fault    operations until one fails: what was said then
//   setup    makes a communicator, or says why not
//
// What is found out goes to standard output in lines `RESULT {json}`.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <set>
#include <string>
#include <vector>

#include "core/clock.h"
#include "tests/cluster/ranks.h"
#include "tests/runtime/support/expect.h"
#include "tests/runtime/support/workload.h"

namespace cluster {
namespace {

using workload::Amount;
using workload::Case;

void sleep_ms(int64_t ms) {
  const timespec pause = {ms / 1000, static_cast<long>(ms % 1000 * 1'000'000)};
  nanosleep(&pause, nullptr);
}

double seconds_since(uint64_t start_ns) {
  return static_cast<double>(tutti::now_ns() - start_ns) / 1e9;
}

tutti_result_t all_reduce(tutti_comm_t comm, const int32_t* in, int32_t* out, size_t count) {
  return tutti_all_reduce(in, out, static_cast<int64_t>(count), TUTTI_INT32, TUTTI_SUM, comm, nullptr);
}

tutti_result_t broadcast(tutti_comm_t comm, const int32_t* in, int32_t* out, size_t count, int root) {
  return tutti_broadcast(in, out, static_cast<int64_t>(count), TUTTI_INT32, root, comm, nullptr);
}

// ---- correct ------------------------------------------------------------------------------------------------------------

/// Large messages whose values are cheap to make and to check: element i of rank r in round k is 3i + 7919r + 104729k, modulo 2^32.
class Sweep {
 public:
  Sweep(tutti_comm_t comm, int rank, int size, size_t most)
      : comm_(comm),
        rank_(rank),
        size_(size),
        random_(static_cast<uint64_t>(rank)),
        in_(most / 4),
        out_(most / 4) {}

  void run(size_t bytes) {
    const size_t count = bytes / 4;
    for (int repeat = 0; repeat < (bytes <= 65536 ? 4 : 2); ++repeat)
      check_all_reduce(count, repeat % 2 == 1);
    const bool all_roots = bytes <= (size_t{4} << 20);
    for (int k = 0; k < (all_roots ? size_ : 1); ++k)
      check_broadcast(count, (k + round_) % size_, k % 2 == 1);
  }

  int operations() const { return round_; }

 private:
  static constexpr int32_t kPoison = -0x5a5a5a5a;

  static uint32_t value(size_t i, int rank, int round) {
    return static_cast<uint32_t>(i) * 3 + static_cast<uint32_t>(rank) * 7919 +
           static_cast<uint32_t>(round) * 104729;
  }

  void begin(size_t count) {
    ++round_;
    for (size_t i = 0; i < count; ++i) in_[i] = static_cast<int32_t>(value(i, rank_, round_));
    std::fill(out_.begin(), out_.begin() + static_cast<ptrdiff_t>(count), kPoison);
    workload::skew(random_);
  }

  void check_all_reduce(size_t count, bool in_place) {
    begin(count);
    int32_t* out = in_place ? in_.data() : out_.data();
    const std::string what = fmt::format("all_reduce of {} int32{}", count, in_place ? ", in place" : "");
    expect_success(all_reduce(comm_, in_.data(), out, count), what);
    const auto n = static_cast<uint32_t>(size_);
    check(out, count, what, [&](size_t i) { return n * value(i, 0, round_) + 7919 * (n * (n - 1) / 2); });
    if (!in_place)
      check(in_.data(), count, what + ", its input", [&](size_t i) { return value(i, rank_, round_); });
  }

  void check_broadcast(size_t count, int root, bool in_place) {
    begin(count);
    const std::string what =
        fmt::format("broadcast of {} int32 from {}{}", count, root, in_place ? ", in place" : "");
    int32_t* out = in_place && rank_ == root ? in_.data() : out_.data();
    expect_success(broadcast(comm_, rank_ == root ? in_.data() : nullptr, out, count, root), what);
    check(out, count, what, [&](size_t i) { return value(i, root, round_); });
  }

  template <typename Wanted>
  void check(const int32_t* got, size_t count, const std::string& what, const Wanted& wanted) const {
    uint32_t differ = 0;
    for (size_t i = 0; i < count; ++i) differ |= static_cast<uint32_t>(got[i]) ^ wanted(i);
    for (size_t i = 0; differ != 0 && i < count; ++i) {
      expect(static_cast<uint32_t>(got[i]) == wanted(i), "rank {}, {}: element {} is {}, expected {}", rank_,
             what, i, got[i], static_cast<int32_t>(wanted(i)));
    }
  }

  tutti_comm_t comm_;
  int rank_;
  int size_;
  int round_ = 0;
  std::mt19937_64 random_;
  std::vector<int32_t> in_;
  std::vector<int32_t> out_;
};

/// All ranks must have the same bits where the order of folding shows in them.
void expect_same_everywhere(tutti_comm_t comm, const std::vector<Case>& cases,
                            const std::vector<uint64_t>& hashes) {
  const auto count = static_cast<int64_t>(hashes.size());
  std::vector<uint64_t> least(hashes.size());
  std::vector<uint64_t> most(hashes.size());
  expect_success(tutti_all_reduce(hashes.data(), least.data(), count, TUTTI_UINT64, TUTTI_MIN, comm, nullptr),
                 "hashes");
  expect_success(tutti_all_reduce(hashes.data(), most.data(), count, TUTTI_UINT64, TUTTI_MAX, comm, nullptr),
                 "hashes");
  for (size_t i = 0; i < hashes.size(); ++i) {
    expect(least[i] == most[i], "the ranks' results differ: {}", workload::describe(cases[i]));
  }
}

/// Small messages of all kinds.
void check_matrix(tutti_comm_t comm, int rank, int size, Amount amount, uint64_t seed) {
  std::vector<Case> cases = workload::all_reduce_matrix(size, amount, 20011, seed);
  for (const Case& c : workload::broadcast_matrix(size, amount, 20011, seed + 1)) cases.push_back(c);
  std::mt19937_64 random(seed + 2);
  for (int i = 0; i < 10; ++i) cases.push_back(workload::random_case(size, 5003, random));
  std::mt19937_64 late(seed * 64 + static_cast<uint64_t>(rank));
  std::vector<uint64_t> hashes;
  for (const Case& c : cases) {
    workload::Job job(c, rank, size);
    workload::skew(late);
    expect_success(job.run(comm), workload::describe(c));
    job.check(workload::expected(c, size), false);
    hashes.push_back(job.hash());
  }
  expect_same_everywhere(comm, cases, hashes);
}

/// No rank leaves a barrier before the last has come to it. All hosts of an emulated cluster have one clock.
void check_barriers(tutti_comm_t comm, int rank, int size) {
  for (int round = 0; round < 2 * size; ++round) {
    const int late = round % size;
    if (rank == late) sleep_ms(3);
    auto came = static_cast<int64_t>(tutti::now_ns());
    expect_success(tutti_barrier(comm, nullptr), "barrier");
    const auto left = static_cast<int64_t>(tutti::now_ns());
    expect_success(tutti_broadcast(&came, &came, 1, TUTTI_INT64, late, comm, nullptr), "broadcast of a time");
    expect(left >= came, "rank {} left a barrier {} ns before rank {} came to it", rank, came - left, late);
  }
}

/// The automatic choice, then all that can be asked for, as TUTTI_ALGO takes it.
std::vector<std::string> every_algorithm() {
  std::vector<std::string> names = {""};
  for (const tutti::Collective collective : {tutti::Collective::all_reduce, tutti::Collective::broadcast}) {
    for (const std::string& name : workload::algorithms(collective, workload::Where::nodes)) {
      if (!name.empty()) names.push_back(fmt::format("{}={}", name_of(collective), name));
    }
  }
  return names;
}

/// What the library takes for messages of this size, as "all_reduce=ring".
void note_used(tutti_comm_t comm, size_t bytes, std::set<std::string>& used) {
  for (const char* collective : {"all_reduce", "broadcast", "barrier"}) {
    const char* name = tutti_algorithm_name(comm, collective, static_cast<int64_t>(bytes / 4), TUTTI_INT32);
    expect(name != nullptr, "tutti_algorithm_name: {}", tutti_last_error());
    used.insert(quoted(fmt::format("{}={}", collective, name)));
  }
}

constexpr size_t kSizes[] = {
    0, 4, 56, 1000, 8192, 65536, 300'000, 1u << 20, size_t{4} << 20, size_t{16} << 20, size_t{64} << 20};

void run_correct(Ranks& ranks, const Options& options) {
  const auto most = static_cast<size_t>(options.number("most", 1 << 20));
  const std::string only = options.text("algorithm", "every");
  const Amount amount = options.text("amount", "few") == "full" ? Amount::full : Amount::few;
  uint64_t seed = 1;
  for (const std::string& algorithm : every_algorithm()) {
    if (only != "every" && only != algorithm) continue;
    const uint64_t start = tutti::now_ns();
    const Comm comm = ranks.create(algorithm);
    try {
      check_matrix(comm.get(), ranks.rank(), ranks.size(), amount, seed++ * 1000);
      Sweep sweep(comm.get(), ranks.rank(), ranks.size(), most);
      std::set<std::string> used;
      for (const size_t bytes : kSizes) {
        if (bytes > most) break;
        sweep.run(bytes);
        note_used(comm.get(), bytes, used);
      }
      check_barriers(comm.get(), ranks.rank(), ranks.size());
      if (ranks.rank() == 0) {
        report(fmt::format(R"({{"algorithm": {}, "used": [{}], "operations": {}, "seconds": {:.3f}}})",
                           quoted(algorithm), fmt::join(used, ", "), sweep.operations(),
                           seconds_since(start)));
      }
    } catch (const std::exception& e) {
      throw std::runtime_error(fmt::format("algorithm '{}': {}", algorithm, e.what()));
    }
  }
}

// ---- times, wait --------------------------------------------------------------------------------------------------------

void run_times(Ranks& ranks, const Options& options) {
  const auto count = static_cast<size_t>(options.number("bytes", 1 << 20)) / 4;
  const bool reduces = options.text("collective", "all_reduce") == "all_reduce";
  const Comm comm = ranks.create(options.text("algorithm", ""));
  std::vector<int32_t> in(count, 1);
  std::vector<int32_t> out(count, 0);
  std::vector<double> seconds;
  for (int64_t round = options.number("rounds", 5); round > 0; --round) {
    if (options.number("barrier", 1) != 0) expect_success(tutti_barrier(comm.get(), nullptr), "barrier");
    const uint64_t start = tutti::now_ns();
    expect_success(reduces ? all_reduce(comm.get(), in.data(), out.data(), count)
                           : broadcast(comm.get(), in.data(), out.data(), count, 0),
                   "timed operation");
    seconds.push_back(seconds_since(start));
    expect(count == 0 || out[count / 2] == (reduces ? ranks.size() : 1), "a wrong result");
  }
  // A rank's own end says nothing about the others' sends.
  expect_success(tutti_barrier(comm.get(), nullptr), "barrier");
  report(fmt::format(R"({{"rank": {}, "seconds": [{:.6f}]}})", ranks.rank(), fmt::join(seconds, ", ")));
}

double processor_seconds() {
  rusage used = {};
  expect(getrusage(RUSAGE_SELF, &used) == 0, "getrusage failed");
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

/// Rank `late` comes 2 s late: all threads of the others together use little meanwhile.
void run_wait(Ranks& ranks, const Options& options) {
  const auto late = static_cast<int>(options.number("late", 0));
  const Comm comm = ranks.create(options.text("algorithm", ""));
  std::vector<int32_t> in(256, 1);
  std::vector<int32_t> out(256);
  for (int i = 0; i < 20; ++i)
    expect_success(all_reduce(comm.get(), in.data(), out.data(), in.size()), "all_reduce");
  const double used = processor_seconds();
  const uint64_t start = tutti::now_ns();
  if (ranks.rank() == late) sleep_ms(2000);
  expect_success(all_reduce(comm.get(), in.data(), out.data(), in.size()), "all_reduce");
  const double elapsed = seconds_since(start);
  const double processor = processor_seconds() - used;
  expect_success(tutti_barrier(comm.get(), nullptr), "barrier");
  report(fmt::format(R"({{"rank": {}, "late": {}, "elapsed": {:.4f}, "processor": {:.4f}}})", ranks.rank(),
                     ranks.rank() == late, elapsed, processor));
}

// ---- fault, setup -------------------------------------------------------------------------------------------------------

void report_failure(int rank, tutti_result_t result, const std::string& text, double seconds,
                    bool same_again) {
  report(fmt::format(R"({{"rank": {}, "result": {}, "text": {}, "seconds": {:.3f}, "same_again": {}}})", rank,
                     quoted(tutti_result_name(result)), quoted(text), seconds, same_again));
}

/// Until an operation fails; the next call must fail in the same way.
void run_fault(Ranks& ranks, const Options& options) {
  const auto count = static_cast<size_t>(options.number("bytes", 1 << 16)) / 4;
  Comm comm = ranks.create(options.text("algorithm", ""));
  std::vector<int32_t> in(count, 1);
  std::vector<int32_t> out(count);
  for (int64_t done = 0;; ++done) {
    const uint64_t start = tutti::now_ns();
    const tutti_result_t result = done % 2 == 0 ? all_reduce(comm.get(), in.data(), out.data(), count)
                                                : broadcast(comm.get(), in.data(), out.data(), count,
                                                            static_cast<int>(done / 2) % ranks.size());
    if (result != TUTTI_SUCCESS) {
      const std::string text = tutti_last_error();
      const double seconds = seconds_since(start);
      const bool same = tutti_barrier(comm.get(), nullptr) == result && text == tutti_last_error();
      report_failure(ranks.rank(), result, text, seconds, same);
      return;
    }
    if (done == 10) report(fmt::format(R"({{"rank": {}, "ready": {}}})", ranks.rank(), getpid()));
  }
}

void run_setup(Ranks& ranks, const Options& options) {
  Comm comm;
  const uint64_t start = tutti::now_ns();
  const tutti_result_t result = ranks.try_create(comm, options.text("algorithm", ""));
  report_failure(ranks.rank(), result, result == TUTTI_SUCCESS ? "" : tutti_last_error(),
                 seconds_since(start), true);
}

int run(const std::string& what, const Options& options) {
  Ranks ranks(options);
  try {
    if (what == "correct") {
      run_correct(ranks, options);
    } else if (what == "times") {
      run_times(ranks, options);
    } else if (what == "wait") {
      run_wait(ranks, options);
    } else if (what == "fault") {
      run_fault(ranks, options);
    } else if (what == "setup") {
      run_setup(ranks, options);
    } else {
      throw std::runtime_error(fmt::format("'{}' is nothing that this program does", what));
    }
  } catch (const std::exception& e) {
    ranks.give_up(e.what());
  }
  return 0;
}

}  // namespace
}  // namespace cluster

int main(int argc, char** argv) {
  try {
    return cluster::run(argc < 2 ? "" : argv[1], cluster::Options(argc, argv, 2));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
