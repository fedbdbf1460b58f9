#include "runtime/device/faults.h"

#include <fmt/format.h>

namespace tutti {

namespace {

/// Every part counts the operations that it had a part in: the first part all of them.
std::string operation_text(const cuda::DeviceFault& fault) {
  return fault.part == 0 ? fmt::format("device operation {}", fault.epoch)
                         : fmt::format("device operation {} of part {}", fault.epoch, fault.part);
}

std::string mismatch_text(const cuda::DeviceFault& fault) {
  const int rank = fault.reporter;
  const std::string operation = operation_text(fault);
  const std::string mine = describe(unpack(fault.call, fault.count));
  if (fault.peer_epoch != fault.epoch) {
    return fmt::format(
        "ranks called different operations before or in {}, in which rank {} called {}: rank {} does not "
        "agree",
        operation, rank, mine, fault.peer);
  }
  const std::string theirs = describe(unpack(fault.peer_call, fault.peer_count));
  if (mine == theirs) {
    return fmt::format("ranks called different operations before {} ({}): ranks {} and {} do not agree",
                       operation, mine, rank, fault.peer);
  }
  return fmt::format("ranks called different operations: in {} rank {} called {}, rank {} called {}",
                     operation, rank, mine, fault.peer, theirs);
}

std::string aborted_text(const cuda::DeviceFault& fault, const std::string& what) {
  if (fault.peer < 0 || fault.peer == fault.reporter) return what + " was ended by this rank's host";
  return fmt::format("{} was ended because rank {} gave up", what, fault.peer);
}

}  // namespace

DevicePath::Failure explain(const cuda::DeviceFault& fault, uint64_t timeout_ns) {
  const std::string what = fmt::format("rank {}: {} ({})", fault.reporter,
                                       describe(unpack(fault.call, fault.count)), operation_text(fault));
  switch (fault.kind) {
    case cuda::FaultKind::timeout:
      return {Result::timeout,
              fmt::format("{}: waited {:.3g} s for rank {} at step {}, slice {}", what,
                          static_cast<double>(timeout_ns) * 1e-9, fault.peer, fault.step, fault.slice)};
    case cuda::FaultKind::mismatch:
      return {Result::mismatch, mismatch_text(fault)};
    case cuda::FaultKind::aborted:
      return {Result::aborted, aborted_text(fault, what)};
    case cuda::FaultKind::none:
      break;
  }
  return {Result::internal_error,
          fmt::format("rank {}: a kernel gave up and did not say why", fault.reporter)};
}

}  // namespace tutti
