// Which ranks reach each other by verbs: decided from the addresses of all, so that all decide the same.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "transports/verbs/address.h"

namespace tutti::verbs {

/// Why two ranks that have rails do not reach each other by them; empty: they do, as far as addresses tell.
std::string why_not(const RankAddress& one, const RankAddress& other);

class Reach {
 public:
  /// By rank; empty: that rank has no rail. Throws Error(invalid_argument) for an address that is none.
  explicit Reach(const std::vector<std::string>& addresses);

  bool reaches(int a, int b) const;
  /// Why they do not; empty: they do.
  std::string why_not(int a, int b) const;

 private:
  std::vector<std::optional<RankAddress>> addresses_;
};

}  // namespace tutti::verbs
