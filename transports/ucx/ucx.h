// The UCX transport: port channels over whatever UCX finds between two nodes (TCP, InfiniBand, RoCE, Slingshot, ...).
//
// Each rank has one UCX worker, advanced by the rank's own thread and by nobody else. There are two ways for a slice to go:
//
//   message   One eager active message carries the slice and, where one follows at once, its signal. The receiver copies the bytes from
//             UCX's buffer into the slot. One trip; completes at the sender without the receiver's doing. The default over TCP, and
//             for small slices everywhere.
//   rma       A one-sided put into the peer's registered slots, then a flush, and when that is done the signal as a message.
//             Zero-copy where the network can do it; over TCP UCX emulates it, and then both need the peer's progress.
//
// Ranks of one node use shared memory windows and never this: UCX's own shared memory and loop-back are switched off, since UCX
// would find shared memory even between emulated nodes. A user's UCX_* variables always win over what is set here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/env.h"
#include "transports/port.h"

namespace tutti {

struct UcxSettings {
  int rank = 0;
  int ranks = 1;               // of the communicator
  std::byte* slots = nullptr;  // the memory that peers write; outlives the transport
  size_t slots_bytes = 0;
  UcxPut put = UcxPut::automatic;
  std::function<std::string(int)> name_of = {};  // a rank in messages; default "rank 3"
  uint64_t close_ns = 200'000'000;  // how long the destructor waits for peers; twice without close()
};

/// Throws Error(system_error or unsupported) saying what UCX refused.
std::unique_ptr<PortTransport> make_ucx_transport(const UcxSettings& settings);

}  // namespace tutti
