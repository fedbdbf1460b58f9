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

}  // namespace

/// "rank 3", "ranks 1, 2 and 5": few enough to be read, and to fit the abort token.
std::string Communicator::ranks_text(const std::vector<int>& ranks) const {
  constexpr size_t kMost = 8;
  if (ranks.size() == 1) return rank_text(ranks.front());
  std::vector<std::string> names;
  for (const int rank : ranks) {
    if (names.size() == kMost) break;
    names.push_back(rank_text(rank).substr(std::string_view("rank ").size()));
  }
  const std::string rest =
      ranks.size() > kMost ? fmt::format(" and {} more", ranks.size() - kMost) : std::string();
  return fmt::format("ranks {}{}", fmt::join(names, ", "), rest);
}

/// Compares what this rank and `peer`, which is on this node, were asked to do, up to the operation that runs here.
bool Communicator::differs_from(int peer, std::string& text) const {
  const uint64_t now = head().epoch;
  const Announcement* theirs = endpoint_.peers[static_cast<size_t>(peer)].announcements;
  const Announcement* mine = endpoint_.self().announcements;
  const Said here = read_announcement(mine, now);
  const Said there = read_announcement(theirs, now);
  if (!there.known || here.signature == there.signature) return false;
  if (first_difference(peer, text)) return true;
  text = fmt::format("ranks called different operations before operation {}: {} and {} do not agree", now,
                     rank_text(rank()), rank_text(peer));
  return true;
}

/// The first operation in which the histories differ is what the user wants to know. False when both do not remember it.
bool Communicator::first_difference(int peer, std::string& text) const {
  const uint64_t now = head().epoch;
  const Announcement* mine = endpoint_.self().announcements;
  const Announcement* theirs = endpoint_.peer(peer).announcements;
  if (theirs == nullptr) {
    // Of a rank on another node only what it last signalled for is known.
    const Announcement& latest = endpoint_.peer(peer).inbox->latest;
    if (latest.epoch.load(std::memory_order_acquire) != now) return false;
    const Call there =
        unpack(latest.call.load(std::memory_order_acquire), latest.count.load(std::memory_order_acquire));
    if (there == head().call) return false;
    text =
        fmt::format("ranks called different operations: in operation {} {} called {}, {} called {}", now,
                    rank_text(rank()), tutti::describe(head().call), rank_text(peer), tutti::describe(there));
    return true;
  }
  const uint64_t oldest = now > kAnnouncements - 1 ? now - (kAnnouncements - 1) : 1;
  for (uint64_t epoch = oldest; epoch <= now; ++epoch) {
    const Said a = read_announcement(mine, epoch);
    const Said b = read_announcement(theirs, epoch);
    if (!a.known || !b.known || a.signature == b.signature) continue;
    text = fmt::format("ranks called different operations: in operation {} {} called {}, {} called {}", epoch,
                       rank_text(rank()), tutti::describe(a.call), rank_text(peer), tutti::describe(b.call));
    return true;
  }
  return false;
}

void Communicator::find_mismatch() {
  if (!running_) return;
  publish(endpoint_.self().retired->alive, now_ns());
  std::string text;
  for (const int peer : endpoint_.mapped) {
    if (peer != rank() && differs_from(peer, text)) {
      poison(Result::mismatch, text);
      return;
    }
  }
  if (const int peer = interpreter_.mismatched_peer(); peer >= 0) {
    if (!first_difference(peer, text)) {
      text =
          fmt::format("{} and {} called different operations before operation {} ({} on rank {})",
                      rank_text(rank()), rank_text(peer), head().epoch, tutti::describe(head().call), rank());
    }
    poison(Result::mismatch, text);
  }
}

bool Communicator::has_closed(int peer) const {
  if (!world_->is_mapped(peer)) {
    // Where nothing was ever sent, a transport may not hear of it; and nothing that came earlier can be overtaken.
    return world_->networks->has_left(peer) ||
           (!world_->networks->is_in_use(peer) && world_->control->state(peer) == PeerState::closed);
  }
  return reached(endpoint_.peer(peer).retired->closed, 1);
}

