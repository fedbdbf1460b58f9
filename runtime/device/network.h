// What joins one rank's device to the ranks of other nodes: pinned memory that kernels and the progress code share, network slots that the
// ranks of a node share, a port transport of its own, and the progress code.
//
//   pinned memory:   FifoFeedback | Trigger[kTriggers] | Inbox[ranks] | staging ring
//   network slots:   one memory file per rank, mapped and registered by all ranks of its node; the rank's transport writes them
//
// Made in steps, because each needs what other ranks have made: construct; map_slots(); start().
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "collectives/executors/cuda/launch.h"
#include "core/env.h"
#include "runtime/bootstrap/parcels.h"
#include "runtime/device/progress.h"
#include "runtime/topology/placement.h"
#include "transports/cuda_ipc/memory.h"
#include "transports/shm/window.h"

namespace tutti {

class Network {
 public:
  /// Makes the memory and the transport. `slots_bytes` is of one rank. Throws Error.
  Network(const cuda::DevicePtr& device, int rank, const Placement& placement, uint64_t slots_bytes,
          UcxPut put);
  /// The transport goes before the memory that it writes.
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  /// The own slots, for the ranks of this node.
  Parcel slots_parcel();
  /// Everybody's parcel, by place on this node.
  void map_slots(const std::vector<Parcel>& parcels);
  /// How ranks of other nodes reach this one.
  std::string address() const { return transport_->address(); }
  /// Opens the ports, `addresses` by rank, and starts the progress code, which sets `abort_word` when a peer cannot be reached.
  void start(const std::vector<std::string>& addresses, uint64_t& abort_word);

  /// As kernels see it. `granted`: a word for each rank, in memory of the device.
  cuda::DeviceNetwork view(uint64_t* granted) const;
  Progress& progress() { return *progress_; }
  const Progress& progress() const { return *progress_; }

 private:
  static constexpr uint64_t kTriggers = 1024;

  struct Slots {
    shm::Mapping mapping;
    cuda::HostRegistration registration;
  };

  Inbox* inboxes() const;

  cuda::DevicePtr device_;
  int rank_;
  const Placement placement_;
  uint64_t slots_bytes_;
  size_t staging_at_;
  cuda::PinnedMemory shared_;
  Descriptor slots_descriptor_;  // until slots_parcel()
  std::vector<Slots> slots_;     // by rank; empty for ranks of other nodes
  std::unique_ptr<PortTransport> transport_;
  std::unique_ptr<Progress> progress_;
};

}  // namespace tutti
