// What a communicator does when an operation does not complete: finds out why, and tells everybody.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>

#include <algorithm>

#include "core/log.h"
#include "runtime/communicator/communicator.h"

namespace tutti {

namespace {

struct Said {
  Call call;
  uint64_t signature = 0;
  bool known = false;  // false when that epoch has not begun yet or is long past
};

Said read_announcement(const Announcement* ring, uint64_t epoch) {
  const Announcement& slot = ring[epoch % kAnnouncements];
  Said said;
  if (slot.epoch.load(std::memory_order_acquire) != epoch) return said;
  const uint64_t count = slot.count.load(std::memory_order_acquire);
  const uint64_t call = slot.call.load(std::memory_order_acquire);
  said.signature = slot.signature.load(std::memory_order_acquire);
  said.known = slot.epoch.load(std::memory_order_relaxed) == epoch;
  said.call = unpack(call, count);
  return said;
}

}  // namespace

/// Compares what this rank and `peer` were asked to do, up to the operation that runs here.
bool Communicator::differs_from(int peer, std::string& text) const {
  const uint64_t now = head().epoch;
  const Announcement* theirs = endpoint_.peers[static_cast<size_t>(peer)].announcements;
  const Announcement* mine = endpoint_.self().announcements;
  const Said here = read_announcement(mine, now);
  const Said there = read_announcement(theirs, now);
  if (!there.known || here.signature == there.signature) return false;
  // The histories differ; the first operation in which they do is what the user wants to know.
  const uint64_t oldest = now > kAnnouncements - 1 ? now - (kAnnouncements - 1) : 1;
  for (uint64_t epoch = oldest; epoch <= now; ++epoch) {
    const Said a = read_announcement(mine, epoch);
    const Said b = read_announcement(theirs, epoch);
    if (!a.known || !b.known || a.signature == b.signature) continue;
    text =
        fmt::format("ranks called different operations: in operation {} rank {} called {}, rank {} called {}",
                    epoch, rank(), describe(a.call), peer, describe(b.call));
    return true;
  }
  text =
      fmt::format("ranks called different operations before operation {}: rank {} and rank {} do not agree",
                  now, rank(), peer);
  return true;
}

void Communicator::find_mismatch() {
  if (!running_) return;
  std::string text;
  for (int peer = 0; peer < size(); ++peer) {
    if (peer != rank() && differs_from(peer, text)) {
      poison(Result::mismatch, text);
      return;
    }
  }
  if (const int peer = interpreter_.mismatched_peer(); peer >= 0) {
    poison(Result::mismatch,
           fmt::format("rank {} and rank {} called different operations before operation {} ({} on rank {})",
                       rank(), peer, head().epoch, describe(head().call), rank()));
  }
}

/// A peer that has destroyed its communicator or whose process has ended, and that this rank waits for.
void Communicator::find_lost_peer() {
  if (!running_) return;
  for (const int peer : interpreter_.awaited()) {
    if (peer == rank()) continue;
    const bool closed = reached(endpoint_.peers[static_cast<size_t>(peer)].retired->closed, 1);
    bool ended = false;
    const Member& member = node_->members[static_cast<size_t>(peer)];
    if (!closed && member.process) {
      pollfd entry = {member.process.get(), POLLIN, 0};
      ended = poll(&entry, 1, 0) == 1;
    }
    if (!closed && !ended) continue;
    // It may have done its part just before it left.
    const std::string text = waiting_text();
    const uint64_t before = head_;
    progress();
    if (!running_ || head_ != before) return;
    const std::vector<int> still = interpreter_.awaited();
    if (std::find(still.begin(), still.end(), peer) == still.end()) continue;
    poison(Result::peer_lost,
           closed ? fmt::format("rank {} has destroyed its communicator; {}", peer, text)
                  : fmt::format("rank {} (process {}) has ended; {}", peer, member.pid, text));
    return;
  }
}

/// "rank 1 waited for rank 3 in all_reduce of ... (operation 17, two_shot, step 3 (wait), slice 0 of 4)".
std::string Communicator::waiting_text() const {
  if (!running_) return fmt::format("rank {} waited", rank());
  const std::vector<int> awaited = interpreter_.awaited();
  return fmt::format("rank {} waited for rank{} {} in {} (operation {}, {}, {})", rank(),
                     awaited.size() == 1 ? "" : "s", fmt::join(awaited, ", "), describe(head().call),
                     head().epoch, name_of(head().operation.plan->algorithm), interpreter_.position());
}

void Communicator::warn_of_late(uint64_t waited_ns) {
  if (warned_) return;
  warned_ = true;
  log(Level::warn, "{} for {:.3g} s so far; it goes on waiting up to {:.3g} s", waiting_text(),
      static_cast<double>(waited_ns) * 1e-9, static_cast<double>(settings_.timeout_ns) * 1e-9);
}

Result Communicator::poison(Result code, const std::string& what) {
  abort_.raise(code, rank(), what);
  endpoint_.wake_all();
  // Another rank's error may have come first: then that is the one everybody reports. A rank that is just writing its
  // text is waited for briefly; should it have died in the middle, the own error stands.
  for (int turn = 0; turn < 1'000'000 && !abort_.raised(); ++turn) cpu_relax();
  if (abort_.raised()) return adopt_poison();
  poisoned_ = code;
  poison_text_ = what;
  error_text_ = what;
  return code;
}

Result Communicator::adopt_poison() {
  if (poisoned_ == Result::success) {
    poisoned_ = abort_.code();
    poison_text_ = abort_.text();
    if (abort_.rank() != rank()) poison_text_ += fmt::format(" (found by rank {})", abort_.rank());
    log(Level::error, "communicator of {} ranks is poisoned: {}", size(), poison_text_);
    head_ = tail_;
    running_ = false;
  }
  error_text_ = poison_text_;
  return poisoned_;
}

void Communicator::abort() {
  abort_.raise(Result::aborted, rank(), fmt::format("rank {} aborted the communicator", rank()));
  endpoint_.wake_all();
}

Result Communicator::query() {
  if (poisoned_ != Result::success || abort_.raised()) return adopt_poison();
  return Result::success;
}

}  // namespace tutti
