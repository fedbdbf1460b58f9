// The CUDA driver, loaded at run time: one binary works with and without it.
//
// Only the driver's own interface is used, never the CUDA run-time library, so that Tutti links nothing of CUDA and shares the
// primary contexts of frameworks. Types and signatures come from the toolkit's cuda.h at build time.
#pragma once

#include <cuda.h>

#include <optional>
#include <string>

namespace tutti::cuda {

/// The driver's functions, each under the name that cuda.h gives it. Optional ones may be null.
struct Driver {
// NOLINTNEXTLINE(bugprone-macro-parentheses): what it declares
#define TUTTI_CUDA_FUNCTION(name) decltype(&::name) name = nullptr;
#define TUTTI_CUDA_OPTIONAL(name) TUTTI_CUDA_FUNCTION(name)
#include "transports/cuda_ipc/driver_functions.inc"
#undef TUTTI_CUDA_OPTIONAL
#undef TUTTI_CUDA_FUNCTION

  /// Loads the library (TUTTI_CUDA_LIBRARY, libcuda.so.1) at the first call and initialises it. Null where it is not usable:
  /// why() says why. Thread-safe; the answer never changes within a process.
  static const Driver* find();
  /// The same, throwing Error(unsupported) with why().
  static const Driver& get();
  /// Null unless this process has loaded the driver's library and started it (cuInit) already: whoever does not use CUDA pays
  /// nothing, and may fork. Where it is null, asking takes about a microsecond: not for the data path.
  static const Driver* find_loaded();
  /// "libcuda.so.1 cannot be loaded: ..."; empty where find() has found it.
  static const std::string& why();

  /// As cuDriverGetVersion: 13000.
  int version = 0;

  /// "CUDA_ERROR_OUT_OF_MEMORY (out of memory)".
  std::string text(CUresult result) const;
  /// Throws Error(system_error) "cuMemAlloc of 5 bytes: CUDA_ERROR_..." unless `result` is success.
  void check(CUresult result, const std::string& what) const;
};

/// What Driver::find does once, for any library.
struct LoadedDriver {
  std::optional<Driver> driver;
  std::string why;  // there is none
};
LoadedDriver load_driver(const std::string& library);

}  // namespace tutti::cuda
