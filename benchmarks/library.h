// A library whose collective is measured: Tutti, or a baseline beside it.
#pragma once

#include <memory>
#include <string>

#include "benchmarks/collective.h"

namespace tutti::bench {

class Library {
 public:
  Library() = default;
  virtual ~Library() = default;
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  /// "tutti" or "mpi", as in the results.
  virtual const char* name() const = 0;
  /// Once before the calls of a row; what depends on type and operator is looked up here, not in the timed call.
  virtual void prepare(const Call& call) = 0;
  /// The timed call. 0 for success, else a code for explain().
  virtual int run(const Call& call) noexcept = 0;
  virtual std::string explain(int code) const = 0;
  /// The algorithm that this call uses; "default" where the library does not tell.
  virtual std::string algorithm(const Call& call) const = 0;
};

std::unique_ptr<Library> make_tutti_library(const CollectiveInfo& collective, tutti_comm_t comm);

}  // namespace tutti::bench
