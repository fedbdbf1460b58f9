// Which rails there are: the ports of this machine's RDMA cards, and why one cannot be used.
//
// A rail's address is a GID (and on InfiniBand a LID). RoCE cards have many GIDs, of two versions of RoCE and of IPv4 and IPv6; both ends
// must use the same sort. Chosen is, of RoCE v2, the first that stands for an IPv4 address, else the first IPv6 address that is not local to
// the link, else the first of all; TUTTI_IB_GID_INDEX says another.
#pragma once

#include <infiniband/verbs.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "transports/verbs/handles.h"

namespace tutti::verbs {

/// Rails of different sorts do not reach each other.
enum class RailSort : uint8_t { infiniband, roce1_ipv4, roce1_ipv6, roce2_ipv4, roce2_ipv6 };
const char* name_of(RailSort sort);

/// How many rails a rank can have.
inline constexpr size_t kMostRails = 8;

struct RailInfo {
  std::string name;    // "mlx5_0"; "mlx5_0:2" where the card has several ports
  std::string device;  // "mlx5_0"
  int port = 1;
  std::string network;  // "eth2" of a RoCE port
  std::string state;    // "active", or what it is instead
  double gbits = 0;     // per second, as the card says
  uint32_t mtu = 0;     // bytes
  uint16_t lid = 0;
  int gid_index = -1;
  std::array<uint8_t, 16> gid{};
  RailSort sort = RailSort::infiniband;
  std::string problem;  // why it cannot be used; empty: it can
};

/// All of them, in the order of their names, the numbers in these by their value. `gid_index`: VerbsTuning. Never throws for what the machine lacks.
std::vector<RailInfo> list_rails(int gid_index);

/// Those that the user wants, in the order in which they are wanted, or, where nothing is wanted, all that can be used, which may be more than
/// kMostRails. `wanted` has names separated by commas, or begins with ^: all but these. Throws Error(invalid_argument) for a name that is not
/// there or comes twice, or too many of them, and Error(unsupported) for one that cannot be used, or where none is left.
std::vector<RailInfo> choose_rails(const std::vector<RailInfo>& all, const std::string& wanted);

/// Throws Error(system_error).
Context open_device(const std::string& name);

/// "fe80::1", "10.0.0.1" of a GID.
std::string gid_text(const std::array<uint8_t, 16>& gid);

}  // namespace tutti::verbs
