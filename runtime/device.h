// What the rest of the runtime may ask of devices. Where CUDA is not built in, the answers say so (device_none.cpp).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/communicator/device_path.h"
#include "runtime/communicator/settings.h"

namespace tutti {

struct DeviceTeam;
struct AbortState;
struct Placement;
struct RailStatistics;
class Control;
class ParcelExchange;

/// For tools: what devices there are, a line each, and why there are none.
struct DeviceReport {
  bool built_in = false;  // CUDA is part of this build
  std::string driver;     // "13.0"; empty without one
  std::string why_none;   // empty where there are devices
  std::vector<std::string> devices;
};
DeviceReport look_at_devices();

/// Whether this process uses CUDA by now. Asking starts nothing, and takes about a microsecond.
bool uses_cuda() noexcept;
/// In a process that uses CUDA: whether only devices can reach what is there.
bool is_device_memory(const void* pointer) noexcept;

/// The device that the settings ask for; negative: none.
int wanted_device(const Settings& settings);

/// Ranks that are threads of this process; `devices` by rank. Throws Error.
std::shared_ptr<DeviceTeam> make_local_devices(const std::vector<int>& devices, const Settings& settings);
/// One of ranks that are processes: how it meets the others.
struct DeviceMeeting {
  int rank = 0;
  const Placement* placement = nullptr;
  Control* control = nullptr;         // among all ranks
  AbortState* abort = nullptr;        // of the node
  ParcelExchange* parcels = nullptr;  // among those of the node; outlives the team
};
/// Collective. Null where no rank has a device. Throws Error.
std::shared_ptr<DeviceTeam> join_devices(const DeviceMeeting& meeting, const Settings& settings);

/// What went over each rail of this rank from and to device memory; none without verbs. Any thread.
std::vector<RailStatistics> device_rail_statistics(const DeviceTeam& team);

std::unique_ptr<DevicePath> make_device_path(const std::shared_ptr<DeviceTeam>& team, int rank,
                                             const Settings& settings);

/// One call of a group on device memory.
struct DeviceCall {
  DevicePath* path = nullptr;
  Call call;
  const void* send = nullptr;
  void* recv = nullptr;
  void* stream = nullptr;
  Result result = Result::success;  // out
  std::string problem;              // out
};
/// Enqueues the calls, at most one of each rank: those on one device as one launch, where that is possible. A call that is refused
/// (unsupported) was not begun, nor was any other of its communicator.
void enqueue_together(std::span<DeviceCall> calls);

/// tutti_mem_alloc and tutti_mem_free. Throw Error. Thread-safe.
void* allocate_device_memory(size_t bytes, int device);
void free_device_memory(void* memory);

}  // namespace tutti
