// What joins one rank's device to the ranks of other nodes: pinned memory that kernels and the progress code share, network slots that the
// ranks of a node share, networks of its own (verbs or UCX for each peer, chosen as for host memory), and the progress code.
//
//   pinned memory:   FifoFeedback | Trigger[kTriggers] | Inbox[ranks] | staging ring
//   network slots:   one memory file per rank, mapped and registered by all ranks of its node; the rank's transports write them
//
// Made in steps, because each needs what other ranks have made: construct; map_slots(); start().
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "collectives/executors/cuda/launch.h"
#include "runtime/bootstrap/parcels.h"
#include "runtime/communicator/networks.h"
#include "runtime/communicator/settings.h"
#include "runtime/device/progress.h"
#include "runtime/topology/placement.h"
#include "transports/cuda_ipc/memory.h"
#include "transports/shm/window.h"

namespace tutti {

class Network {
 public:
  /// How the progress code is started.
  struct Start {
    const Settings* settings = nullptr;
    std::function<std::vector<std::string>(const std::string&)> all_gather;  // among all ranks, by rank
    uint64_t* abort_word = nullptr;  // set when a peer cannot be reached
  };

  /// Makes the memory. `slots_bytes` is of one rank. Throws Error.
  Network(const cuda::DevicePtr& device, int rank, const Placement& placement, uint64_t slots_bytes);
  /// The transports go before the memory that they write.
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  /// The own slots, for the ranks of this node.
  Parcel slots_parcel();
  /// Everybody's parcel, by place on this node.
  void map_slots(const std::vector<Parcel>& parcels);
  /// Opens the ports and starts the progress code. Collective over all ranks. Throws Error.
  void start(const Start& start);

  /// As kernels see it. `granted`: a word for each rank, in memory of the device.
  cuda::DeviceNetwork view(uint64_t* granted) const;
  Progress& progress() { return *progress_; }
  const Progress& progress() const { return *progress_; }

  /// How device memory reaches rank `peer` of another node: "verbs mlx5_0+mlx5_1".
  std::string route(int peer) const;
  /// For people: a line for each rank of another node, and for each rail.
  std::string describe() const;
  /// Any thread. Empty without verbs.
  std::vector<RailStatistics> rail_statistics() const { return networks_->rail_statistics(); }

 private:
  static constexpr uint64_t kTriggers = 1024;

  struct Slots {
    shm::Mapping mapping;
    cuda::HostRegistration registration;
  };

  std::span<Inbox> inboxes() const;

  cuda::DevicePtr device_;
  int rank_;
  const Placement placement_;
  uint64_t slots_bytes_;
  size_t staging_at_;
  cuda::PinnedMemory shared_;
  Descriptor slots_descriptor_;  // until slots_parcel()
  std::vector<Slots> slots_;     // by rank; empty for ranks of other nodes
  std::unique_ptr<Networks> networks_;
  std::string copied_because_;  // why a transport does not read the staging ring as it lies; empty: all do
  std::unique_ptr<Progress> progress_;
};

}  // namespace tutti
