// Everything that joins one rank to the others: the windows of its node, and, where there are several nodes, the control tree and the
// ports to the ranks of other nodes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "collectives/executors/host/endpoint.h"
#include "runtime/bootstrap/control.h"
#include "runtime/bootstrap/node.h"
#include "runtime/bootstrap/parcels.h"
#include "runtime/communicator/networks.h"
#include "runtime/communicator/settings.h"
#include "runtime/topology/crowd.h"
#include "runtime/topology/placement.h"
#include "runtime/tuner/selection.h"
#include "transports/port.h"

namespace tutti {

struct DeviceTeam;

/// Members are destroyed from the last to the first: ports before the windows they write to, and the control tree at the end.
struct World {
  int rank = 0;
  Placement placement;
  Crowd crowd;
  bool one_process = false;                 // all ranks are threads of this process
  std::vector<uint32_t> pids;               // by rank; for messages
  std::unique_ptr<Control> control;         // null where all ranks are on one node
  std::shared_ptr<Node> node;               // the ranks of this node, by place
  std::vector<Inbox> inboxes;               // by rank; none on one node
  std::unique_ptr<Networks> networks;       // null where all ranks are on one node
  std::unique_ptr<ParcelExchange> parcels;  // among the ranks of this node; null inside one process
  std::shared_ptr<DeviceTeam> devices;      // null: host memory only

  int ranks() const { return placement.size(); }
  /// Of a rank among the ranks of its node.
  int place_of(int r) const { return placement.places[static_cast<size_t>(r)]; }
  int place() const { return place_of(rank); }
  JobShape shape() const { return {ranks(), placement.node_count(), one_process}; }
  bool is_mapped(int peer) const { return placement.same_node(rank, peer); }
  /// The member of this rank's node that `peer` is.
  const Member& member(int peer) const { return node->members[static_cast<size_t>(place_of(peer))]; }
  host::Endpoint endpoint();
};

/// Rank `rank` of ranks that are threads of this process.
std::unique_ptr<World> local_world(const std::shared_ptr<Node>& node, int rank);

/// Collective over `size` processes on any number of nodes. Throws Error.
std::unique_ptr<World> join_world(const UniqueId& id, int rank, int size, const Settings& settings);

}  // namespace tutti
