// What a communicator does when an operation does not complete: finds out why, and tells everybody.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>

#include <algorithm>

#include "core/clock.h"
#include "core/log.h"
#include "runtime/communicator/communicator.h"

namespace tutti {

namespace {

/// A rank that waits looks around every millisecond or so. One that has not for this long is stopped, or busy elsewhere.
constexpr uint64_t kSilenceNs = 100'000'000;

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

/// "rank 3", "ranks 1, 2 and 5": few enough to be read, and to fit the abort token.
std::string ranks_text(const std::vector<int>& ranks) {
  constexpr size_t kMost = 16;
  if (ranks.size() == 1) return fmt::format("rank {}", ranks.front());
  if (ranks.size() <= kMost) return fmt::format("ranks {}", fmt::join(ranks, ", "));
  return fmt::format("ranks {} and {} more", fmt::join(ranks.begin(), ranks.begin() + kMost, ", "),
                     ranks.size() - kMost);
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
  if (first_difference(peer, text)) return true;
  text =
      fmt::format("ranks called different operations before operation {}: rank {} and rank {} do not agree",
                  now, rank(), peer);
  return true;
}

/// The first operation in which the histories differ is what the user wants to know. False when both do not remember it.
bool Communicator::first_difference(int peer, std::string& text) const {
  const uint64_t now = head().epoch;
  const Announcement* theirs = endpoint_.peers[static_cast<size_t>(peer)].announcements;
  const Announcement* mine = endpoint_.self().announcements;
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
  return false;
}

void Communicator::find_mismatch() {
  if (!running_) return;
  publish(endpoint_.self().retired->alive, now_ns());
  std::string text;
  for (int peer = 0; peer < size(); ++peer) {
    if (peer != rank() && differs_from(peer, text)) {
      poison(Result::mismatch, text);
      return;
    }
  }
  if (const int peer = interpreter_.mismatched_peer(); peer >= 0) {
    if (!first_difference(peer, text)) {
      text =
          fmt::format("rank {} and rank {} called different operations before operation {} ({} on rank {})",
                      rank(), peer, head().epoch, describe(head().call), rank());
    }
    poison(Result::mismatch, text);
  }
}

bool Communicator::has_closed(int peer) const {
  return reached(endpoint_.peers[static_cast<size_t>(peer)].retired->closed, 1);
}

/// A peer that this rank waits for and that has destroyed its communicator or whose process has ended; -1: none.
int Communicator::first_lost() const {
  for (const int peer : interpreter_.awaited()) {
    if (peer == rank()) continue;
    const Member& member = node_->members[static_cast<size_t>(peer)];
    pollfd entry = {member.process.get(), POLLIN, 0};
    if (has_closed(peer) || (member.process && poll(&entry, 1, 0) == 1)) return peer;
  }
  return -1;
}

void Communicator::find_lost_peer() {
  if (!running_) return;
  const int peer = first_lost();
  if (peer < 0) return;
  // It may have done its part just before it left.
  const std::string text = position_text();
  const uint64_t before = head_;
  progress();
  if (!running_ || head_ != before) return;
  const std::vector<int>& still = interpreter_.awaited();
  if (std::find(still.begin(), still.end(), peer) == still.end()) return;
  poison(Result::peer_lost, has_closed(peer)
                                ? fmt::format("rank {} has destroyed its communicator; {}", peer, text)
                                : fmt::format("rank {} (process {}) has ended; {}", peer,
                                              node_->members[static_cast<size_t>(peer)].pid, text));
}

/// Who keeps the others waiting, where a rank may wait for one that itself waits: "; rank 3 has not begun it". Empty where
/// nobody stands out.
std::string Communicator::culprits() const {
  const host::Operation& operation = head().operation;
  const uint64_t now = now_ns();
  std::vector<int> late;
  std::vector<int> silent;
  for (int p = 0; p < size(); ++p) {
    const host::Peer& peer = endpoint_.peers[static_cast<size_t>(p)];
    // Whoever looks around waits for somebody else, in this operation or an earlier one.
    const bool waits = now < peer.retired->alive.load(std::memory_order_relaxed) + kSilenceNs;
    const bool finished = reached(peer.retired->slots, operation.slots.end) &&
                          reached(peer.retired->packets, operation.packets.end);
    if (p == rank() || waits || finished) continue;
    const auto& begun = peer.announcements[head().epoch % kAnnouncements].epoch;
    (begun.load(std::memory_order_acquire) < head().epoch ? late : silent).push_back(p);
  }
  std::string text;
  if (!late.empty())
    text += fmt::format("; {} {} not begun it", ranks_text(late), late.size() == 1 ? "has" : "have");
  if (!silent.empty()) {
    text += fmt::format("; {} {} begun it and {} silent", ranks_text(silent),
                        silent.size() == 1 ? "has" : "have", silent.size() == 1 ? "is" : "are");
  }
  return text;
}

/// "rank 1 waited for rank 0 in all_reduce of ... (operation 17, ring, step 3 (wait), slice 0 of 4)".
std::string Communicator::position_text() const {
  if (!running_) return fmt::format("rank {} waited", rank());
  return fmt::format("rank {} waited for {} in {} (operation {}, {}, {})", rank(),
                     ranks_text(interpreter_.awaited()), describe(head().call), head().epoch,
                     name_of(head().operation.plan->algorithm), interpreter_.position());
}

/// The same, and who is to blame.
std::string Communicator::waiting_text() const {
  return running_ ? position_text() + culprits() : position_text();
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
