// Algorithms against each other among ranks that are threads of one process: microseconds per operation.
//
//     threads_bench COLLECTIVE RANKS ALGORITHM...        all_reduce 2 two_shot direct
//
// Every algorithm has communicators and buffers of its own, out of place. They take turns, a round each, so that what else
// happens on the machine hits all of them alike. A round is as many operations back to back as move 64 MiB, at most 500,
// between two barriers. Printed are the median round, and the first algorithm's time over that of each other.
#include <fmt/format.h>
#include <tutti/tutti.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/thread_group.h"
#include "core/units.h"

namespace {

constexpr int kRounds = 25;
constexpr uint64_t kRoundBytes = uint64_t{64} << 20;
constexpr uint64_t kLeast = uint64_t{16} << 10;
constexpr uint64_t kMost = uint64_t{64} << 20;

void check(tutti_result_t result) {
  if (result != TUTTI_SUCCESS) throw std::runtime_error(tutti_last_error());
}

/// One algorithm: a communicator, an input and an output for each rank.
struct Contender {
  std::vector<tutti_comm_t> comms;
  std::vector<std::vector<float>> inputs;
  std::vector<std::vector<float>> outputs;
  std::vector<double> rounds;  // microseconds per operation
};

class Contest {
 public:
  Contest(bool broadcast, int ranks, const std::vector<std::string>& names)
      : broadcast_(broadcast), ranks_(ranks), contenders_(names.size()) {
    const auto n = static_cast<size_t>(ranks);
    for (size_t i = 0; i < names.size(); ++i) {
      Contender& each = contenders_[i];
      tutti_comm_config_t config = TUTTI_COMM_CONFIG_INIT;
      config.algorithm = names[i].c_str();
      each.comms.resize(n);
      check(tutti_comm_create_local(each.comms.data(), ranks, &config));
      each.inputs.assign(n, std::vector<float>(kMost / sizeof(float), 1));
      each.outputs.assign(n, std::vector<float>(kMost / sizeof(float)));
    }
  }
  Contest(const Contest&) = delete;
  Contest& operator=(const Contest&) = delete;
  ~Contest() {
    for (Contender& each : contenders_) {
      for (tutti_comm_t comm : each.comms) tutti_comm_destroy(comm);
    }
  }

  /// Median microseconds per operation, by contender.
  std::vector<double> run(uint64_t bytes) {
    const int operations = static_cast<int>(std::clamp<uint64_t>(kRoundBytes / bytes, 1, 500));
    for (Contender& each : contenders_) each.rounds.clear();
    tutti::ThreadGroup group(ranks_);
    group.run([&](int rank) {
      for (int round = 0; round <= kRounds; ++round) {
        for (Contender& each : contenders_) {
          const double time = measure(each, rank, bytes, operations);
          if (rank == 0 && round != 0) each.rounds.push_back(time);  // the first warms up
        }
      }
    });
    std::vector<double> medians;
    for (Contender& each : contenders_) {
      std::sort(each.rounds.begin(), each.rounds.end());
      medians.push_back(each.rounds[each.rounds.size() / 2]);
    }
    return medians;
  }

 private:
  /// From when all have come to when all are done.
  double measure(Contender& with, int rank, uint64_t bytes, int operations) const {
    const auto r = static_cast<size_t>(rank);
    const auto count = static_cast<int64_t>(bytes / sizeof(float));
    tutti_comm_t comm = with.comms[r];
    check(tutti_barrier(comm, nullptr));
    const uint64_t start = tutti::now_ns();
    for (int i = 0; i < operations; ++i) {
      check(broadcast_ ? tutti_broadcast(with.inputs[r].data(), with.outputs[r].data(), count, TUTTI_FLOAT32,
                                         0, comm, nullptr)
                       : tutti_all_reduce(with.inputs[r].data(), with.outputs[r].data(), count, TUTTI_FLOAT32,
                                          TUTTI_SUM, comm, nullptr));
    }
    check(tutti_barrier(comm, nullptr));
    return static_cast<double>(tutti::now_ns() - start) / 1000 / operations;
  }

  bool broadcast_;
  int ranks_;
  std::vector<Contender> contenders_;
};

int program(int argc, char** argv) {
  const std::string collective = argc > 1 ? argv[1] : "";
  const int ranks = argc > 2 ? std::atoi(argv[2]) : 0;
  if ((collective != "all_reduce" && collective != "broadcast") || ranks < 2 || ranks > 64 || argc < 4) {
    fmt::print(stderr, "usage: threads_bench all_reduce|broadcast RANKS(2-64) ALGORITHM...\n");
    return 2;
  }
  const std::vector<std::string> names(argv + 3, argv + argc);
  Contest contest(collective == "broadcast", ranks, names);
  fmt::print("{} of {} threads, us per operation\n{:>10}", collective, ranks, "bytes");
  for (const std::string& name : names) fmt::print(" {:>14}", name);
  fmt::print("   {} / others\n", names[0]);
  for (uint64_t bytes = kLeast; bytes <= kMost; bytes *= 2) {
    const std::vector<double> times = contest.run(bytes);
    fmt::print("{:>10}", tutti::format_size(bytes));
    for (const double time : times) fmt::print(" {:>14.1f}", time);
    fmt::print("  ");
    for (size_t i = 1; i < times.size(); ++i) fmt::print(" {:.2f}", times[0] / times[i]);
    fmt::print("\n");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return program(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "threads_bench: {}\n", error.what());
    return 1;
  }
}
