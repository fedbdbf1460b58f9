// The baseline's two calls and what MPI calls our types and operators.
#include "benchmarks/baseline_mpi.h"

#include <fmt/format.h>

#include <climits>
#include <cstdlib>
#include <cstring>

#include "benchmarks/mpi_session.h"
#include "benchmarks/options.h"

#if TUTTI_HAVE_MPI
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>
#endif

namespace tutti::bench {

#if TUTTI_HAVE_MPI

namespace {

// Macros of mpi.h, some of which are C casts.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"

MPI_Datatype mpi_datatype(tutti_datatype_t datatype) {
  switch (datatype) {
    case TUTTI_INT8:
      return MPI_INT8_T;
    case TUTTI_UINT8:
      return MPI_UINT8_T;
    case TUTTI_INT16:
      return MPI_INT16_T;
    case TUTTI_UINT16:
      return MPI_UINT16_T;
    case TUTTI_INT32:
      return MPI_INT32_T;
    case TUTTI_UINT32:
      return MPI_UINT32_T;
    case TUTTI_INT64:
      return MPI_INT64_T;
    case TUTTI_UINT64:
      return MPI_UINT64_T;
    case TUTTI_FLOAT32:
      return MPI_FLOAT;
    case TUTTI_FLOAT64:
      return MPI_DOUBLE;
    default:
      return MPI_DATATYPE_NULL;
  }
}

MPI_Op mpi_op(tutti_op_t op) {
  switch (op) {
    case TUTTI_SUM:
      return MPI_SUM;
    case TUTTI_PROD:
      return MPI_PROD;
    case TUTTI_MIN:
      return MPI_MIN;
    case TUTTI_MAX:
      return MPI_MAX;
    default:
      return MPI_OP_NULL;
  }
}

const void* in_place() {
  return MPI_IN_PLACE;
}
MPI_Comm world() {
  return MPI_COMM_WORLD;
}
MPI_Datatype no_datatype() {
  return MPI_DATATYPE_NULL;
}
MPI_Errhandler errors_return() {
  return MPI_ERRORS_RETURN;
}

#pragma GCC diagnostic pop

class MpiLibrary final : public Baseline {
 public:
  explicit MpiLibrary(const CollectiveInfo& collective) : collective_(collective), comm_(world()) {
    MPI_Comm_set_errhandler(comm_, errors_return());
    MPI_Comm_rank(comm_, &rank_);
  }

  const char* name() const override { return "mpi"; }

  /// MPI has no floating point of 16 or 8 bits and no average.
  std::string cannot(const Call& call) const override {
    if (mpi_datatype(call.datatype) == no_datatype())
      return fmt::format("MPI has no {}", tutti_datatype_name(call.datatype));
    if (collective_.has_op() && call.op == TUTTI_AVG) return "MPI has no average";
    if (call.count > INT_MAX) return fmt::format("MPI counts in int, and {} elements are more", call.count);
    return {};
  }

  std::string version() const override { return MpiSession::library(); }

  std::string settings() const override {
    const char* yields = std::getenv("OMPI_MCA_mpi_yield_when_idle");
    return fmt::format("OMPI_MCA_mpi_yield_when_idle is {}", yields == nullptr ? "not set" : yields);
  }

  void prepare(const Call& call) override {
    datatype_ = mpi_datatype(call.datatype);
    op_ = mpi_op(call.op);
    bytes_ = static_cast<size_t>(call.count) * tutti_datatype_size(call.datatype);
  }

  int run(const Call& call) noexcept override {
    return collective_.kind == Kind::broadcast ? broadcast(call) : all_reduce(call);
  }

  std::string explain(int code) const override {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return fmt::format("MPI: {}", text);
  }

  std::string algorithm(const Call&) const override { return "default"; }

 private:
  int all_reduce(const Call& call) noexcept {
    const void* send = call.send == call.recv ? in_place() : call.send;
    return MPI_Allreduce(send, call.recv, static_cast<int>(call.count), datatype_, op_, comm_);
  }

  int broadcast(const Call& call) noexcept {
    const bool copies = rank_ == call.root && call.send != call.recv;
    // MPI_Bcast only reads the root's buffer.
    void* buffer = copies ? const_cast<void*>(call.send) : call.recv;
    const int code = MPI_Bcast(buffer, static_cast<int>(call.count), datatype_, call.root, comm_);
    if (copies && code == MPI_SUCCESS) std::memcpy(call.recv, call.send, bytes_);
    return code;
  }

  const CollectiveInfo& collective_;
  MPI_Comm comm_;
  int rank_ = 0;
  MPI_Datatype datatype_{};
  MPI_Op op_{};
  size_t bytes_ = 0;
};

}  // namespace

std::unique_ptr<Baseline> make_mpi_library(const CollectiveInfo& collective) {
  return std::make_unique<MpiLibrary>(collective);
}

#else

std::unique_ptr<Baseline> make_mpi_library(const CollectiveInfo&) {
  throw UsageError("--baseline mpi: this build has no MPI");
}

#endif

}  // namespace tutti::bench
