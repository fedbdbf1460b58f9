// The verbs transport: port channels over RDMA network cards (InfiniBand, RoCE, and Soft-RoCE), without UCX and past the kernel.
//
// Each rank has, for each of its *rails* (one port of one card), a completion queue and a registration of its slots; and for each peer that
// it has ever sent to or heard from, one reliable connected queue pair per rail. A slice goes by RDMA writes straight into the peer's
// slots; then one more write, with an immediate, puts the *record* that belongs to it (transports/port_frame.h) into the peer's
// *mailbox* for this rank. A small put travels inside the record; and where there is nothing to say but that a counter goes up by one, there is
// no record, and the immediate comes with the slice itself. So a signal costs one work request at most and one completion at the receiver, and the
// data cost the receiver nothing.
//
// Frames of one port may take different rails. The receiver applies records in the order of their numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "transports/port.h"

namespace tutti {

/// What the user may set about queue pairs (TUTTI_IB_*).
struct VerbsTuning {
  int gid_index = -1;     // -1: chosen, see transports/verbs/devices.h
  int traffic_class = 0;  // of RoCE packets: DSCP and ECN bits
  int timeout =
      16;  // a packet that is not acknowledged is sent again after 4.096 us times two to this power ...
  int retries = 6;  // ... so often, then the rail is given up

  bool operator==(const VerbsTuning&) const = default;
};

struct VerbsSettings {
  int rank = 0;
  int ranks = 1;               // of the communicator
  std::byte* slots = nullptr;  // the memory that peers write; outlives the transport
  size_t slots_bytes = 0;
  std::string rails;  // TUTTI_IB_HCA; empty: all that can be used
  VerbsTuning tuning{};
  std::function<std::string(int)> name_of = {};  // a rank in messages; default "rank 3"
  uint64_t connect_ns = 20'000'000'000;          // how long a peer may take to answer
  uint64_t close_ns = 200'000'000;               // how long the destructor waits for peers
};

/// Throws Error(system_error or unsupported) saying what was refused, or that no rail can be used and why.
std::unique_ptr<PortTransport> make_verbs_transport(const VerbsSettings& settings);

}  // namespace tutti
