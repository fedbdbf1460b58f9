// What the transports between nodes find on this machine.
#pragma once

#include <string>
#include <vector>

namespace tutti {

struct UcxReport {
  bool built = false;        // into this library
  bool usable = false;       // it opens, with something that leads to other machines
  std::string version = {};  // of the library that is loaded
  std::vector<std::string>
      resources;  // "tcp/eth0", "rc_mlx5/mlx5_0:1": what it would choose from, by UCX_TLS and UCX_NET_DEVICES
  std::string problem = {};  // why it is not usable
};

UcxReport look_at_ucx();

struct VerbsReport {
  bool built = false;
  bool usable = false;
  std::vector<std::string>
      rails;  // "rail 0: mlx5_0 (eth2, 200 Gbit/s, 10.0.0.1, RoCE v2 over IPv4)", or why it is none
  std::string problem = {};
};

/// `wanted`, `gid_index`: transports/verbs/devices.h.
VerbsReport look_at_verbs(const std::string& wanted, int gid_index);

/// The names after "--" on the lines "resource" of what UCX prints about a context; at most 256.
std::vector<std::string> parse_ucx_resources(const std::string& text);

/// False for what stays inside a machine: self/memory, posix/memory, tcp/lo.
bool leads_elsewhere(const std::string& resource);

}  // namespace tutti
