// Who this process is, said by whoever started it: its rank, how many ranks there are, and the unique id of their communicator.
// For programs that are started without MPI.
//
// Looked for in this order; the first that is complete is taken, and a wrong value in it is an error:
//   TUTTI_RANK, TUTTI_SIZE, TUTTI_UNIQUE_ID   by hand. Part of them is an error. One id makes one communicator.
//   RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT  as torchrun and Kubernetes' PyTorchJob set them. Rank 0 of communicator k of the
//                                             process (from 0) listens at MASTER_ADDR, port MASTER_PORT + 1 + k; the secret is derived from
//                                             TORCHELASTIC_RUN_ID, TORCHELASTIC_RESTART_COUNT, WORLD_SIZE and k.
//   PMIx                                      mpirun, srun --mpi=pmix. Rank 0 creates the id, the process manager passes it on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/env.h"
#include "runtime/bootstrap/pmix.h"
#include "runtime/bootstrap/unique_id.h"

namespace tutti {

struct Launch {
  int rank = 0;
  int size = 1;
  UniqueId id{};
  std::string source;  // "TUTTI_RANK", "torchrun" or "PMIx"; for people
};

/// Where find_launch looks, apart from the TUTTI_ variables.
struct LaunchSources {
  std::function<const char*(const char*)> variable;  // getenv
  std::function<std::string()> pmix_missing;         // why PMIx cannot be asked; empty: it can
  std::function<pmix::Shared(const std::string& key, uint64_t limit_ns,
                             const std::function<std::string()>& make)>
      pmix;
  int number = 0;  // of the communicator, counted by this process from 0
};

Launch find_launch(const Environment& environment, uint64_t limit_ns, const LaunchSources& sources);

/// The same in the environment of this process; each call is for one more communicator. Every rank must create them in the same
/// order. Throws Error: invalid_argument naming the variable and its value, invalid_usage listing what was looked for, timeout.
Launch find_launch(const Environment& environment, uint64_t limit_ns);

/// Which of these ways find_launch would take in this process: "TUTTI_RANK", "torchrun", "PMIx"; empty: none. Checks no value.
std::string launch_source(const Environment& environment);

/// Reads 256 hexadecimal digits; throws Error(invalid_argument), which never shows them.
UniqueId unique_id_from_hex(const std::string& text);

}  // namespace tutti
