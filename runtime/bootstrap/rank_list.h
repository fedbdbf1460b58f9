// Ranks in messages: few of them one by one, many as ranges.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <vector>

namespace tutti {

/// "rank 3", "ranks 1, 3", "ranks 1-41, 43-99" of ascending numbers.
template <typename Number>
std::string rank_list(const std::vector<Number>& ranks) {
  constexpr size_t kMostOneByOne = 16;
  if (ranks.size() == 1) return fmt::format("rank {}", ranks.front());
  if (ranks.size() <= kMostOneByOne) return fmt::format("ranks {}", fmt::join(ranks, ", "));
  std::vector<std::string> ranges;
  for (size_t first = 0; first < ranks.size();) {
    size_t last = first;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    ranges.push_back(first == last ? fmt::format("{}", ranks[first])
                                   : fmt::format("{}-{}", ranks[first], ranks[last]));
    first = last + 1;
  }
  return fmt::format("ranks {}", fmt::join(ranges, ", "));
}

}  // namespace tutti
