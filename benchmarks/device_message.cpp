// Copies out of the tape, fills, downloads.
#include "benchmarks/device_message.h"

#include <algorithm>
#include <cstring>

namespace tutti::bench {
namespace {

CUdeviceptr address_of(const void* pointer) {
  return reinterpret_cast<CUdeviceptr>(pointer);
}

}  // namespace

DeviceMessage::DeviceMessage(const CollectiveInfo& collective, const Call& call, const DeviceRanks& ranks,
                             int rank, Downloads& downloads)
    : patterns_(collective.kind, call.datatype, call.op, call.root, ranks.size(), rank),
      ranks_(ranks),
      downloads_(downloads),
      rank_(rank),
      count_(call.count),
      send_(address_of(call.send)),
      recv_(address_of(call.recv)),
      contributes_(collective.kind == Kind::all_reduce || rank == call.root) {
  if (contributes_ && count_ > 0) fill_tape();
}

/// Some periods from the host, then the device doubles what is there.
void DeviceMessage::fill_tape() {
  const gpu::Driver& driver = gpu::Driver::get();
  const size_t period = static_cast<size_t>(kPeriod) * patterns_.element_size();
  const size_t needed = static_cast<size_t>(count_) * patterns_.element_size() + period;
  const size_t periods = std::min(Downloads::kBytes / period, needed / period + 1);
  patterns_.write_input(downloads_.data(), 0, static_cast<int64_t>(periods) * kPeriod, 0);
  const CUdeviceptr tape = ranks_.tape(rank_).address();
  CUstream stream = ranks_.stream(rank_);
  ranks_.device(rank_).make_current();
  size_t there = std::min(periods * period, needed);
  driver.check(driver.cuMemcpyHtoDAsync(tape, downloads_.data(), there, stream), "cuMemcpyHtoDAsync");
  while (there < needed) {
    const size_t next = std::min(there, needed - there);
    driver.check(driver.cuMemcpyDtoDAsync(tape + there, tape, next, stream), "cuMemcpyDtoDAsync");
    there += next;
  }
  ranks_.settle(rank_, "preparing inputs");
}

void DeviceMessage::prepare(uint64_t generation) {
  if (count_ == 0) return;
  const gpu::Driver& driver = gpu::Driver::get();
  const size_t bytes = static_cast<size_t>(count_) * patterns_.element_size();
  CUstream stream = ranks_.stream(rank_);
  ranks_.device(rank_).make_current();
  if (contributes_) {
    const size_t offset = static_cast<size_t>(Patterns::offset_of(generation)) * patterns_.element_size();
    driver.check(driver.cuMemcpyDtoDAsync(send_, ranks_.tape(rank_).address() + offset, bytes, stream),
                 "cuMemcpyDtoDAsync");
  }
  if (send_ != recv_ || !contributes_) {
    const auto poison = static_cast<unsigned char>(0xa5 + 37 * generation);
    driver.check(driver.cuMemsetD8Async(recv_, poison, bytes, stream), "cuMemsetD8Async");
  }
}

Spans DeviceMessage::spans(Extent extent, uint64_t generation) const {
  return spans_of(count_, patterns_.element_size(), generation,
                  extent == Extent::whole ? INT64_MAX : kWholeOnDevice);
}

/// Enqueues the download of some elements to `to`.
void DeviceMessage::fetch(const Span& span, CUdeviceptr message, std::byte* to) {
  const size_t element = patterns_.element_size();
  const gpu::Driver& driver = gpu::Driver::get();
  driver.check(driver.cuMemcpyDtoHAsync(to, message + static_cast<size_t>(span.first) * element,
                                        static_cast<size_t>(span.count) * element, ranks_.stream(rank_)),
               "cuMemcpyDtoHAsync");
}

/// All of the message, through the downloads piece by piece.
int64_t DeviceMessage::check_whole(uint64_t generation) {
  const auto most = static_cast<int64_t>(Downloads::kBytes / patterns_.element_size());
  int64_t wrong = 0;
  for (int64_t first = 0; first < count_; first += most) {
    const Span piece{first, std::min(most, count_ - first)};
    fetch(piece, recv_, downloads_.data());
    ranks_.settle(rank_, "downloading results");
    wrong += patterns_.wrong_results_at(downloads_.data(), first, piece.count, generation);
    if (!has_own_input()) continue;
    fetch(piece, send_, downloads_.data());
    ranks_.settle(rank_, "downloading inputs");
    wrong += patterns_.wrong_inputs_at(downloads_.data(), first, piece.count, generation);
  }
  return wrong;
}

/// All spans of outputs, then of inputs, in one go.
int64_t DeviceMessage::check_spans(uint64_t generation) {
  const Spans looked_at = spans(Extent::spans, generation);
  std::byte* to = downloads_.data();
  const auto fetch_all = [&](CUdeviceptr message) {
    for (const Span& span : looked_at) {
      fetch(span, message, to);
      to += static_cast<size_t>(span.count) * patterns_.element_size();
    }
  };
  fetch_all(recv_);
  if (has_own_input()) fetch_all(send_);
  ranks_.settle(rank_, "downloading results");
  int64_t wrong = 0;
  const std::byte* from = downloads_.data();
  for (const Span& span : looked_at) {
    wrong += patterns_.wrong_results_at(from, span.first, span.count, generation);
    from += static_cast<size_t>(span.count) * patterns_.element_size();
  }
  if (!has_own_input()) return wrong;
  for (const Span& span : looked_at) {
    wrong += patterns_.wrong_inputs_at(from, span.first, span.count, generation);
    from += static_cast<size_t>(span.count) * patterns_.element_size();
  }
  return wrong;
}

int64_t DeviceMessage::check(Extent extent, uint64_t generation) {
  ranks_.device(rank_).make_current();
  return extent == Extent::whole ? check_whole(generation) : check_spans(generation);
}

void DeviceMessage::plant_error(Extent extent, uint64_t generation) {
  Span looked_at;
  for (const Span& span : spans(extent, generation)) looked_at = span;
  if (looked_at.count == 0) return;
  const gpu::Driver& driver = gpu::Driver::get();
  const size_t element = patterns_.element_size();
  const CUdeviceptr victim = recv_ + static_cast<size_t>(looked_at.first + looked_at.count - 1) * element;
  ranks_.device(rank_).make_current();
  driver.check(driver.cuMemcpyDtoHAsync(downloads_.data(), victim, element, ranks_.stream(rank_)),
               "cuMemcpyDtoHAsync");
  ranks_.settle(rank_, "planting an error");
  std::transform(downloads_.data(), downloads_.data() + element, downloads_.data(),
                 [](std::byte b) { return ~b; });
  driver.check(driver.cuMemcpyHtoDAsync(victim, downloads_.data(), element, ranks_.stream(rank_)),
               "cuMemcpyHtoDAsync");
  ranks_.settle(rank_, "planting an error");
}

}  // namespace tutti::bench
