#include "runtime/bootstrap/control_digest.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

namespace tutti {

std::string digest_difference(const std::string& mine, int my_rank, const std::string& theirs,
                              int their_rank) {
  std::istringstream a(mine);
  std::istringstream b(theirs);
  std::string x;
  std::string y;
  while (true) {
    const bool more_a = static_cast<bool>(std::getline(a, x));
    const bool more_b = static_cast<bool>(std::getline(b, y));
    if (!more_a && !more_b) return "";
    if (!more_a || !more_b || x != y) break;
  }
  const auto value = [](const std::string& line) {
    return line.substr(std::min(line.find('=') + 1, line.size()));
  };
  const std::string& named = x.empty() ? y : x;
  return fmt::format("{} is '{}' on rank {} but '{}' on rank {}; it must be equal on all ranks",
                     named.substr(0, named.find('=')), value(x), my_rank, value(y), their_rank);
}

uint64_t digest_hash(const std::string& digest) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : digest) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace tutti
