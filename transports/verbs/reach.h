// Which ranks reach each other by verbs: decided from the addresses of all, so that all decide the same.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "transports/verbs/address.h"

namespace tutti::verbs {

class Reach {
 public:
  /// By rank; empty: that rank has no rail. Throws Error(invalid_argument) for an address that is none.
  explicit Reach(const std::vector<std::string>& addresses);

  /// Why the two do not reach each other, where both have rails; empty: they do.
  std::string why_not(int a, int b) const;
  bool has_rails(int rank) const { return addresses_[static_cast<size_t>(rank)].has_value(); }

 private:
  std::vector<std::optional<RankAddress>> addresses_;
};

}  // namespace tutti::verbs
