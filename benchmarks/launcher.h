// How a benchmark's ranks come into being, and what they agree on.
//
// Three ways. An MPI launcher started them: MPI serves for set-up only (and for the baseline). The user started them
// with TUTTI_RANK, TUTTI_SIZE and TUTTI_UNIQUE_ID. Or this process starts local ranks itself (local_ranks.h).
//
// A World holds two communicators: the one that is measured, which --algorithm and --timeout apply to, and a control
// communicator of Tutti's own choice for barriers and for combining results. The barrier before each timed call is on
// the control communicator for Tutti and for the baseline alike, so neither's state is warmed by it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tutti/tutti.hpp>

#include "benchmarks/options.h"

namespace tutti::bench {

class MpiSession;

enum class Launch : uint8_t { mpi, environment, local };

/// What the environment says about who started this process.
struct Started {
  Launch launch = Launch::local;
  int rank = 0;  // as far as known before any set-up; who prints errors of the command line
};
Started how_started();

class World {
 public:
  World(Launch launch, Communicator control, Communicator measured);

  Launch launch() const { return launch_; }
  const char* launch_name() const;
  int rank() const { return rank_; }
  int size() const { return size_; }
  int nodes() const;
  /// Whether all ranks read the same tick counter.
  bool one_clock() const { return nodes() == 1; }
  tutti_comm_t measured() const { return measured_.get(); }

  void barrier() { control_.barrier(); }
  /// Collective: one more among the same ranks.
  Communicator another_communicator();
  // Over all ranks, the same on all of them.
  double max(double value);
  void max(std::span<double> values) { control_.all_reduce(values, TUTTI_MAX); }
  void max(std::span<uint8_t> values) { control_.all_reduce(values, TUTTI_MAX); }
  void max(std::span<uint64_t> values) { control_.all_reduce(values, TUTTI_MAX); }
  void broadcast(std::span<uint64_t> values, int root) { control_.broadcast(values, root); }
  int64_t sum(int64_t value);
  void sum(std::span<int64_t> values) { control_.all_reduce(values, TUTTI_SUM); }
  bool any(bool value);

 private:
  Launch launch_;
  Communicator control_;
  Communicator measured_;
  int rank_;
  int size_;
};

World join_mpi(MpiSession& mpi, const Options& options);
/// From TUTTI_RANK, TUTTI_SIZE and TUTTI_UNIQUE_ID.
World join_environment(const Options& options);

/// What local ranks share before they have a communicator: rank 0 publishes an id, the others await it. Memory that
/// forked processes share.
class IdBoard {
 public:
  IdBoard();
  ~IdBoard();
  IdBoard(const IdBoard&) = delete;
  IdBoard& operator=(const IdBoard&) = delete;

  void publish(const UniqueId& id);
  UniqueId await() const;

 private:
  struct Content;
  Content* content_;
};

World join_local(int rank, int size, IdBoard& board, const Options& options);

}  // namespace tutti::bench
