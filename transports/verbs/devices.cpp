#include "transports/verbs/devices.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>

#include "core/error.h"

namespace tutti::verbs {

namespace {

/// The numbers of verbs.h: lanes and gigabits of each.
double gbits_of(const ibv_port_attr& port) {
  struct Entry {
    uint8_t code;
    double value;
  };
  constexpr Entry kWidths[] = {{1, 1}, {2, 4}, {4, 8}, {8, 12}, {16, 2}};
  constexpr Entry kSpeeds[] = {{1, 2.5}, {2, 5}, {4, 10}, {8, 10}, {16, 14}, {32, 25}, {64, 50}, {128, 100}};
  double width = 0;
  double speed = 0;
  for (const Entry& entry : kWidths) {
    if (entry.code == port.active_width) width = entry.value;
  }
  for (const Entry& entry : kSpeeds) {
    if (entry.code == port.active_speed) speed = entry.value;
  }
  return width * speed;
}

bool is_ipv4(const ibv_gid& gid) {
  constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::memcmp(gid.raw, kMapped, sizeof(kMapped)) == 0;
}

bool is_link_local(const ibv_gid& gid) {
  return gid.raw[0] == 0xfe && (gid.raw[1] & 0xc0) == 0x80;
}

RailSort sort_of(const ibv_gid_entry& entry) {
  if (entry.gid_type == IBV_GID_TYPE_IB) return RailSort::infiniband;
  const bool v2 = entry.gid_type == IBV_GID_TYPE_ROCE_V2;
  if (is_ipv4(entry.gid)) return v2 ? RailSort::roce2_ipv4 : RailSort::roce1_ipv4;
  return v2 ? RailSort::roce2_ipv6 : RailSort::roce1_ipv6;
}

/// The lower the better.
int preference_of(const ibv_gid_entry& entry) {
  const bool v2 = entry.gid_type != IBV_GID_TYPE_ROCE_V1;
  return (v2 ? 0 : 10) + (is_ipv4(entry.gid) ? 0 : is_link_local(entry.gid) ? 2 : 1);
}

/// Those of all ports of the device. Tables have hundreds of places, few of which are taken: asking for each place alone takes longer than all else
/// that is asked about a device.
std::vector<ibv_gid_entry> read_gids(ibv_context* context, size_t most) {
  std::vector<ibv_gid_entry> entries(most);
  const ssize_t count = ibv_query_gid_table(context, entries.data(), entries.size(), 0);
  entries.resize(static_cast<size_t>(std::max<ssize_t>(count, 0)));
  return entries;
}

std::optional<ibv_gid_entry> choose_gid(const std::vector<ibv_gid_entry>& entries, int port, bool infiniband,
                                        int wanted) {
  std::optional<ibv_gid_entry> best;
  for (const ibv_gid_entry& entry : entries) {
    if (entry.port_num != static_cast<uint32_t>(port)) continue;
    if (wanted == static_cast<int>(entry.gid_index)) return entry;
    if (!best || preference_of(entry) < preference_of(*best)) best = entry;
    // The first of InfiniBand is the card's own.
    if (infiniband && wanted < 0) break;
  }
  return wanted < 0 ? best : std::nullopt;
}

void look_at_gid(ibv_context* context, const ibv_port_attr& port, int ports, int wanted, RailInfo& info) {
  const std::vector<ibv_gid_entry> entries =
      read_gids(context, static_cast<size_t>(port.gid_tbl_len) * static_cast<size_t>(ports));
  const std::optional<ibv_gid_entry> entry =
      choose_gid(entries, info.port, port.link_layer == IBV_LINK_LAYER_INFINIBAND, wanted);
  if (!entry) {
    info.problem = wanted < 0 ? "it has no GID: has its network interface an address?"
                              : fmt::format("it has no GID with the index {} (TUTTI_IB_GID_INDEX)", wanted);
    return;
  }
  info.gid_index = static_cast<int>(entry->gid_index);
  std::copy(std::begin(entry->gid.raw), std::end(entry->gid.raw), info.gid.begin());
  info.sort = sort_of(*entry);
  char name[IF_NAMESIZE] = {};
  if (entry->ndev_ifindex != 0 && if_indextoname(entry->ndev_ifindex, name) != nullptr) info.network = name;
}

RailInfo look_at_port(ibv_context* context, const std::string& device, int number, int ports, int gid_index) {
  RailInfo info;
  info.device = device;
  info.port = number;
  info.name = ports == 1 ? device : fmt::format("{}:{}", device, number);
  ibv_port_attr port = {};
  if (const int error = ibv_query_port(context, static_cast<uint8_t>(number), &port); error != 0) {
    info.problem = fmt::format("it does not answer: {}", std::strerror(error));
    return info;
  }
  info.state = port.state == IBV_PORT_ACTIVE ? "active" : ibv_port_state_str(port.state);
  info.gbits = gbits_of(port);
  info.mtu = 128U << port.active_mtu;
  info.lid = port.lid;
  look_at_gid(context, port, ports, gid_index, info);
  if (port.state != IBV_PORT_ACTIVE) info.problem = "the port is not active but " + info.state;
  return info;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i != text.size() && text[i] != ',') continue;
    if (i > begin) parts.push_back(text.substr(begin, i - begin));
    begin = i + 1;
  }
  return parts;
}

