// The process manager of mpirun and srun --mpi=pmix, asked without MPI: rank, number of ranks, and one value that rank 0 gives to all.
//
// The PMIx library is loaded when it is needed and only then; nothing links it. It is opened and left again for every
// value: a process that has not left it is taken for one that crashed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace tutti::pmix {

struct Shared {
  int rank = 0;
  int size = 1;
  std::string value;  // what rank 0 gave
};

/// Why PMIx cannot be asked here: built without it, or the process manager left no trace in the environment. Empty: it can.
std::string why_not(const std::function<const char*(const char*)>& variable);

/// Collective over the ranks of the job. Rank 0 calls `make` (where it throws, the others learn that it failed). `key` names the
/// value and is used once. Throws Error: unsupported where the library or the manager is missing, timeout after `limit_ns`.
Shared share(const std::string& key, uint64_t limit_ns, const std::function<std::string()>& make);

}  // namespace tutti::pmix
