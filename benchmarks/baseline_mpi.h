// MPI's collectives, measured in the same run beside Tutti's.
//
// The same result from the same buffers. An all-reduce in place passes MPI_IN_PLACE. MPI_Bcast has one buffer; a
// broadcast out of place therefore sends the root's send buffer and then copies it to the root's receive buffer, as
// Tutti's call does.
#pragma once

#include <memory>

#include "benchmarks/baseline.h"

namespace tutti::bench {

/// Needs an MpiSession.
std::unique_ptr<Baseline> make_mpi_library(const CollectiveInfo& collective);

}  // namespace tutti::bench
