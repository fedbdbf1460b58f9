// MPI, where it was there at build time.
#include "benchmarks/mpi_session.h"

#include "benchmarks/options.h"

#if TUTTI_HAVE_MPI
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
// A C header, with C's casts.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#include <tutti/tutti_mpi.h>
#pragma GCC diagnostic pop
#endif

#include <cstdlib>

namespace tutti::bench {

#if TUTTI_HAVE_MPI

bool built_with_mpi() {
  return true;
}

MpiSession::MpiSession() {
  int provided = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
    throw std::runtime_error("MPI_Init_thread failed");
  }
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &size_);
}

MpiSession::~MpiSession() {
  MPI_Finalize();
}

Communicator MpiSession::make_communicator(const Config& config) {
  tutti_comm_config_t c = TUTTI_COMM_CONFIG_INIT;
  c.timeout_ns = static_cast<int64_t>(config.timeout.count());
  c.setup_timeout_ns = static_cast<int64_t>(config.setup_timeout.count());
  c.algorithm = config.algorithm.empty() ? nullptr : config.algorithm.c_str();
  tutti_comm_t comm = nullptr;
  check(tutti_comm_create_mpi(&comm, MPI_COMM_WORLD, &c));
  return Communicator::adopt(comm);
}

void MpiSession::barrier() {
  MPI_Barrier(MPI_COMM_WORLD);
}

void MpiSession::abort(int exit_code) {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

std::string MpiSession::library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string version(text);
  return version.substr(0, version.find('\n'));
}

#else

bool built_with_mpi() {
  return false;
}

MpiSession::MpiSession() {
  throw UsageError(
      "started by an MPI launcher, but built without MPI: start local ranks with --np N instead");
}
MpiSession::~MpiSession() = default;
Communicator MpiSession::make_communicator(const Config&) {
  return {};
}
void MpiSession::barrier() {}
void MpiSession::abort(int exit_code) {
  std::_Exit(exit_code);
}
std::string MpiSession::library() {
  return {};
}

#endif

}  // namespace tutti::bench
