// Network interfaces and listening sockets: which address a rank is reached at (TUTTI_IFNAME) and at which port (TUTTI_PORT_RANGE).
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/descriptor.h"

namespace tutti {

/// An IPv6 address, or an IPv4 address mapped into one.
struct IpAddress {
  std::array<unsigned char, 16> bytes{};  // network byte order
  uint32_t scope = 0;                     // of a link-local address: the index of the interface

  static IpAddress any() { return {}; }  // every address of this host
  static IpAddress v4(uint32_t host_order);
  static IpAddress from(const sockaddr_storage& address);

  bool is_any() const { return *this == any(); }
  bool is_v4() const;
  bool is_link_local() const;  // IPv6 only
  bool is_loopback() const;
  std::string text() const;                    // "10.0.0.1", "fe80::1%2"
  std::string text_with(uint16_t port) const;  // "10.0.0.1:40123", "[fe80::1%2]:40123"

  bool operator==(const IpAddress&) const = default;
};

/// What bind() and connect() take.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  SocketAddress(const IpAddress& address, uint16_t port);
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};

struct NetworkInterface {
  std::string name;
  bool up = false;
  bool loopback = false;
  std::vector<IpAddress> addresses;
};

/// Those of this host (of its network namespace), in the order of the system.
std::vector<NetworkInterface> network_interfaces();

/// The address that `rule`, a TUTTI_IFNAME, stands for; the default where it is empty. IPv4 comes before IPv6, and link-local addresses
/// come last. Without a rule: an ordinary interface, else a bridge of containers, else loopback. Throws Error(invalid_argument)
/// listing the interfaces there are when none fits.
IpAddress choose_address(const std::vector<NetworkInterface>& interfaces, const std::string& rule);

struct PortRange {
  uint16_t first = 0;  // 0: any free port
  uint16_t last = 0;
};

/// "50000-50100", "50000", "". Throws Error(invalid_argument).
PortRange parse_port_range(const std::string& text);

struct Listener {
  Descriptor socket;  // non-blocking
  IpAddress address;
  uint16_t port = 0;
};

/// Listens at the first free port of the range. Throws Error(system_error) naming address, range and reason.
Listener listen_at(const IpAddress& address, PortRange ports);

/// As listen_at() with one port, but empty with errno where that is not possible.
Descriptor try_listen(const IpAddress& address, uint16_t port);

}  // namespace tutti
