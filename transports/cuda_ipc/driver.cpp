// Loading the CUDA driver: the table of its functions, and the reasons for having none.
#include "transports/cuda_ipc/driver.h"

#include <dlfcn.h>

#include <atomic>

#include "core/env.h"
#include "core/error.h"

namespace tutti::cuda {
namespace {

constexpr int kOldestVersion = 12040;  // what the functions below need

/// Why dlopen has failed; never empty, and without the library's name, which the loader often begins with.
std::string loader_error(const std::string& library) {
  const char* text = dlerror();
  if (text == nullptr) return "no reason is given";
  const std::string why = text;
  return why.starts_with(library + ": ") ? why.substr(library.size() + 2) : why;
}

/// The name of the first function that the library lacks and that Tutti cannot do without; empty where there is none.
std::string resolve(void* library, Driver& driver) {
  std::string missing;
  const auto find = [&](auto& function, const char* name, bool needed) {
    void* symbol = dlsym(library, name);
    if (symbol == nullptr && needed && missing.empty()) missing = name;
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(symbol);
  };
// The second macro sees the name that cuda.h has made of the first one's.
#define TUTTI_CUDA_FIND(name, needed) find(driver.name, #name, needed);
#define TUTTI_CUDA_FUNCTION(name) TUTTI_CUDA_FIND(name, true)
#define TUTTI_CUDA_OPTIONAL(name) TUTTI_CUDA_FIND(name, false)
#include "transports/cuda_ipc/driver_functions.inc"
#undef TUTTI_CUDA_OPTIONAL
#undef TUTTI_CUDA_FUNCTION
#undef TUTTI_CUDA_FIND
  return missing;
}

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

const std::string& library_name() {
  return Environment::process().text(Variable::cuda_library);
}

const LoadedDriver& loaded() {
  static const LoadedDriver driver = load_driver(library_name());
  return driver;
}

}  // namespace

LoadedDriver load_driver(const std::string& library) {
  LoadedDriver result;
  // Never closed: pointers into it are everywhere, and a driver does not survive it.
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    result.why = fmt::format("{} cannot be loaded: {}", library, loader_error(library));
    return result;
  }
  Driver driver;
  const std::string missing = resolve(handle, driver);
  // The version says more than a missing function, where it can be asked.
  if (driver.cuDriverGetVersion != nullptr && driver.cuDriverGetVersion(&driver.version) == CUDA_SUCCESS &&
      driver.version < kOldestVersion) {
    result.why = fmt::format("{} is a driver for CUDA {}; expected {} or later", library,
                             version_text(driver.version), version_text(kOldestVersion));
    return result;
  }
  if (!missing.empty()) {
    result.why = fmt::format("{} has no function {}, which every CUDA driver for {} and later has", library,
                             missing, version_text(kOldestVersion));
    return result;
  }
  if (const CUresult started = driver.cuInit(0); started != CUDA_SUCCESS) {
    result.why = fmt::format("cuInit of {}: {}", library, driver.text(started));
    return result;
  }
  result.driver = driver;
  return result;
}

const Driver* Driver::find() {
  const LoadedDriver& result = loaded();
  return result.driver ? &*result.driver : nullptr;
}

const Driver& Driver::get() {
  const Driver* driver = find();
  if (driver == nullptr) raise(Result::unsupported, "CUDA is not available: {}", why());
  return *driver;
}

const Driver* Driver::find_loaded() {
  static std::atomic<bool> in_use{false};
  if (in_use.load(std::memory_order_acquire)) return find();
  void* handle = dlopen(library_name().c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  if (handle == nullptr) return nullptr;
  // A library that is there but was never started has no user yet: hwloc and UCX load it to look around.
  const auto current = reinterpret_cast<decltype(&::cuCtxGetCurrent)>(dlsym(handle, "cuCtxGetCurrent"));
  CUcontext context = nullptr;
  const bool started = current != nullptr && current(&context) != CUDA_ERROR_NOT_INITIALIZED;
  dlclose(handle);
  if (!started) return nullptr;
  in_use.store(true, std::memory_order_release);
  return find();
}

const std::string& Driver::why() {
  return loaded().why;
}

std::string Driver::text(CUresult result) const {
  const char* name = nullptr;
  const char* meaning = nullptr;
  if (cuGetErrorName == nullptr || cuGetErrorName(result, &name) != CUDA_SUCCESS || name == nullptr)
    return fmt::format("CUDA error {}", static_cast<int>(result));
  if (cuGetErrorString == nullptr || cuGetErrorString(result, &meaning) != CUDA_SUCCESS || meaning == nullptr)
    return name;
  return fmt::format("{} ({})", name, meaning);
}

void Driver::check(CUresult result, const std::string& what) const {
  if (result != CUDA_SUCCESS) raise(Result::system_error, "{}: {}", what, text(result));
}

}  // namespace tutti::cuda
