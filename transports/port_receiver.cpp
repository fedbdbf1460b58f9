#include "transports/port_receiver.h"

#include <fmt/format.h>

#include <cstring>

namespace tutti {

namespace {

void announce(Announcement& latest, const PortFrame& frame) {
  latest.epoch.store(0, std::memory_order_relaxed);
  latest.count.store(frame.count, std::memory_order_release);
  latest.call.store(frame.call, std::memory_order_release);
  latest.signature.store(frame.tag & 0xffffffff, std::memory_order_release);
  latest.epoch.store(frame.epoch, std::memory_order_release);
}

}  // namespace

PortReceiver::PortReceiver(std::span<std::byte> slots)
    : slots_(slots), early_(std::make_unique<Inbox>()), inbox_(early_.get()) {}

void PortReceiver::attach(Inbox& inbox) {
  const auto hand_over = [](std::atomic<uint64_t>& to, const std::atomic<uint64_t>& from) {
    const uint64_t value = from.load(std::memory_order_relaxed);
    if (value != 0) publish(to, value);
  };
  hand_over(inbox.latest.count, early_->latest.count);
  hand_over(inbox.latest.call, early_->latest.call);
  hand_over(inbox.latest.signature, early_->latest.signature);
  hand_over(inbox.latest.epoch, early_->latest.epoch);
  hand_over(inbox.line.tag, early_->line.tag);
  for (size_t i = 0; i < std::size(inbox.line.counters); ++i)
    hand_over(inbox.line.counters[i], early_->line.counters[i]);
  hand_over(inbox.granted, early_->granted);
  inbox_ = &inbox;
  early_.reset();
}

std::string PortReceiver::take(const PortFrame& frame, const void* data) {
  if (frame.granted > inbox_->granted.load(std::memory_order_relaxed))
    publish(inbox_->granted, frame.granted);
  if (frame.kind == kGrant) return {};
  // Judged before anything is written: a frame that comes twice must not write slots that are in use again.
  if (frame.sequence < next_ || frame.sequence - next_ >= kMostEarly)
    return fmt::format("frame {} came where frame {} was next (at most {} frames are kept)", frame.sequence,
                       next_, kMostEarly);
  if (frame.sequence != next_) {
    std::string problem = keep(frame);
    if (!problem.empty()) return problem;
  }
  if (frame.bytes != 0) std::memcpy(slots_.data() + frame.offset, data, frame.bytes);
  bytes_ += frame.bytes + frame.one_sided;
  if (frame.sequence != next_) return {};
  std::string problem = apply(frame);
  while (problem.empty() && kept_ != 0) {
    PortFrame& kept = waiting_[next_ % kMostEarly];
    if (kept.kind == 0) break;
    problem = apply(kept);
    kept.kind = 0;
    --kept_;
  }
  return problem;
}

std::string PortReceiver::keep(const PortFrame& frame) {
  if (waiting_.empty()) waiting_.resize(kMostEarly);
  PortFrame& place = waiting_[frame.sequence % kMostEarly];
  if (place.kind != 0) return fmt::format("frame {} came twice", frame.sequence);
  place = frame;
  ++kept_;
  return {};
}

uint64_t PortReceiver::early() const {
  uint64_t bits = 0;
  for (uint64_t i = 0; kept_ != 0 && i < kEarlyBits; ++i) {
    if (waiting_[(next_ + i) % kMostEarly].kind != 0) bits |= uint64_t{1} << i;
  }
  return bits;
}

std::string PortReceiver::apply(const PortFrame& frame) {
  if (has_left_) return fmt::format("frame {} came after the last one", frame.sequence);
  ++next_;
  has_left_ = frame.kind == kLeave;
  if ((frame.kind & (kSignal | kBareSignal)) == 0) return {};
  Counter& counter = inbox_->line.counters[frame.index];
  const uint64_t before = counter.load(std::memory_order_relaxed);
  if (frame.kind == kBareSignal) {
    if (before == UINT64_MAX) return fmt::format("counter {} would wrap around", frame.index);
    publish(counter, before + 1);
    return {};
  }
  if (frame.value < before)
    return fmt::format("counter {} would fall from {} to {}", frame.index, before, frame.value);
  announce(inbox_->latest, frame);
  inbox_->line.tag.store(frame.tag, std::memory_order_relaxed);
  publish(counter, frame.value);
  return {};
}

}  // namespace tutti
