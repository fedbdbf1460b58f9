// The driver and its devices: nobody starts CUDA by asking for it, devices are described, contexts are left as they were.
#include "transports/cuda_ipc/driver.h"

#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/core/child.h"
#include "tests/gpu/support/driver.h"
#include "transports/cuda_ipc/device.h"

using namespace tutti;
using namespace tutti::cuda;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// This process's variables for the driver, as a child of it gets them.
std::vector<std::string> own_driver() {
  std::vector<std::string> list;
  for (const char* name : {"TUTTI_CUDA_LIBRARY", "TUTTI_EMULATED_DEVICES", "LD_LIBRARY_PATH"}) {
    if (const char* value = std::getenv(name)) list.push_back(std::string(name) + "=" + value);
  }
  return list;
}

}  // namespace

TEST_CASE("child: nobody has started CUDA", "[.child]") {
  CHECK(Driver::find_loaded() == nullptr);
  CHECK(current_device() == -1);
  // Asking has started nothing: a forked child may use CUDA.
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) _exit(Driver::find() != nullptr ? 0 : 1);
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  REQUIRE(Driver::find() != nullptr);
  CHECK(Driver::find_loaded() == Driver::find());
  CHECK(&Driver::get() == Driver::find());
  CHECK(Driver::why().empty());
  // Started, but no context is current yet.
  CHECK(current_device() == -1);
  const DevicePtr device = Device::open(0);
  const ContextGuard context(*device);
  CHECK(current_device() == 0);
}

TEST_CASE("a driver is found loaded once somebody has started it") {
  if (skipped()) return;
  const ChildResult result = run_test_case("child: nobody has started CUDA", own_driver());
  INFO(result.output);
  CHECK(result.status == 0);
}

TEST_CASE("errors are told by name and meaning") {
  if (skipped()) return;
  const Driver& driver = Driver::get();
  CHECK(driver.version >= 12040);
  CHECK(driver.text(CUDA_ERROR_OUT_OF_MEMORY) == "CUDA_ERROR_OUT_OF_MEMORY (out of memory)");
  CHECK(contains(driver.text(static_cast<CUresult>(997)), "997"));  // no error of CUDA has it
  driver.check(CUDA_SUCCESS, "nothing");
  try {
    driver.check(CUDA_ERROR_OUT_OF_MEMORY, "cuMemAlloc of 5 bytes");
    FAIL("a failure was not reported");
  } catch (const Error& error) {
    CHECK(error.code() == Result::system_error);
    CHECK(error.what() == std::string("cuMemAlloc of 5 bytes: CUDA_ERROR_OUT_OF_MEMORY (out of memory)"));
  }
}

TEST_CASE("devices are described without a context") {
  if (skipped()) return;
  const DeviceList list = list_devices();
  CHECK(list.why_none.empty());
  CHECK(list.driver_version == Driver::get().version);
  for (size_t i = 0; i < list.devices.size(); ++i) {
    const DeviceFacts& facts = list.devices[i];
    CHECK(facts.ordinal == static_cast<int>(i));
    CHECK_FALSE(facts.name.empty());
    CHECK(facts.pci_bus_id.size() >= 12);
    CHECK(facts.uuid_text().size() == 40);
    CHECK(facts.uuid_text().substr(0, 4) == "GPU-");
    CHECK(facts.capability() == std::to_string(facts.major) + "." + std::to_string(facts.minor));
    CHECK(facts.major >= 5);
    CHECK(facts.multiprocessors > 0);
    CHECK(facts.memory_bytes > 0);
    CHECK(facts.l2_bytes > 0);
    for (size_t other = 0; other < i; ++other) CHECK(list.devices[other].uuid != facts.uuid);
  }
}

TEST_CASE("a device that does not exist is refused") {
  if (skipped()) return;
  const int count = static_cast<int>(list_devices().devices.size());
  for (const int ordinal : {-1, count, 1'000'000}) {
    try {
      Device::open(ordinal);
      FAIL("device " << ordinal << " was opened");
    } catch (const Error& error) {
      CHECK(error.code() == Result::invalid_argument);
      CHECK(contains(error.what(), "CUDA device " + std::to_string(ordinal) + " does not exist"));
    }
  }
}

TEST_CASE("a device is shared while it is open, and its context is left alone") {
  if (skipped()) return;
  const Driver& driver = Driver::get();
  const DevicePtr device = Device::open(0);
  CHECK(Device::open(0) == device);
  CHECK(device->can_access(*device));
  device->enable_access(*device);
  CUcontext current = nullptr;
  REQUIRE(driver.cuCtxGetCurrent(&current) == CUDA_SUCCESS);
  CHECK(current == nullptr);
  {
    const ContextGuard outer(*device);
    const ContextGuard inner(*device);
    REQUIRE(driver.cuCtxGetCurrent(&current) == CUDA_SUCCESS);
    CHECK(current == device->context());
  }
  REQUIRE(driver.cuCtxGetCurrent(&current) == CUDA_SUCCESS);
  CHECK(current == nullptr);
}

TEST_CASE("a guard puts back the context of another device") {
  if (skipped()) return;
  if (list_devices().devices.size() < 2) return;
  const Driver& driver = Driver::get();
  const DevicePtr first = Device::open(0);
  const DevicePtr second = Device::open(1);
  CHECK(first != second);
  const ContextGuard outer(*first);
  { const ContextGuard inner(*second); }
  CUcontext current = nullptr;
  REQUIRE(driver.cuCtxGetCurrent(&current) == CUDA_SUCCESS);
  CHECK(current == first->context());
  if (!first->can_access(*second)) return;
  first->enable_access(*second);
  first->enable_access(*second);
}
