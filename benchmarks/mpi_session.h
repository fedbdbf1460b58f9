// All that a benchmark needs of MPI besides the baseline: starting it, making communicators, ending it.
//
// In a build without MPI the functions exist and say so.
#pragma once

#include <string>
#include <tutti/tutti.hpp>

namespace tutti::bench {

/// MPI from construction to destruction. One per process.
class MpiSession {
 public:
  MpiSession();
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  Communicator make_communicator(const Config& config);
  /// Returns when all ranks have called it: what they printed before is out before any of them ends.
  void barrier();
  /// Ends all ranks, those too that wait for this one.
  [[noreturn]] void abort(int exit_code);
  /// "Open MPI v4.1.4, ..."
  static std::string library();

 private:
  int rank_ = 0;
  int size_ = 1;
};

bool built_with_mpi();

}  // namespace tutti::bench
