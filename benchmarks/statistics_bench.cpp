// What always-on statistics cost an operation: two builds of the library in one process, taking turns.
//
//     statistics_bench LIBRARY_WITH LIBRARY_WITHOUT [RANKS [BYTES [LATE_NS]]]
//     statistics_bench build/release/lib/libtutti.so build/off/lib/libtutti.so      (the second one built with -DTUTTI_STATS=OFF)
//
// LATE_NS makes rank 0, whose time is printed, come so much later to every operation than it could: a rank that never waits does what is left to
// do for the statistics on its own way, and not while it waits for others.
//
// The ranks are threads. Each round is kOperations all-reduces back to back on a communicator of the one library, then as many on one of the
// other; which of them begins changes from round to round, so that whatever else happens on the machine hits both alike. A round that
// was interrupted says nothing about the library: printed are the medians over all rounds, the median of the differences within
// rounds with its 95 % confidence interval (from order statistics), and the difference of the means.
#include <dlfcn.h>
#include <fmt/format.h>
#include <tutti/tutti.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/sync.h"
#include "core/thread_group.h"

namespace {

constexpr int kOperations = 1000;
constexpr int kRounds = 2000;
constexpr int kWarmUpRounds = 20;

/// The C interface of one build.
class LoadedLibrary {
 public:
  explicit LoadedLibrary(const char* path) : handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw std::runtime_error(dlerror());
    create_local = function<decltype(create_local)>("tutti_comm_create_local");
    destroy = function<decltype(destroy)>("tutti_comm_destroy");
    all_reduce = function<decltype(all_reduce)>("tutti_all_reduce");
    barrier = function<decltype(barrier)>("tutti_barrier");
    stats = function<decltype(stats)>("tutti_comm_stats");
  }

  decltype(&tutti_comm_create_local) create_local;
  decltype(&tutti_comm_destroy) destroy;
  decltype(&tutti_all_reduce) all_reduce;
  decltype(&tutti_barrier) barrier;
  decltype(&tutti_comm_stats) stats;

 private:
  template <typename Function>
  Function function(const char* name) {
    void* found = dlsym(handle_, name);
    if (found == nullptr) throw std::runtime_error(dlerror());
    return reinterpret_cast<Function>(found);
  }

  void* handle_;  // loaded until the process ends
};

void check(tutti_result_t result, const char* what) {
  if (result != TUTTI_SUCCESS)
    throw std::runtime_error(fmt::format("{}: result {}", what, static_cast<int>(result)));
}

/// One build's communicator.
struct Side {
  Side(const char* path, int ranks, size_t floats)
      : library(path),
        comms(static_cast<size_t>(ranks)),
        data(static_cast<size_t>(ranks), std::vector<float>(floats)) {
    check(library.create_local(comms.data(), ranks, nullptr), "tutti_comm_create_local");
  }
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;
  ~Side() {
    for (tutti_comm_t comm : comms) static_cast<void>(library.destroy(comm));
  }

  bool has_statistics() const {
    return library.stats(comms[0], "json", nullptr, 0, nullptr) == TUTTI_SUCCESS;
  }

  /// Nanoseconds per operation.
  double round(int rank, uint64_t late_ticks) {
    const auto r = static_cast<size_t>(rank);
    tutti_comm_t comm = comms[r];
    std::vector<float>& mine = data[r];
    check(library.barrier(comm, nullptr), "tutti_barrier");
    const uint64_t start = tutti::now_ns();
    for (int i = 0; i < kOperations; ++i) {
      if (rank == 0 && late_ticks != 0) {
        for (const uint64_t until = tutti::ticks() + late_ticks; tutti::ticks() < until;) tutti::cpu_relax();
      }
      check(library.all_reduce(mine.data(), mine.data(), static_cast<int64_t>(mine.size()), TUTTI_FLOAT32,
                               TUTTI_MAX, comm, nullptr),
            "tutti_all_reduce");
    }
    return static_cast<double>(tutti::now_ns() - start) / kOperations;
  }

  LoadedLibrary library;
  std::vector<tutti_comm_t> comms;
  std::vector<std::vector<float>> data;
  std::vector<double> times;  // by round
};

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

void report(const Side& with, const Side& without, int ranks, size_t bytes) {
  std::vector<double> a = with.times;
  std::vector<double> b = without.times;
  std::vector<double> differences(a.size());
  for (size_t i = 0; i < a.size(); ++i) differences[i] = a[i] - b[i];
  const double mean_difference = mean(a) - mean(b);
  for (std::vector<double>* each : {&a, &b, &differences}) std::sort(each->begin(), each->end());
  const size_t middle = a.size() / 2;
  const auto spread = static_cast<size_t>(std::ceil(0.98 * std::sqrt(static_cast<double>(a.size()))));
  fmt::print("all_reduce of {} bytes, {} rank{}, {} rounds of {} operations each\n", bytes, ranks,
             ranks == 1 ? "" : "s", a.size(), kOperations);
  fmt::print("  with statistics     {:8.1f} ns per operation (median)\n", a[middle]);
  fmt::print("  without             {:8.1f} ns\n", b[middle]);
  fmt::print("  cost                {:8.1f} ns ({:.1f} to {:.1f}), difference of means {:.1f} ns\n",
             differences[middle], differences[middle - spread], differences[middle + spread],
             mean_difference);
}

void run(const char* with_path, const char* without_path, int ranks, size_t bytes, uint64_t late_ns) {
  const size_t floats = std::max<size_t>(bytes / sizeof(float), 1);
  Side with(with_path, ranks, floats);
  Side without(without_path, ranks, floats);
  if (!with.has_statistics() || without.has_statistics())
    throw std::runtime_error("expected a library with statistics and then one without (TUTTI_STATS=OFF)");
  const uint64_t late_ticks = tutti::ns_to_ticks(late_ns);
  tutti::ThreadGroup group(ranks);
  group.run([&](int rank) {
    for (int i = -kWarmUpRounds; i < kRounds; ++i) {
      Side* order[] = {&with, &without};
      if (i % 2 != 0) std::swap(order[0], order[1]);
      for (Side* side : order) {
        const double time = side->round(rank, late_ticks);
        if (rank == 0 && i >= 0) side->times.push_back(time);
      }
    }
  });
  report(with, without, ranks, floats * sizeof(float));
}

int positive(const char* text, const char* what) {
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value < 1 || value > 1 << 20)
    throw std::runtime_error(fmt::format("{} '{}': expected a number from 1 to 1048576", what, text));
  return static_cast<int>(value);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 6) {
    fmt::print(stderr, "usage: {} LIBRARY_WITH LIBRARY_WITHOUT [RANKS [BYTES [LATE_NS]]]\n", argv[0]);
    return 2;
  }
  try {
    run(argv[1], argv[2], argc > 3 ? positive(argv[3], "RANKS") : 2,
        static_cast<size_t>(argc > 4 ? positive(argv[4], "BYTES") : 4),
        static_cast<uint64_t>(argc > 5 ? positive(argv[5], "LATE_NS") : 0));
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
