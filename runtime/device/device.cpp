// What the rest of the runtime may ask of devices (runtime/device.h), with CUDA.
#include "runtime/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>

#include "core/abort.h"
#include "core/error.h"
#include "core/units.h"
#include "runtime/bootstrap/control.h"
#include "runtime/device/device_communicator.h"
#include "runtime/device/named_range.h"

namespace tutti {

namespace {

/// Ranks whose operations are one launch.
struct Bunch {
  DeviceCommunicator* first = nullptr;
  CUfunction kernel = nullptr;
  CUstream stream = nullptr;
  cuda::Launch launch{};
  unsigned blocks = 0;
  std::vector<DeviceCall*> calls;
  bool divided = false;  // another bunch holds ranks of the same communicator on the same device

  bool takes(const DeviceCommunicator& comm, const DeviceCommunicator::Prepared& prepared) const {
    return first->device() == comm.device() && kernel == prepared.kernel &&
           launch.ranks < cuda::kLaunchRanks &&
           blocks + prepared.blocks <= static_cast<unsigned>(first->kernels().resident_blocks());
  }
  void add(DeviceCall& call, DeviceCommunicator::Prepared prepared) {
    prepared.arguments.first_block = blocks;
    launch.rank[launch.ranks++] = prepared.arguments;
    blocks += prepared.blocks;
    calls.push_back(&call);
  }
};

DeviceCommunicator& communicator_of(const DeviceCall& call) {
  return static_cast<DeviceCommunicator&>(*call.path);
}

std::vector<Bunch> bunches_of(std::span<DeviceCall> calls) {
  std::vector<Bunch> bunches;
  for (DeviceCall& call : calls) {
    DeviceCommunicator& comm = communicator_of(call);
    const DeviceCommunicator::Prepared prepared = comm.prepare(call.call, call.send, call.recv);
    auto bunch =
        std::find_if(bunches.begin(), bunches.end(), [&](const Bunch& b) { return b.takes(comm, prepared); });
    if (bunch == bunches.end()) {
      bunch = bunches.insert(bunches.end(), Bunch());
      bunch->first = &comm;
      bunch->kernel = prepared.kernel;
      bunch->stream = static_cast<CUstream>(call.stream);
    }
    bunch->add(call, prepared);
  }
  return bunches;
}

/// Bunches that wait for each other: ranks of one communicator on one device. On one stream the second would never begin. False: such are
/// refused.
bool settle(std::vector<Bunch>& bunches) {
  for (Bunch& bunch : bunches) {
    for (const Bunch& other : bunches) {
      if (&other == &bunch || &other.first->team() != &bunch.first->team() ||
          other.first->device() != bunch.first->device())
        continue;
      bunch.divided = true;
      if (other.stream == bunch.stream) return false;
    }
  }
  return true;
}

/// The launch goes to the first rank's stream: behind what the other streams hold, and before what follows there.
CUresult launch(Bunch& bunch) {
  const cuda::ContextGuard guard(bunch.first->cuda_device());
  const NamedRange range(bunch.calls.front()->call.collective);
  for (const DeviceCall* call : bunch.calls) {
    const CUresult joined = communicator_of(*call).join(static_cast<CUstream>(call->stream), bunch.stream);
    if (joined != CUDA_SUCCESS) return joined;
  }
  // A cooperative launch may wait for the device to be free of others.
  const bool cooperative =
      bunch.calls.size() > 1 && !bunch.divided && bunch.first->cuda_device().facts().cooperative_launch;
  const CUresult enqueued =
      cuda::enqueue(bunch.first->kernels(), bunch.kernel, bunch.launch, bunch.blocks, bunch.stream,
                    cooperative ? cuda::Residency::cooperative : cuda::Residency::by_caller);
  if (enqueued != CUDA_SUCCESS) return enqueued;
  for (const DeviceCall* call : bunch.calls) {
    const CUresult parted = communicator_of(*call).part(bunch.stream, static_cast<CUstream>(call->stream));
    if (parted != CUDA_SUCCESS) return parted;
  }
  return CUDA_SUCCESS;
}

/// As Communicator spreads errors: to the ranks of this node through shared memory, to the others over the control tree.
Alarm alarm_of(const DeviceMeeting& meeting) {
  const auto token = [abort = meeting.abort] { return AbortToken(abort); };
  return {
      .is_raised = [token] { return token().raised(); },
      .has_ended = [control = meeting.control](int rank) { return control->state(rank) == PeerState::ended; },
      .raise =
          [token, rank = meeting.rank, control = meeting.control](const std::string& text) {
            token().raise(Result::peer_lost, rank, text);
            control->spread(Result::peer_lost, text);
          }};
}

/// What tutti_mem_alloc has given out.
struct Allocations {
  std::mutex mutex;
  std::map<void*, cuda::DeviceMemory> by_address;
};
Allocations& allocations() {
  static Allocations all;
  return all;
}

}  // namespace

DeviceReport look_at_devices() {
  const cuda::DeviceList list = cuda::list_devices();
  DeviceReport report;
  report.built_in = true;
  if (list.driver_version != 0)
    report.driver = fmt::format("{}.{}", list.driver_version / 1000, list.driver_version % 1000 / 10);
  report.why_none = list.why_none;
  for (const cuda::DeviceFacts& d : list.devices) {
    report.devices.push_back(fmt::format(
        "device {}: {}, compute capability {}, {} multiprocessors, {}, PCI {}, {}{}{}{}", d.ordinal, d.name,
        d.capability(), d.multiprocessors, format_size(d.memory_bytes), d.pci_bus_id, d.uuid_text(),
        d.posix_handles    ? ", memory shared as descriptors"
        : d.virtual_memory ? ""
                           : ", memory shared by CUDA IPC only",
        d.multicast ? ", multicast" : "", d.gpu_direct_rdma ? ", GPUDirect RDMA" : ""));
  }
  return report;
}

bool uses_cuda() noexcept {
  return cuda::Driver::find_loaded() != nullptr;
}

bool is_device_memory(const void* pointer) noexcept {
  const cuda::Driver* driver = cuda::Driver::find_loaded();
  if (driver == nullptr) return false;
  unsigned type = 0;
  unsigned managed = 0;
  std::array attributes = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_IS_MANAGED};
  std::array<void*, 2> values = {&type, &managed};
  const CUresult result = driver->cuPointerGetAttributes(attributes.size(), attributes.data(), values.data(),
                                                         reinterpret_cast<CUdeviceptr>(pointer));
  return result == CUDA_SUCCESS && type == CU_MEMORYTYPE_DEVICE && managed == 0;
}