/// "mlx5_0:1" is "mlx5_0" where the card has one port.
const RailInfo* find(const std::vector<RailInfo>& all, const std::string& name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const RailInfo& rail) {
    return rail.name == name || fmt::format("{}:{}", rail.device, rail.port) == name;
  });
  return found == all.end() ? nullptr : &*found;
}

const RailInfo& require(const std::vector<RailInfo>& all, const std::string& name) {
  if (const RailInfo* rail = find(all, name)) return *rail;
  std::string names;
  for (const RailInfo& rail : all) names += (names.empty() ? "" : ", ") + rail.name;
  raise(Result::invalid_argument, "TUTTI_IB_HCA: there is no '{}'; there {}", name,
        names.empty() ? "are no RDMA devices" : "is " + names);
}

std::vector<RailInfo> usable(const std::vector<RailInfo>& all, const std::set<std::string>& unwanted) {
  std::vector<RailInfo> rails;
  std::string problems;
  for (const RailInfo& rail : all) {
    if (unwanted.count(rail.name) != 0) continue;
    if (rail.problem.empty()) {
      rails.push_back(rail);
    } else {
      problems += fmt::format("; {}: {}", rail.name, rail.problem);
    }
  }
  if (rails.empty())
    raise(Result::unsupported, "there is no RDMA device that can be used{}",
          problems.empty() ? (all.empty() ? ": this machine has none" : "") : problems);
  return rails;
}

}  // namespace

const char* name_of(RailSort sort) {
  constexpr const char* kNames[] = {"InfiniBand", "RoCE v1 over IPv4", "RoCE v1 over IPv6",
                                    "RoCE v2 over IPv4", "RoCE v2 over IPv6"};
  return kNames[static_cast<size_t>(sort)];
}

std::string gid_text(const std::array<uint8_t, 16>& gid) {
  char text[INET6_ADDRSTRLEN] = {};
  ibv_gid raw;
  std::copy(gid.begin(), gid.end(), raw.raw);
  const bool v4 = is_ipv4(raw);
  inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? raw.raw + 12 : raw.raw, text, sizeof(text));
  return text;
}

std::vector<RailInfo> list_rails(int gid_index) {
  std::vector<RailInfo> rails;
  int count = 0;
  const DeviceList devices(ibv_get_device_list(&count));
  for (int i = 0; devices && i < count; ++i) {
    const std::string name = ibv_get_device_name(devices.get()[i]);
    const Context context(ibv_open_device(devices.get()[i]));
    const auto refuse = [&](const std::string& problem) {
      RailInfo refused;
      refused.name = refused.device = name;
      refused.problem = problem;
      rails.push_back(refused);
    };
    if (devices.get()[i]->transport_type != IBV_TRANSPORT_IB) {
      // iWARP has no datagrams, others have no reliable connections.
      refuse("it is neither InfiniBand nor RoCE");
      continue;
    }
    ibv_device_attr attributes = {};
    if (!context || ibv_query_device(context.get(), &attributes) != 0) {
      refuse(fmt::format("it cannot be opened: {}", std::strerror(errno)));
      continue;
    }
    for (int port = 1; port <= attributes.phys_port_cnt; ++port)
      rails.push_back(look_at_port(context.get(), name, port, attributes.phys_port_cnt, gid_index));
  }
  std::ranges::sort(rails, [](const RailInfo& a, const RailInfo& b) {
    return strverscmp(a.name.c_str(), b.name.c_str()) < 0;
  });
  return rails;
}

std::vector<RailInfo> choose_rails(const std::vector<RailInfo>& all, const std::string& wanted) {
  if (wanted.empty() || wanted[0] == '^') {
    std::set<std::string> unwanted;
    for (const std::string& name : split(wanted.empty() ? wanted : wanted.substr(1)))
      unwanted.insert(require(all, name).name);
    return usable(all, unwanted);
  }
  std::vector<RailInfo> rails;
  for (const std::string& name : split(wanted)) {
    const RailInfo& rail = require(all, name);
    if (!rail.problem.empty())
      raise(Result::unsupported, "TUTTI_IB_HCA: {} cannot be used: {}", name, rail.problem);
    if (find(rails, rail.name) != nullptr)
      raise(Result::invalid_argument, "TUTTI_IB_HCA: {} is there twice", rail.name);
    rails.push_back(rail);
  }
  if (rails.size() > kMostRails)
    raise(Result::invalid_argument, "TUTTI_IB_HCA: {} rails; expected at most {}", rails.size(), kMostRails);
  if (rails.empty()) raise(Result::invalid_argument, "TUTTI_IB_HCA: '{}' names no device", wanted);
  return rails;
}

namespace {

/// Before Linux 5.12 a page that is written after a fork() was copied away from the card, which went on with the other copy. There registered memory is
/// hidden from children; later kernels give the child the copy.
void prepare_for_forks() {
  if (ibv_is_fork_initialized() == IBV_FORK_DISABLED) static_cast<void>(ibv_fork_init());
}

}  // namespace

Context open_device(const std::string& name) {
  prepare_for_forks();
  int count = 0;
  const DeviceList devices(ibv_get_device_list(&count));
  for (int i = 0; devices && i < count; ++i) {
    if (name != ibv_get_device_name(devices.get()[i])) continue;
    Context context(ibv_open_device(devices.get()[i]));
    if (!context) raise_errno(errno, "opening the RDMA device {}", name);
    return context;
  }
  raise(Result::system_error, "the RDMA device {} has gone", name);
}

}  // namespace tutti::verbs
