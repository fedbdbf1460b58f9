#include "runtime/topology/crowd.h"

#include <sched.h>

#include <bitset>

#include "core/error.h"
#include "runtime/topology/placement.h"

namespace tutti {

namespace {

constexpr size_t kMostProcessors = CPU_SETSIZE;
using Processors = std::bitset<kMostProcessors>;

/// Those this thread may run on; none where the system does not say.
Processors own_processors() {
  Processors processors;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return processors;
  for (size_t p = 0; p < kMostProcessors; ++p) processors[p] = CPU_ISSET(p, &set);
  return processors;
}

/// "MACHINE 1011": the bitmap with the highest processor first.
Processors parse(const std::string& described, size_t rank, std::string_view& machine) {
  const size_t blank = described.rfind(' ');
  const size_t digits = described.size() - blank - 1;
  if (blank == std::string::npos || digits > kMostProcessors ||
      described.find_first_not_of("01", blank + 1) != std::string::npos) {
    raise(Result::invalid_argument, "rank {} does not say on which processors it may run", rank);
  }
  machine = std::string_view(described).substr(0, blank);
  return Processors(described, blank + 1);
}

}  // namespace

std::string Crowd::describe_self() {
  const std::string bits = own_processors().to_string();
  return boot_id() + " " + bits.substr(std::min(bits.find('1'), bits.size()));
}

Crowd Crowd::from(const std::vector<std::string>& described, int rank) {
  std::string_view mine;
  std::string_view theirs;
  parse(described.at(static_cast<size_t>(rank)), static_cast<size_t>(rank), mine);
  Crowd crowd = {.ranks = 0, .processors = 0};
  Processors together;
  int unknown = 0;  // ranks that could not say count as having a processor of their own
  for (size_t r = 0; r < described.size(); ++r) {
    const Processors processors = parse(described[r], r, theirs);
    if (theirs != mine) continue;
    ++crowd.ranks;
    if (processors.none()) ++unknown;
    together |= processors;
  }
  crowd.processors = static_cast<int>(together.count()) + unknown;
  return crowd;
}

Crowd Crowd::threads(int ranks) {
  const auto processors = static_cast<int>(own_processors().count());
  return {.ranks = ranks, .processors = processors == 0 ? ranks : processors};
}

}  // namespace tutti
