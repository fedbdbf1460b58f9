// The ranks of one program of the cluster tests, and how they came to be: started by mpirun, or one by one with a file through
// which rank 0 gives the unique id to the others (mpirun ends all ranks when one dies; the tests of faults want the others to go on).
#pragma once

#include <tutti/tutti.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace cluster {

/// The words `name=value` of a command line.
class Options {
 public:
  Options(int argc, char** argv, int first);
  bool has(const std::string& name) const { return values_.count(name) != 0; }
  std::string text(const std::string& name, const std::string& fallback) const;
  int64_t number(const std::string& name, int64_t fallback) const;

 private:
  std::map<std::string, std::string> values_;
};

struct DestroyComm {
  void operator()(tutti_comm* comm) const { tutti_comm_destroy(comm); }
};
using Comm = std::unique_ptr<tutti_comm, DestroyComm>;

class Ranks {
 public:
  /// With `id=FILE rank=R size=N`: without MPI.
  explicit Ranks(const Options& options);
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;
  ~Ranks();

  int rank() const { return rank_; }
  int size() const { return size_; }
  bool by_mpi() const { return by_mpi_; }

  /// A communicator over all of them. An empty algorithm leaves the choice to the library. Null and tutti_last_error() set where
  /// it failed.
  tutti_result_t try_create(Comm& comm, const std::string& algorithm);
  Comm create(const std::string& algorithm);

  /// Ends all ranks where MPI can.
  [[noreturn]] void give_up(const std::string& why);

 private:
  tutti_unique_id_t id_by_file();

  std::string file_;
  int rank_ = 0;
  int size_ = 1;
  int made_ = 0;
  bool by_mpi_ = false;
};

/// One line on standard output that the driver reads: `RESULT {...}`.
void report(const std::string& json);

/// A text as a JSON string.
std::string quoted(std::string_view text);

}  // namespace cluster
