// Which ranks reach each other by verbs: decided from the addresses of all, so that all decide the same.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "transports/verbs/address.h"

namespace tutti::verbs {

class Reach {
 public:
  /// By rank; empty: that rank has no rail. Throws Error(invalid_argument) for an address that is none.
  explicit Reach(const std::vector<std::string>& addresses);

  bool reaches(int a, int b) const;
  /// Why they do not; empty: they do.
  std::string why_not(int a, int b) const;

 private:
  static constexpr size_t kNone = SIZE_MAX;
  /// The first rail whose sorts differ, of two ranks that have rails.
  static size_t first_different(const RankAddress& one, const RankAddress& other);

  std::vector<std::optional<RankAddress>> addresses_;
};

}  // namespace tutti::verbs
