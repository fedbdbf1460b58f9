#include "transports/verbs/reach.h"

#include <fmt/format.h>

#include <algorithm>

namespace tutti::verbs {

namespace {

constexpr size_t kNone = SIZE_MAX;

/// The upper half of an InfiniBand GID.
std::string subnet_of(const RailAddress& rail) {
  std::array<uint8_t, 16> prefix = {};
  std::copy_n(rail.gid.begin(), 8, prefix.begin());
  return gid_text(prefix);
}

/// The kind of network that it is on; of InfiniBand, which. Whether RoCE rails are on networks that meet, only packets tell.
std::string network_of(const RailAddress& rail) {
  const std::string name = name_of(rail.sort);
  return rail.sort == RailSort::infiniband ? fmt::format("{} of subnet {}", name, subnet_of(rail)) : name;
}

/// The first rail that two ranks do not share.
size_t first_different(const RankAddress& one, const RankAddress& other) {
  for (size_t i = 0; i < std::min(one.rails.size(), other.rails.size()); ++i) {
    const bool is_infiniband = one.rails[i].sort == RailSort::infiniband;
    if (one.rails[i].sort != other.rails[i].sort ||
        (is_infiniband &&
         !std::equal(one.rails[i].gid.begin(), one.rails[i].gid.begin() + 8, other.rails[i].gid.begin())))
      return i;
  }
  return kNone;
}

}  // namespace

std::string why_not(const RankAddress& one, const RankAddress& other) {
  const size_t rail = first_different(one, other);
  if (rail == kNone) return {};
  return fmt::format(
      "rail {} of rank {} is {}, that of rank {} {}: TUTTI_IB_GID_INDEX and TUTTI_IB_HCA say which to use",
      rail, one.rank, network_of(one.rails[rail]), other.rank, network_of(other.rails[rail]));
}

Reach::Reach(const std::vector<std::string>& addresses) {
  for (const std::string& address : addresses)
    addresses_.push_back(address.empty() ? std::nullopt : std::optional(unpack(address)));
}

bool Reach::reaches(int a, int b) const {
  const auto& one = addresses_[static_cast<size_t>(a)];
  const auto& other = addresses_[static_cast<size_t>(b)];
  return one && other && first_different(*one, *other) == kNone;
}

std::string Reach::why_not(int a, int b) const {
  const auto& one = addresses_[static_cast<size_t>(a)];
  const auto& other = addresses_[static_cast<size_t>(b)];
  if (!one || !other) return fmt::format("rank {} has no RDMA device that can be used", one ? b : a);
  return verbs::why_not(*one, *other);
}

}  // namespace tutti::verbs
