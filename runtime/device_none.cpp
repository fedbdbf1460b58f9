// A build without CUDA.
#include "core/error.h"
#include "runtime/device.h"
#include "transports/rail_statistics.h"

namespace tutti {

struct DeviceTeam {};

namespace {
[[noreturn]] void refuse() {
  raise(Result::unsupported,
        "this build of Tutti has no CUDA; build it with TUTTI_CUDA=ON where the CUDA toolkit is installed");
}
}  // namespace

DeviceReport look_at_devices() {
  DeviceReport report;
  report.why_none = "this build has no CUDA (TUTTI_CUDA=ON, where the CUDA toolkit is installed)";
  return report;
}

bool uses_cuda() noexcept {
  return false;
}
bool is_device_memory(const void*) noexcept {
  return false;
}

int wanted_device(const Settings& settings) {
  if (settings.device >= 0) refuse();
  return kDeviceNone;
}
std::shared_ptr<DeviceTeam> make_local_devices(const std::vector<int>&, const Settings&) {
  refuse();
}
std::shared_ptr<DeviceTeam> join_devices(const DeviceMeeting&, const Settings& settings) {
  static_cast<void>(wanted_device(settings));
  return nullptr;
}
std::vector<RailStatistics> device_rail_statistics(const DeviceTeam&) {
  return {};
}
std::unique_ptr<DevicePath> make_device_path(const std::shared_ptr<DeviceTeam>&, int, const Settings&) {
  refuse();
}
void enqueue_together(std::span<DeviceCall>) {
  refuse();
}
void* allocate_device_memory(size_t, int) {
  refuse();
}
void free_device_memory(void* memory) {
  if (memory != nullptr) refuse();
}

}  // namespace tutti