int wanted_device(const Settings& settings) {
  if (settings.device == kDeviceNone) return DeviceOffer::kNone;
  if (settings.device == kDeviceAutomatic) return cuda::current_device();
  return settings.device;
}

std::shared_ptr<DeviceTeam> make_local_devices(const std::vector<int>& devices, const Settings& settings) {
  if (devices.size() > cuda::kMostDeviceRanks) {
    raise(Result::unsupported, "{} ranks with devices in one process; expected at most {}", devices.size(),
          cuda::kMostDeviceRanks);
  }
  return make_local_team(devices, settings);
}

std::shared_ptr<DeviceTeam> join_devices(const DeviceMeeting& meeting, const Settings& settings) {
  const TeamMeeting team = {
      .rank = meeting.rank,
      .placement = meeting.placement,
      .exchange = [parcels = meeting.parcels](Parcel mine) { return parcels->exchange(std::move(mine)); },
      .all_gather = [&](const std::string& mine) { return meeting.control->all_gather(mine); },
      .alarm = alarm_of(meeting)};
  return join_team(team, wanted_device(settings), settings);
}

std::vector<RailStatistics> device_rail_statistics(const DeviceTeam& team) {
  return team.network ? team.network->rail_statistics() : std::vector<RailStatistics>();
}

std::unique_ptr<DevicePath> make_device_path(const std::shared_ptr<DeviceTeam>& team, int rank,
                                             const Settings& settings) {
  return std::make_unique<DeviceCommunicator>(team, rank, settings);
}

void enqueue_together(std::span<DeviceCall> calls) {
  std::vector<Bunch> bunches = bunches_of(calls);
  if (!settle(bunches)) {
    for (DeviceCall& call : calls) {
      call.result = Result::unsupported;
      call.problem = fmt::format(
          "a group has more ranks of one communicator on one device and one stream than one launch can run; "
          "expected at most {} "
          "of them, or a stream for each rank",
          cuda::kLaunchRanks);
    }
    return;
  }
  for (Bunch& bunch : bunches) {
    const CUresult launched = launch(bunch);
    if (launched == CUDA_SUCCESS) continue;
    for (DeviceCall* call : bunch.calls) {
      call->result = Result::system_error;
      call->problem =
          fmt::format("launching {} blocks of {} ranks on device {}: {}", bunch.blocks, bunch.calls.size(),
                      bunch.first->device(), bunch.first->cuda_device().driver().text(launched));
    }
  }
}

void* allocate_device_memory(size_t bytes, int device) {
  cuda::DeviceMemory memory(cuda::Device::open(device), bytes);
  void* address = memory.as<void>();
  const std::lock_guard lock(allocations().mutex);
  allocations().by_address.emplace(address, std::move(memory));
  return address;
}

void free_device_memory(void* memory) {
  if (memory == nullptr) return;
  cuda::DeviceMemory freed;
  {
    const std::lock_guard lock(allocations().mutex);
    const auto found = allocations().by_address.find(memory);
    if (found == allocations().by_address.end())
      raise(Result::invalid_argument,
            "tutti_mem_free: {} is not memory of tutti_mem_alloc, or was freed before", memory);
    freed = std::move(found->second);
    allocations().by_address.erase(found);
  }
}

}  // namespace tutti
