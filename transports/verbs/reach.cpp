#include "transports/verbs/reach.h"

#include <fmt/format.h>

#include <algorithm>

namespace tutti::verbs {

Reach::Reach(const std::vector<std::string>& addresses) {
  for (const std::string& address : addresses)
    addresses_.push_back(address.empty() ? std::nullopt : std::optional(unpack(address)));
}

size_t Reach::first_different(const RankAddress& one, const RankAddress& other) {
  for (size_t i = 0; i < std::min(one.rails.size(), other.rails.size()); ++i) {
    if (one.rails[i].sort != other.rails[i].sort) return i;
  }
  return kNone;
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
  const size_t rail = first_different(*one, *other);
  if (rail == kNone) return {};
  return fmt::format(
      "rail {} of rank {} is {}, that of rank {} {}: TUTTI_IB_GID_INDEX and TUTTI_IB_HCA say which to use",
      rail, a, name_of(one->rails[rail].sort), b, name_of(other->rails[rail].sort));
}

}  // namespace tutti::verbs
