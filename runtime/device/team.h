// The ranks of a communicator on their devices: windows, pinned words, kernels, and what they agreed on.
//
// Made in two ways, like Node (runtime/bootstrap/node.h): inside one process for all ranks at once, whose windows then are plain pointers to
// one another; or by exchange between processes, where each has its own window and imports those of the others. Everything that allocates
// happens here, at set-up, while no kernel of this communicator runs.
//
// On several nodes a rank has the windows of its own node, and a Network to the others. Operations then are one part.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "collectives/executors/cuda/executor.h"
#include "runtime/bootstrap/parcels.h"
#include "runtime/communicator/settings.h"
#include "runtime/device/network.h"
#include "runtime/device/registrations.h"
#include "runtime/topology/placement.h"
#include "transports/cuda_ipc/memory.h"
#include "transports/cuda_ipc/sharing.h"

namespace tutti {

/// One rank, as far as this process has to do with it.
struct DeviceMember {
  cuda::DevicePtr device;
  std::shared_ptr<const cuda::Kernels> kernels;
  cuda::DeviceMemory window;    // as transports/cuda_ipc/window.h maps it
  cuda::DeviceMemory state;     // DeviceRank | PartState[parts] | DeviceStamp[kStamps] | granted[ranks]
  cuda::PinnedMemory words;     // HostWords
  cuda::Imported imported;      // another process's window
  std::byte* mapped = nullptr;  // its window, as this process's devices see it; null: on another node
};

/// What every rank tells the others before anything is allocated.
struct DeviceOffer {
  static constexpr int kNone = -1;
  int ordinal = kNone;  // in its own process; kNone: the rank has no device
  std::array<uint8_t, 16> uuid{};
  int resident_blocks = 0;

  std::string bytes() const;
  /// Throws Error(system_error) naming the rank where the bytes are damaged.
  static DeviceOffer parse(const std::string& bytes, int rank);
};

struct DeviceTeam {
  std::vector<DeviceMember> members;  // by rank
  cuda::DeviceLayout layout;
  cuda::Scope scope = cuda::Scope::system;  // device: all ranks of the node are on one GPU
  bool one_process = false;
  std::vector<uint16_t> nodes;                   // by rank: its node; empty: all are on one
  std::unique_ptr<Network> network;              // null where all are on one node
  std::unique_ptr<Registrations> registrations;  // processes of one node; null else
  Alarm alarm;                                   // of the network

  int ranks() const { return static_cast<int>(members.size()); }
  cuda::DeviceRank* rank_state(int rank) const {
    return members[static_cast<size_t>(rank)].state.as<cuda::DeviceRank>();
  }
  /// kStamps of them.
  CUdeviceptr stamps(int rank) const;
  cuda::HostWords& words(int rank) const {
    return *members[static_cast<size_t>(rank)].words.as<cuda::HostWords>();
  }
};

/// The number of parts, and the scratch, that all ranks can have at a time; throws Error(unsupported) where a device cannot run all ranks at once.
cuda::DeviceLayout agree_on_layout(const std::vector<DeviceOffer>& offers, const Settings& settings);

/// How the ranks tell each other what they must know. All three are collective.
struct TeamMeeting {
  int rank = 0;
  const Placement* placement = nullptr;
  /// Gives all ranks of the node a parcel, and gets theirs, by place; also later, when buffers are registered.
  std::function<std::vector<Parcel>(Parcel mine)> exchange;
  /// The same among all ranks, by rank. Needed where there are several nodes.
  std::function<std::vector<std::string>(const std::string& mine)> all_gather;
  Alarm alarm = {};  // the same
};

/// Ranks that are threads of this process; `ordinals` by rank.
std::shared_ptr<DeviceTeam> make_local_team(const std::vector<int>& ordinals, const Settings& settings);

/// One of ranks that are processes, with device `ordinal` (DeviceOffer::kNone: none). Collective. Null where no rank has a device. Throws
/// Error where only some have one.
std::shared_ptr<DeviceTeam> join_team(const TeamMeeting& meeting, int ordinal, const Settings& settings);

}  // namespace tutti
