#include "runtime/topology/network_devices.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>

#include "core/error.h"
#include "runtime/bootstrap/interfaces.h"

namespace tutti {

namespace {

constexpr size_t kMostDevices = 256;
constexpr size_t kMostAddresses = 16;

std::optional<int> number_in(const std::string& path) {
  std::ifstream file(path);
  int number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

/// What /sys says about a device of either kind.
void read_place(const std::string& folder, NetworkDevice& device) {
  device.numa = number_in(folder + "/device/numa_node").value_or(-1);
  std::error_code failed;
  const std::filesystem::path target = std::filesystem::read_symlink(folder + "/device", failed);
  const std::string last = target.filename().string();
  // "0000:81:00.0": devices of other buses have other names.
  if (!failed && last.size() == 12 && last[4] == ':' && last[7] == ':') device.pci = last;
}

using Devices = std::map<std::string, NetworkDevice>;

/// None where the system does not list them.
std::vector<NetworkInterface> listed_interfaces() {
  try {
    return network_interfaces();
  } catch (const Error&) {
    return {};
  }
}

void add_interfaces(Devices& devices) {
  for (const NetworkInterface& interface : listed_interfaces()) {
    if (devices.size() >= kMostDevices) return;
    NetworkDevice& device = devices[interface.name];
    device.name = interface.name;
    device.up = interface.up;
    device.loopback = interface.loopback;
    for (const IpAddress& address : interface.addresses) {
      if (device.addresses.size() < kMostAddresses) device.addresses.push_back(address.text());
    }
    const std::string folder = "/sys/class/net/" + interface.name;
    const int speed = number_in(folder + "/speed").value_or(-1);
    device.megabits = speed > 0 ? speed : -1;
    read_place(folder, device);
  }
}

/// "4: ACTIVE"; a device is up when one of its ports is.
bool has_active_port(const std::filesystem::path& device) {
  std::error_code failed;
  for (const auto& port : std::filesystem::directory_iterator(device / "ports", failed)) {
    if (number_in((port.path() / "state").string()).value_or(0) == 4) return true;
  }
  return false;
}

void add_rdma(Devices& devices) {
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/infiniband", failed)) {
    if (devices.size() >= kMostDevices) return;
    NetworkDevice& device = devices[entry.path().filename().string()];
    device.name = entry.path().filename().string();
    device.rdma = true;
    device.up = has_active_port(entry.path());
    read_place(entry.path().string(), device);
  }
}

}  // namespace

std::vector<NetworkDevice> network_devices() {
  Devices devices;
  add_interfaces(devices);
  add_rdma(devices);
  std::vector<NetworkDevice> list;
  list.reserve(devices.size());
  for (auto& [name, device] : devices) list.push_back(std::move(device));
  return list;
}

}  // namespace tutti