bool Communicator::has_ended(int peer) const {
  if (!world_->is_mapped(peer)) return world_->control->state(peer) == PeerState::ended;
  const Member& member = world_->member(peer);
  pollfd entry = {member.process.get(), POLLIN, 0};
  return member.process && poll(&entry, 1, 0) == 1;
}

/// A peer that this rank waits for and that has destroyed its communicator or whose process has ended; -1: none. Who has destroyed it has
/// what was sent: only the transport's word for that may still be missing, and the transport sees to that.
int Communicator::first_lost() const {
  for (const int peer : interpreter_.awaited()) {
    if (peer != rank() && (has_ended(peer) || (!interpreter_.is_draining() && has_closed(peer)))) return peer;
  }
  return -1;
}

void Communicator::find_lost_peer() {
  if (!running_ || find_broken_port()) return;
  const int peer = first_lost();
  if (peer < 0) return;
  // It may have done its part just before it left.
  const std::string text = position_text();
  const uint64_t before = head_;
  for (Poller* poller : pollers_) poller->advance();
  progress();
  if (!running_ || head_ != before) return;
  const std::vector<int>& still = interpreter_.awaited();
  if (std::find(still.begin(), still.end(), peer) == still.end()) return;
  if (!world_->is_mapped(peer) && !has_ended(peer) && !has_waited_for_news(suspected_since_)) return;
  poison(Result::peer_lost, lost_text(peer) + "; " + text);
}

/// A host that has died says nothing, and neither does the network, unless something is sent to it.
void Communicator::probe_awaited() {
  constexpr uint64_t kPauseNs = 1'000'000'000;
  const uint64_t now = now_ns();
  if (!running_ || !world_->networks || now < next_probe_ns_) return;
  next_probe_ns_ = now + kPauseNs;
  for (const int peer : interpreter_.awaited()) {
    if (!world_->is_mapped(peer)) world_->networks->probe(peer);
  }
}

std::string Communicator::lost_text(int peer) const {
  if (has_closed(peer)) return fmt::format("{} has destroyed its communicator", rank_text(peer));
  return fmt::format("{} (process {}) has ended", rank_text(peer), world_->pids[static_cast<size_t>(peer)]);
}

/// What a port tells of a peer (it has left, the connection broke) may be the consequence of an error that is still on its way through
/// the control tree, and is the better explanation. True once that has had its time; `since`: when this was asked first, 0 until then.
bool Communicator::has_waited_for_news(uint64_t& since) {
  constexpr uint64_t kPatienceNs = 500'000'000;
  const uint64_t now = now_ns();
  if (since == 0) since = now;
  return now - since >= kPatienceNs;
}

/// A connection that broke though its peer is there.
bool Communicator::is_unexplained(const PortTransport::Failure& failure) const {
  return !has_closed(failure.rank) && !has_ended(failure.rank);
}

std::string Communicator::broken_text(const PortTransport::Failure& failure) const {
  return fmt::format("the connection from {} to {} is broken: {}", rank_text(rank()), rank_text(failure.rank),
                     failure.text);
}

bool Communicator::find_broken_port() {
  if (!world_->networks) return false;
  const std::vector<int>& awaited = interpreter_.awaited();
  const PortTransport::Failure* failure =
      world_->networks->first_failure([&](const PortTransport::Failure& candidate) {
        return std::ranges::find(awaited, candidate.rank) != awaited.end() && is_unexplained(candidate);
      });
  if (failure == nullptr) return false;
  if (!has_waited_for_news(suspected_since_)) return true;
  poison(Result::peer_lost, broken_text(*failure) + "; " + position_text());
  return true;
}

/// Books the time since the last look on those that are awaited.
void Communicator::count_waiting(uint64_t waited_ticks) {
  if (!running_ || waited_ticks < counted_) return;
  for (const int peer : interpreter_.awaited()) {
    waited_for_[static_cast<size_t>(peer)] += waited_ticks - counted_;
  }
  counted_ = waited_ticks;
}

