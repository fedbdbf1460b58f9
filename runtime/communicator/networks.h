// The transports between nodes: which there are, which one leads to which rank, and what they tell together. A communicator has one of these for
// host memory, and its device another one for device memory, each with slots of its own.
//
// The choice. Each rank opens its RDMA devices, if it has any and the user does not say otherwise (TUTTI_TRANSPORT), and all tell all how they
// are reached, or why not. Two ranks use verbs if both can and their rails are of the same sort, and UCX otherwise. Everybody sees the
// same addresses, so both ends of a pair choose the same; UCX is opened only if some pair of the job needs it.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/poller.h"
#include "runtime/communicator/settings.h"
#include "runtime/topology/placement.h"
#include "transports/port.h"

namespace tutti {

struct NetworksRequest {
  int rank = 0;
  const Placement* placement = nullptr;  // outlives the networks
  std::span<std::byte> slots;
  const Settings* settings = nullptr;
  std::function<std::vector<std::string>(const std::string&)> all_gather;
};

class Networks {
 public:
  /// Collective over all ranks; opens a port to each rank of another node, `inboxes` by rank. Throws Error.
  Networks(const NetworksRequest& request, std::span<Inbox> inboxes);

  /// Null for the ranks of this node.
  Port* port(int peer) const { return ports_.at(static_cast<size_t>(peer)); }
  std::vector<Poller*> pollers() const;

  bool has_left(int peer) const;
  /// False while nothing has come from `peer`; where the transport cannot tell, while nothing has gone there either.
  bool is_in_use(int peer) const { return !transport_to(peer).route(peer).empty(); }
  /// Of the peers that cannot be reached any more the first that `counts`; null: there is none.
  const PortTransport::Failure* first_failure(
      const std::function<bool(const PortTransport::Failure&)>& counts) const;
  /// PortTransport::probe().
  void probe(int peer) { transport_to(peer).probe(peer); }
  /// PortTransport::abandon() and close() of all.
  void abandon() noexcept;
  void close(uint64_t patience_ns);
  /// Of this rank; PortTransport::register_source() of all that lead somewhere. Why some could not; empty: nothing is amiss.
  std::string register_source(uint64_t id, std::span<const std::byte> memory);
  void forget_source(uint64_t id);
  /// PortTransport::look_after() of all.
  uint64_t look_after();

  /// How `peer` is reached, for people: "verbs mlx5_0+mlx5_1".
  std::string route(int peer) const;
  /// The same, and what went there: "verbs mlx5_0+mlx5_1, 22MiB sent in 1408 puts, ...".
  std::string describe(int peer) const;
  /// What went over each rail of this rank; none without verbs. Any thread.
  std::vector<RailStatistics> rail_statistics() const;
  /// Why some ranks are not reached by verbs; empty where all are, or this machine has no RDMA device.
  const std::string& remark() const { return remark_; }

 private:
  void open_verbs(const NetworksRequest& request);
  void choose(const NetworksRequest& request, const std::vector<std::string>& offers);
  void write_remark(const NetworksRequest& request, const std::vector<std::string>& offers,
                    const std::string& why, int peer);
  void open_ucx(const NetworksRequest& request);
  std::string offer() const;
  PortTransport& transport_to(int peer) const { return *to_[static_cast<size_t>(peer)]; }

  std::unique_ptr<PortTransport> verbs_;
  std::unique_ptr<PortTransport> ucx_;
  std::vector<PortTransport*> transports_;  // those of the two that are used
  std::string problem_;                     // why verbs cannot be used on this rank
  std::vector<PortTransport*> to_;          // by rank; null for the ranks of this node
  std::vector<std::string> addresses_;      // by rank, of the transport that leads there
  std::vector<Port*> ports_;
  std::string remark_;
};

}  // namespace tutti
