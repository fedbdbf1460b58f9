#include "runtime/device/faults.h"

#include <fmt/format.h>

namespace tutti {

namespace {

std::string where(const cuda::DeviceFault& fault) {
  return fmt::format("part {}, step {}, slice {}", fault.part, fault.step, fault.slice);
}

std::string mismatch_text(const cuda::DeviceFault& fault) {
  const int rank = fault.reporter;
  const std::string mine = describe(unpack(fault.call, fault.count));
  if (fault.peer_epoch != fault.epoch) {
    return fmt::format(
        "ranks called different operations before or in device operation {}, in which rank {} called {}: "
        "rank {} "
        "does not agree",
        fault.epoch, rank, mine, fault.peer);
  }
  const std::string theirs = describe(unpack(fault.peer_call, fault.peer_count));
  if (mine == theirs) {
    return fmt::format(
        "ranks called different operations before device operation {} ({}): ranks {} and {} do not agree",
        fault.epoch, mine, rank, fault.peer);
  }
  return fmt::format(
      "ranks called different operations: in device operation {} rank {} called {}, rank {} called {}",
      fault.epoch, rank, mine, fault.peer, theirs);
}

}  // namespace

DevicePath::Failure explain(const cuda::DeviceFault& fault, uint64_t timeout_ns) {
  const int rank = fault.reporter;
  const std::string call = describe(unpack(fault.call, fault.count));
  switch (fault.kind) {
    case cuda::FaultKind::timeout:
      return {
          Result::timeout,
          fmt::format("rank {}: {} on the device (operation {}): waited {:.3g} s for rank {} at {}", rank,
                      call, fault.epoch, static_cast<double>(timeout_ns) * 1e-9, fault.peer, where(fault))};
    case cuda::FaultKind::mismatch:
      return {Result::mismatch, mismatch_text(fault)};
    case cuda::FaultKind::aborted:
      return {Result::aborted,
              fault.peer < 0 || fault.peer == rank
                  ? fmt::format("rank {}: {} on the device (operation {}) was ended by this rank's host",
                                rank, call, fault.epoch)
                  : fmt::format("rank {}: {} on the device (operation {}) was ended because rank {} gave up",
                                rank, call, fault.epoch, fault.peer)};
    case cuda::FaultKind::none:
      break;
  }
  return {Result::internal_error, fmt::format("rank {}: a kernel gave up and did not say why", rank)};
}

}  // namespace tutti
