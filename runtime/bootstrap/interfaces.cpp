#include "runtime/bootstrap/interfaces.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>

#include "core/error.h"
#include "core/units.h"

namespace tutti {

namespace {

constexpr std::array<unsigned char, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/// How the bridges and links of container systems are called.
constexpr std::string_view kContainerNames[] = {"docker",  "br-",   "virbr", "veth",  "cni",
                                                "flannel", "cali",  "lxc",   "lxdbr", "podman",
                                                "kube",    "weave", "vnet"};

bool belongs_to_containers(const NetworkInterface& interface) {
  return std::any_of(std::begin(kContainerNames), std::end(kContainerNames),
                     [&](std::string_view name) { return interface.name.starts_with(name); });
}

/// The best address of an interface; nothing where it has none.
std::optional<IpAddress> best_address(const NetworkInterface& interface) {
  const auto preference = [](const IpAddress& a) { return a.is_v4() ? 0 : (a.is_link_local() ? 2 : 1); };
  const auto best =
      std::min_element(interface.addresses.begin(), interface.addresses.end(),
                       [&](const IpAddress& a, const IpAddress& b) { return preference(a) < preference(b); });
  if (best == interface.addresses.end()) return std::nullopt;
  return *best;
}

/// The lower, the sooner it is taken where no rule says otherwise.
int reluctance(const NetworkInterface& interface, const IpAddress& address) {
  int level = address.is_link_local() ? 1 : 0;
  if (belongs_to_containers(interface)) level += 2;
  if (interface.loopback) level += 4;
  return level;
}

/// The first of the least reluctantly taken ones among those that `accepts`.
template <typename Accepts>
std::optional<IpAddress> pick(const std::vector<NetworkInterface>& interfaces, Accepts&& accepts) {
  std::optional<IpAddress> chosen;
  int level = 0;
  for (const NetworkInterface& interface : interfaces) {
    if (!interface.up || !accepts(interface)) continue;
    const std::optional<IpAddress> address = best_address(interface);
    if (!address) continue;
    const int its_level = reluctance(interface, *address);
    if (chosen && level <= its_level) continue;
    chosen = address;
    level = its_level;
  }
  return chosen;
}

std::vector<std::string_view> split(std::string_view list) {
  std::vector<std::string_view> items;
  for (size_t start = 0; start <= list.size();) {
    const size_t end = std::min(list.find(',', start), list.size());
    if (end > start) items.push_back(list.substr(start, end - start));
    start = end + 1;
  }
  return items;
}

/// "eth" begins the name, "=eth0" is the name.
bool matches(std::string_view item, const std::string& name) {
  return item.starts_with('=') ? name == item.substr(1) : name.starts_with(item);
}

std::optional<IpAddress> choose(const std::vector<NetworkInterface>& interfaces, std::string_view rule) {
  if (rule.empty()) return pick(interfaces, [](const NetworkInterface&) { return true; });
  if (rule.starts_with('^')) {
    const std::vector<std::string_view> unwanted = split(rule.substr(1));
    return pick(interfaces, [&](const NetworkInterface& interface) {
      return std::none_of(unwanted.begin(), unwanted.end(),
                          [&](std::string_view item) { return matches(item, interface.name); });
    });
  }
  for (const std::string_view item : split(rule)) {
    for (const NetworkInterface& interface : interfaces) {
      if (!interface.up || !matches(item, interface.name)) continue;
      if (const std::optional<IpAddress> address = best_address(interface)) return address;
    }
  }
  return std::nullopt;
}

std::string list_of(const std::vector<NetworkInterface>& interfaces) {
  std::string text;
  for (const NetworkInterface& interface : interfaces) {
    const std::optional<IpAddress> address = best_address(interface);
    text += fmt::format("{}{} ({}, {})", text.empty() ? "" : ", ", interface.name,
                        interface.up ? "up" : "down", address ? address->text() : "no address");
  }
  return text.empty() ? "none" : text;
}

std::string range_text(PortRange ports) {
  if (ports.first == 0) return "any port";
  return ports.first == ports.last ? fmt::format("port {}", ports.first)
                                   : fmt::format("ports {}-{}", ports.first, ports.last);
}

uint16_t port_of(int socket) {
  sockaddr_storage name{};
  socklen_t size = sizeof(name);
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&name), &size) != 0)
    raise_errno(errno, "the port of a listening socket");
  return ntohs(name.ss_family == AF_INET ? reinterpret_cast<const sockaddr_in*>(&name)->sin_port
                                         : reinterpret_cast<const sockaddr_in6*>(&name)->sin6_port);
}

}  // namespace

IpAddress IpAddress::v4(uint32_t host_order) {
  IpAddress address;
  std::copy(kMapped.begin(), kMapped.end(), address.bytes.begin());
  for (size_t i = 0; i < 4; ++i)
    address.bytes[12 + i] = static_cast<unsigned char>(host_order >> (24 - 8 * i));
  return address;
}

IpAddress IpAddress::from(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    return v4(ntohl(reinterpret_cast<const sockaddr_in*>(&address)->sin_addr.s_addr));
  }
  IpAddress result;
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address);
  std::memcpy(result.bytes.data(), &v6->sin6_addr, result.bytes.size());
  if (result.is_link_local()) result.scope = v6->sin6_scope_id;
  return result;
}