/// Who keeps the others waiting, where a rank may wait for one that itself waits: "; rank 3 has not begun it". Empty where
/// nobody stands out.
std::string Communicator::culprits() const {
  const uint64_t now = now_ns();
  std::vector<int> late;
  std::vector<int> silent;
  for (const int p : endpoint_.mapped) {
    const host::Peer& peer = endpoint_.peer(p);
    // Whoever looks around waits for somebody else, in this operation or an earlier one.
    const bool waits = now < peer.retired->alive.load(std::memory_order_relaxed) + kSilenceNs;
    const bool finished = reached(peer.retired->finished, head().epoch);
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
  return text + culprits_elsewhere();
}

/// How long ranks of other nodes may take to say where they stand.
uint64_t Communicator::survey_ns() const {
  constexpr uint64_t kLongest = 1'000'000'000;
  return world_->control ? std::min(kLongest, settings_.timeout_ns / 4) : 0;
}

/// The same for ranks of other nodes: they are asked.
std::string Communicator::culprits_elsewhere() const {
  if (!world_->control) return "";
  const SurveyResult survey = world_->control->survey(survey_ns());
  std::vector<int> late;
  std::vector<int> silent;
  for (const RankStatus& status : survey.answers) {
    const bool waits = status.since_waiting_ns < kSilenceNs;
    if (world_->is_mapped(status.rank) || waits || status.epoch > head().epoch) continue;
    if (status.epoch < head().epoch) late.push_back(status.rank);
    if (status.epoch == head().epoch && (status.flags & RankStatus::kInOperation) != 0)
      silent.push_back(status.rank);
  }
  std::string text;
  if (!late.empty())
    text += fmt::format("; {} {} not begun it", ranks_text(late), late.size() == 1 ? "has" : "have");
  if (!silent.empty()) {
    text += fmt::format("; {} {} begun it and {} silent", ranks_text(silent),
                        silent.size() == 1 ? "has" : "have", silent.size() == 1 ? "is" : "are");
  }
  if (!survey.silent.empty()) {
    text += fmt::format("; {} {} not answer: stopped, or out of reach", ranks_text(survey.silent),
                        survey.silent.size() == 1 ? "does" : "do");
  }
  return text;
}

/// "rank 1 waited for rank 0 in all_reduce of ... (operation 17, ring, step 3 (wait), slice 0 of 4)".
std::string Communicator::position_text() const {
  if (!running_) return fmt::format("{} waited", rank_text(rank()));
  return fmt::format("{} waited for {} in {} (operation {}, {}, {})", rank_text(rank()),
                     ranks_text(interpreter_.awaited()), tutti::describe(head().call), head().epoch,
                     name_of(head().operation.plan->algorithm), interpreter_.position());
}

/// The same, and who is to blame.
std::string Communicator::waiting_text() const {
  return running_ ? position_text() + culprits() : position_text();
}

/// True when the deadline has passed. A little before it, who is to blame is found out, which takes asking other nodes.
bool Communicator::is_overdue(uint64_t waited_ns) {
  if (!surveyed_ && waited_ns + survey_ns() >= settings_.timeout_ns) {
    surveyed_ = true;
    culprits_ = running_ ? culprits() : "";
  }
  return waited_ns >= settings_.timeout_ns;
}

void Communicator::warn_of_late(uint64_t waited_ns) {
  if (warned_) return;
  warned_ = true;
  log(Level::warn, "{} for {:.3g} s so far; it goes on waiting up to {:.3g} s", waiting_text(),
      static_cast<double>(waited_ns) * 1e-9, static_cast<double>(settings_.timeout_ns) * 1e-9);
}

Result Communicator::poison(Result code, const std::string& what) {
  spread(code, what);
  // Another rank's error may have come first: then that is the one everybody reports. A rank that is just writing its
  // text is waited for briefly; should it have died in the middle, the own error stands.
  for (int turn = 0; turn < 1'000'000 && !abort_.raised(); ++turn) cpu_relax();
  if (abort_.raised()) return adopt_poison();
  give_up();
  poisoned_ = code;
  poison_text_ = what;
  error_text_ = what;
  return code;
}

/// Nobody uses the buffers of an operation that this rank returns from with an error.
void Communicator::give_up() {
  if (running_) interpreter_.withdraw();
  if (world_->networks) {
    const std::unique_lock taken = take_custody();
    world_->networks->abandon();
  }
  if (device_) device_->give_up();
}

Result Communicator::adopt_poison() {
  if (poisoned_ == Result::success) {
    poisoned_ = abort_.code();
    poison_text_ = abort_.text();
    if (abort_.rank() != rank()) poison_text_ += fmt::format(" (found by {})", rank_text(abort_.rank()));
    log(Level::error, "communicator of {} ranks is poisoned: {}", size(), poison_text_);
    give_up();
    head_ = tail_;
    running_ = false;
  }
  error_text_ = poison_text_;
  return poisoned_;
}

/// To the ranks of this node through shared memory, to the others over the control tree.
void Communicator::spread(Result code, const std::string& what) {
  abort_.raise(code, rank(), what);
  endpoint_.wake_all();
  if (world_->control) world_->control->spread(code, what);
}

void Communicator::abort() {
  spread(Result::aborted, fmt::format("{} aborted the communicator", rank_text(rank())));
  if (device_) device_->give_up();
}

Result Communicator::query() {
  if (const Result failed = look_for_device_failure(); failed != Result::success) return failed;
  const std::unique_lock taken = take_custody();
  // Nobody waits for operations on a device, so nobody else would notice.
  for (int peer = 0; device_ && peer < size(); ++peer) {
    if (peer != rank() && has_ended(peer)) return poison(Result::peer_lost, lost_text(peer));
  }
  return Result::success;
}

// ---- the control thread ---------------------------------------------------------------------------------------------------

void Communicator::serve_control() {
  ControlEvents events;
  events.failed = [this](Result code, int from, const std::string& text) {
    AbortToken(abort_).raise(code, from, text);
    endpoint_.wake_all();
    if (endpoint_.sleepers->sleeping(world_->place())) Sleeper::wake(endpoint_.self().wake_descriptor);
  };
  events.status = [this] { return status(); };
  if (world_->networks) events.look_after = [this] { return look_after(); };
  serve_job_statistics(job_statistics_, *world_, events);
  world_->control->serve(std::move(events), world_->placement.rank_names());
}

/// A rank in a call looks after itself.
uint64_t Communicator::look_after() {
  constexpr uint64_t kLaterNs = 200'000'000;
  if (abort_.raised()) return UINT64_MAX;
  std::unique_lock taken(custody_, std::try_to_lock);
  if (!taken) return kLaterNs;
  const uint64_t next = world_->networks->look_after();
  const std::string lost = undelivered_text();
  if (lost.empty()) undelivered_since_ = 0;
  const bool is_news = !lost.empty() && has_waited_for_news(undelivered_since_);
  taken.unlock();
  if (is_news) spread(Result::peer_lost, lost);
  return next;
}

/// What a peer may wait for that this rank has done and cannot deliver; empty: nothing.
std::string Communicator::undelivered_text() const {
  const PortTransport::Failure* failure =
      world_->networks->first_failure([&](const PortTransport::Failure& candidate) {
        return is_unexplained(candidate) && world_->control->state(candidate.rank) == PeerState::alive;
      });
  return failure == nullptr ? std::string() : broken_text(*failure);
}

void Communicator::leave_networks() {
  constexpr uint64_t kPatienceNs = 5'000'000'000;
  constexpr uint64_t kPatienceAfterErrorNs = 200'000'000;
  custody_.lock();  // for good
  const bool has_failed = abort_.raised() || poisoned_ != Result::success;
  if (has_failed) world_->networks->abandon();
  world_->networks->close(has_failed ? kPatienceAfterErrorNs : kPatienceNs);
  const std::string lost = undelivered_text();
  if (!lost.empty() && !has_failed && !abort_.raised()) spread(Result::peer_lost, lost);
}

/// From what this rank shows to its node: asked on the control thread while the rank may be anywhere.
RankStatus Communicator::status() const {
  const host::Peer& self = endpoint_.self();
  RankStatus status;
  status.rank = rank();
  for (int i = 0; i < kAnnouncements; ++i) {
    status.epoch = std::max(status.epoch, self.announcements[i].epoch.load(std::memory_order_acquire));
  }
  const uint64_t looked = self.retired->alive.load(std::memory_order_relaxed);
  status.since_waiting_ns = looked == 0 ? UINT64_MAX : now_ns() - looked;
  if (finished_epoch_.load(std::memory_order_relaxed) < status.epoch)
    status.flags |= RankStatus::kInOperation;
  return status;
}

}  // namespace tutti
