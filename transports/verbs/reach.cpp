#include "transports/verbs/reach.h"

#include <fmt/format.h>

#include <algorithm>

namespace tutti::verbs {

Reach::Reach(const std::vector<std::string>& addresses) {
  for (const std::string& address : addresses)
    addresses_.push_back(address.empty() ? std::nullopt : std::optional(unpack(address)));
}

std::string Reach::why_not(int a, int b) const {
  const auto& one = addresses_[static_cast<size_t>(a)];
  const auto& other = addresses_[static_cast<size_t>(b)];
  if (!one || !other) return fmt::format("rank {} has no RDMA device that can be used", one ? b : a);
  for (size_t i = 0; i < std::min(one->rails.size(), other->rails.size()); ++i) {
    const RailSort here = one->rails[i].sort;
    const RailSort there = other->rails[i].sort;
    if (here != there)
      return fmt::format(
          "rail {} of rank {} is {}, that of rank {} {}: TUTTI_IB_GID_INDEX and TUTTI_IB_HCA say which to "
          "use",
          i, a, name_of(here), b, name_of(there));
  }
  return {};
}

}  // namespace tutti::verbs