bool IpAddress::is_v4() const {
  return std::equal(kMapped.begin(), kMapped.end(), bytes.begin());
}

bool IpAddress::is_link_local() const {
  return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

bool IpAddress::is_loopback() const {
  if (is_v4()) return bytes[12] == 127;
  IpAddress one;
  one.bytes[15] = 1;
  return bytes == one.bytes;
}

std::string IpAddress::text() const {
  if (is_v4()) return fmt::format("{}.{}.{}.{}", bytes[12], bytes[13], bytes[14], bytes[15]);
  char buffer[INET6_ADDRSTRLEN] = {};
  inet_ntop(AF_INET6, bytes.data(), buffer, sizeof(buffer));
  return scope != 0 ? fmt::format("{}%{}", buffer, scope) : std::string(buffer);
}

std::string IpAddress::text_with(uint16_t port) const {
  return is_v4() ? fmt::format("{}:{}", text(), port) : fmt::format("[{}]:{}", text(), port);
}

SocketAddress::SocketAddress(const IpAddress& address, uint16_t port) {
  if (address.is_v4()) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&v4.sin_addr, address.bytes.data() + 12, 4);
    std::memcpy(&storage, &v4, sizeof(v4));
    size = sizeof(v4);
    return;
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  v6.sin6_scope_id = address.scope;
  std::memcpy(&v6.sin6_addr, address.bytes.data(), 16);
  std::memcpy(&storage, &v6, sizeof(v6));
  size = sizeof(v6);
}

std::vector<NetworkInterface> network_interfaces() {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) raise_errno(errno, "listing the network interfaces");
  std::vector<NetworkInterface> interfaces;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    auto known = std::find_if(interfaces.begin(), interfaces.end(),
                              [&](const NetworkInterface& i) { return i.name == entry->ifa_name; });
    if (known == interfaces.end()) {
      interfaces.push_back({entry->ifa_name,
                            (entry->ifa_flags & IFF_UP) != 0 && (entry->ifa_flags & IFF_RUNNING) != 0,
                            (entry->ifa_flags & IFF_LOOPBACK) != 0,
                            {}});
      known = interfaces.end() - 1;
    }
    const sockaddr* address = entry->ifa_addr;
    if (address == nullptr || (address->sa_family != AF_INET && address->sa_family != AF_INET6)) continue;
    sockaddr_storage storage{};
    std::memcpy(&storage, address,
                address->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    known->addresses.push_back(IpAddress::from(storage));
  }
  freeifaddrs(list);
  return interfaces;
}

IpAddress choose_address(const std::vector<NetworkInterface>& interfaces, const std::string& rule) {
  const std::optional<IpAddress> address = choose(interfaces, rule);
  if (address) return *address;
  if (rule.empty()) {
    raise(Result::system_error, "no network interface is up, not even loopback; there are: {}",
          list_of(interfaces));
  }
  raise(Result::invalid_argument,
        "TUTTI_IFNAME is '{}', but no interface that is up and has an address fits; there are: {}",
        printable(rule), list_of(interfaces));
}

PortRange parse_port_range(const std::string& text) {
  if (text.empty()) return {};
  const size_t dash = text.find('-');
  const std::string_view all(text);
  const auto port = [](std::string_view digits) {
    const std::optional<uint64_t> value = parse_integer(digits);
    return value && *value >= 1 && *value <= 65535 ? static_cast<uint16_t>(*value) : uint16_t{0};
  };
  const PortRange ports{port(all.substr(0, dash)),
                        port(dash == std::string::npos ? all : all.substr(dash + 1))};
  if (ports.first == 0 || ports.last < ports.first) {
    raise(Result::invalid_argument,
          "TUTTI_PORT_RANGE is '{}', expected a port from 1 to 65535 or a range such as 50000-50100",
          printable(text));
  }
  return ports;
}

Descriptor try_listen(const IpAddress& address, uint16_t port) {
  const SocketAddress name(address, port);
  Descriptor socket(::socket(name.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) {
    // A host without IPv6: all its addresses are those of IPv4.
    return address.is_any() && errno == EAFNOSUPPORT ? try_listen(IpAddress::v4(INADDR_ANY), port)
                                                     : Descriptor();
  }
  const int on = 1;
  const int off = 0;
  // Connections of a job that has just ended shall not block its port.
  if (port != 0) setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (address.is_any()) setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  if (bind(socket.get(), name.get(), name.size) != 0 || ::listen(socket.get(), SOMAXCONN) != 0) {
    const int error = errno;
    socket.reset();
    errno = error;
  }
  return socket;
}

Listener listen_at(const IpAddress& address, PortRange ports) {
  int error = 0;
  for (uint32_t port = ports.first; port <= ports.last; ++port) {
    Descriptor socket = try_listen(address, static_cast<uint16_t>(port));
    if (socket) {
      const uint16_t actual = port_of(socket.get());
      return {std::move(socket), address, actual};
    }
    error = errno;
  }
  raise_errno(error, "listening at {} of {}{}", range_text(ports), address.text(),
              ports.first == 0 ? "" : " (TUTTI_PORT_RANGE)");
}

}  // namespace tutti
