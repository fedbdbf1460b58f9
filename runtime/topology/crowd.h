// How many ranks share how many processors: with more ranks than processors the awaited one may need the very processor on which a
// rank spins, so waiting ranks must hand it over at once.
//
// Counted over the ranks of one machine and not of one node: containers, and emulated nodes, are several nodes on one machine.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tutti {

struct Crowd {
  int ranks = 1;       // on this rank's machine, or on machines that share processors with it
  int processors = 1;  // that those may run on together

  bool is_crowded() const { return ranks > processors; }

  /// The bytes that a rank sends to all: its machine and the processors it may run on.
  static std::string describe_self();
  /// From everybody's bytes, by rank, as rank `rank` sees it. Throws Error(invalid_argument) naming the rank whose bytes are malformed.
  static Crowd from(const std::vector<std::string>& described, int rank);
  /// `ranks` threads of this process.
  static Crowd threads(int ranks);
};

}  // namespace tutti
