#include "runtime/topology/placement.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <fstream>
#include <map>
#include <numeric>

#include "core/error.h"

namespace tutti {

namespace {

constexpr std::string_view kMagic = "tutti-at";
constexpr size_t kLengths = 3;
constexpr size_t kFixed = kMagic.size() + sizeof(uint32_t) + kLengths;
constexpr size_t kNodesMost = UINT16_MAX;
// What the list of ranks in a summary may take; more is said to be left out.
constexpr size_t kSummaryMost = 1000;

bool printable_name(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

/// At most `most` printable characters of a text that this system gave.
std::string cleaned(std::string_view text, size_t most) {
  std::string clean(text.substr(0, most));
  std::replace_if(
      clean.begin(), clean.end(), [](char c) { return c <= ' ' || c > '~'; }, '?');
  return clean;
}

/// The number of a namespace this process is in; "?" where /proc does not tell.
std::string namespace_number(const char* name) {
  struct stat info {};
  const std::string path = fmt::format("/proc/self/ns/{}", name);
  return ::stat(path.c_str(), &info) == 0 ? std::to_string(info.st_ino) : "?";
}

std::string host_name() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "host";
  return cleaned(name.data(), Whereabouts::kMostHost);
}

uint32_t read_u32(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < sizeof(value); ++i) {
    value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  }
  return value;
}

size_t read_u8(std::string_view bytes, size_t at) {
  return static_cast<unsigned char>(bytes[at]);
}

/// Numbers nodes in the order of their first rank.
class NodeNumbers {
 public:
  uint16_t of(const Whereabouts& rank) {
    const auto [at, fresh] = numbers_.try_emplace(rank.node_id, static_cast<uint16_t>(numbers_.size()));
    if (fresh && numbers_.size() > kNodesMost) {
      raise(Result::unsupported, "more than {} nodes in one communicator", kNodesMost);
    }
    return at->second;
  }

 private:
  std::map<std::string, uint16_t> numbers_;
};

/// Host names made unique; a name that is taken, "b#2" included, is never given twice.
std::string unique_name(const std::string& host, std::map<std::string, int>& taken) {
  std::string name = host;
  for (int copy = 2; taken.count(name) != 0; ++copy) name = fmt::format("{}#{}", host, copy);
  taken[name] = 1;
  return name;
}

}  // namespace

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  return file >> id && !id.empty() ? cleaned(id, 64) : cleaned(host_name(), 64);
}

std::string Whereabouts::serialize() const {
  std::string bytes(kMagic);
  for (size_t i = 0; i < sizeof(pid); ++i) bytes += static_cast<char>(pid >> (8 * i) & 0xff);
  for (const std::string* text : {&node_id, &machine, &host}) bytes += static_cast<char>(text->size());
  return bytes + node_id + machine + host;
}

Whereabouts Whereabouts::parse(std::string_view bytes, int rank) {
  const auto refuse = [&](const std::string& what) {
    raise(Result::invalid_argument, "rank {}: where it runs cannot be read from the {} bytes it sent: {}",
          rank, bytes.size(), what);
  };
  if (bytes.size() < kFixed) refuse(fmt::format("at least {} were expected", kFixed));
  if (bytes.substr(0, kMagic.size()) != kMagic) refuse(fmt::format("they do not begin with '{}'", kMagic));
  const size_t lengths = kMagic.size() + sizeof(uint32_t);
  const size_t expected =
      kFixed + read_u8(bytes, lengths) + read_u8(bytes, lengths + 1) + read_u8(bytes, lengths + 2);
  if (bytes.size() != expected) refuse(fmt::format("{} were announced", expected));

  Whereabouts result;
  result.pid = read_u32(bytes, kMagic.size());
  size_t at = kFixed;
  for (size_t i = 0; i < kLengths; ++i) {
    std::string& text = i == 0 ? result.node_id : (i == 1 ? result.machine : result.host);
    text = bytes.substr(at, read_u8(bytes, lengths + i));
    at += text.size();
    if (text.empty() || !printable_name(text)) refuse("a name is empty or not printable");
  }
  return result;
}

