// Loading the driver where there is none that can be used: what is said then. Needs neither a driver nor a device.
#include "transports/cuda_ipc/driver.h"

#include <string>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/core/child.h"
#include "transports/cuda_ipc/device.h"

using namespace tutti;
using namespace tutti::cuda;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string error_of_get() {
  try {
    Driver::get();
  } catch (const Error& error) {
    CHECK(error.code() == Result::unsupported);
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a library that cannot be loaded is named, with the loader's reason") {
  const LoadedDriver none = load_driver("/nowhere/libcuda.so.1");
  CHECK_FALSE(none.driver);
  CHECK(contains(none.why, "/nowhere/libcuda.so.1 cannot be loaded: "));
  CHECK(contains(none.why, "No such file"));
  CHECK(contains(load_driver("/proc/self/exe/x").why, "cannot be loaded: "));
  CHECK(contains(load_driver("/proc/self/status").why, "cannot be loaded: "));
}

TEST_CASE("a library that lacks a function is refused, naming the function") {
  const LoadedDriver lacking = load_driver(TUTTI_LACKING_CUDA);
  CHECK_FALSE(lacking.driver);
  CHECK(contains(lacking.why, "tutti_lacking_cuda"));
  CHECK(contains(lacking.why,
                 "has no function cuGetErrorName, which every CUDA driver for 12.4 and later has"));
}

TEST_CASE("a driver for an old CUDA is refused, naming both versions") {
  const LoadedDriver old = load_driver(TUTTI_OLD_CUDA);
  CHECK_FALSE(old.driver);
  CHECK(contains(old.why, "is a driver for CUDA 12.2; expected 12.4 or later"));
}

TEST_CASE("child: there is no driver", "[.child]") {
  CHECK(Driver::find_loaded() == nullptr);
  CHECK(Driver::find() == nullptr);
  CHECK(contains(Driver::why(), "/nowhere/libcuda.so.1 cannot be loaded"));
  CHECK(contains(error_of_get(), "CUDA is not available: /nowhere/libcuda.so.1 cannot be loaded"));
  CHECK(Driver::find_loaded() == nullptr);
  CHECK(current_device() == -1);
  const DeviceList list = list_devices();
  CHECK(list.devices.empty());
  CHECK(list.driver_version == 0);
  CHECK(list.why_none == Driver::why());
  try {
    Device::open(0);
    FAIL("a device was opened without a driver");
  } catch (const Error& error) {
    CHECK(error.code() == Result::unsupported);
  }
}

TEST_CASE("without a driver everything says why") {
  CHECK(run_test_case("child: there is no driver", {"TUTTI_CUDA_LIBRARY=/nowhere/libcuda.so.1"}).status == 0);
}

TEST_CASE("child: the variable is wrong", "[.child]") {
  for (int i = 0; i < 2; ++i) {
    try {
      Driver::find();
      FAIL("a library name of 4096 characters was accepted");
    } catch (const Error& error) {
      CHECK(error.code() == Result::invalid_argument);
      CHECK(contains(error.what(), "TUTTI_CUDA_LIBRARY="));
    }
  }
}

TEST_CASE("a wrong variable is an error at every call") {
  const std::string wrong = "TUTTI_CUDA_LIBRARY=" + std::string(4096, 'x');
  CHECK(run_test_case("child: the variable is wrong", {wrong}).status == 0);
}