Whereabouts my_whereabouts(const std::string& node_id) {
  Whereabouts mine;
  mine.machine = fmt::format("boot={},net={}", boot_id(), namespace_number("net"));
  mine.pid = static_cast<uint32_t>(::getpid());
  if (!node_id.empty()) {
    mine.node_id = cleaned(fmt::format("name={}", node_id), Whereabouts::kMostId);
    mine.host = cleaned(node_id, Whereabouts::kMostHost);
  } else {
    mine.node_id =
        fmt::format("{},pid={},time={}", mine.machine, namespace_number("pid"), namespace_number("time"));
    mine.host = host_name();
  }
  return mine;
}

Placement Placement::from(const std::vector<std::string>& described) {
  Placement placement;
  NodeNumbers numbers;
  std::map<std::string, int> taken;
  std::vector<std::string> machines;  // by node, of its first rank
  for (size_t r = 0; r < described.size(); ++r) {
    const int rank = static_cast<int>(r);
    const Whereabouts at = Whereabouts::parse(described[r], rank);
    const uint16_t node = numbers.of(at);
    if (node == placement.members.size()) {
      placement.members.emplace_back();
      placement.names.push_back(unique_name(at.host, taken));
      machines.push_back(at.machine);
    } else if (machines[node] != at.machine) {
      raise(Result::invalid_argument,
            "ranks {} and {} have the same node id '{}' and cannot share memory: one runs in {}, the other "
            "in {}; give "
            "TUTTI_NODE_ID different values, or leave it away",
            placement.members[node].front(), rank, at.node_id, machines[node], at.machine);
    }
    placement.nodes.push_back(node);
    placement.places.push_back(static_cast<int>(placement.members[node].size()));
    placement.members[node].push_back(rank);
  }
  return placement;
}

Placement Placement::one_node(int ranks) {
  Placement placement;
  placement.nodes.assign(static_cast<size_t>(ranks), 0);
  placement.places.resize(static_cast<size_t>(ranks));
  std::iota(placement.places.begin(), placement.places.end(), 0);
  placement.names = {host_name()};
  placement.members = {placement.places};
  return placement;
}

int Placement::rails() const {
  size_t smallest = members.empty() ? 0 : SIZE_MAX;
  for (const std::vector<int>& ranks : members) smallest = std::min(smallest, ranks.size());
  return static_cast<int>(smallest);
}

std::vector<int> Placement::rail(int k) const {
  if (k < 0 || k >= rails()) raise(Result::internal_error, "rail {} of {}", k, rails());
  std::vector<int> ranks;
  ranks.reserve(members.size());
  for (const std::vector<int>& node : members) ranks.push_back(node[static_cast<size_t>(k)]);
  return ranks;
}

std::string Placement::rank_name(int rank) const {
  if (node_count() <= 1 || rank < 0 || rank >= size()) return fmt::format("rank {}", rank);
  return fmt::format("rank {} (node {})", rank, node_name(rank));
}

std::vector<std::string> Placement::rank_names() const {
  std::vector<std::string> all;
  all.reserve(nodes.size());
  for (int r = 0; r < size(); ++r) all.push_back(rank_name(r));
  return all;
}

std::string Placement::summary() const {
  std::string text = fmt::format("{} rank{} on {} node{}:", size(), size() == 1 ? "" : "s", node_count(),
                                 node_count() == 1 ? "" : "s");
  for (int n = 0; n < node_count(); ++n) {
    if (text.size() > kSummaryMost) return text + fmt::format(" and {} more", node_count() - n);
    text += fmt::format(" {} {}{}", names[static_cast<size_t>(n)], format_list(ranks_of(n)),
                        n + 1 < node_count() ? "," : "");
  }
  return text;
}

std::string format_list(const std::vector<int>& numbers) {
  std::string text;
  for (size_t first = 0; first < numbers.size();) {
    size_t last = first;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    if (!text.empty()) text += ',';
    text +=
        last == first ? std::to_string(numbers[first]) : fmt::format("{}-{}", numbers[first], numbers[last]);
    first = last + 1;
  }
  return text;
}

}  // namespace tutti
