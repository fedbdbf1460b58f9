#include "runtime/bootstrap/control_service.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>

#include "core/clock.h"
#include "core/log.h"
#include "core/units.h"
#include "runtime/bootstrap/control_graph.h"

namespace tutti {

namespace {

constexpr uint64_t kPartingNs = 1'000'000'000;

bool shares_parents_counter(int rank, const std::vector<int>& nodes) {
  if (rank == 0 || nodes.empty()) return false;
  return nodes[static_cast<size_t>(rank)] == nodes[static_cast<size_t>(parent_of(rank))];
}

}  // namespace

ControlService::ControlService(int rank, int size, std::vector<Link> links, ControlEvents events,
                               std::vector<std::string> names)
    : rank_(rank),
      size_(size),
      names_(std::move(names)),
      process_(getpid()),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      states_(static_cast<size_t>(size)),
      events_(std::move(events)),
      clock_(rank == 0, shares_parents_counter(rank, events_.nodes)) {
  if (!wake_) raise_errno(errno, "an eventfd for the control thread");
  const uint64_t now = now_ns();
  for (Link& link : links) peers_.push_back({std::move(link), now});
  next_beat_ns_ = now + kHeartbeatNs;
  if (events_.stamps) next_stamps_ns_ = now;
  if (events_.look_after) next_look_ns_ = now;
}

void ControlService::start(const std::shared_ptr<ControlService>& service) {
  try {
    std::thread([service] { service->run(); }).detach();
  } catch (const std::system_error& e) {
    raise(Result::system_error, "rank {}: starting the control thread: {}", service->rank_, e.what());
  }
}

// ---- any thread -------------------------------------------------------------------------------------------------------

void ControlService::wake() {
  const uint64_t one = 1;
  // It can only fail by being full, which wakes just as well.
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof(one));
}

void ControlService::spread(Result code, const std::string& text) {
  {
    const std::lock_guard lock(mutex_);
    commands_.errors.emplace_back(code, text);
  }
  wake();
}

void ControlService::ask_stamps() {
  if (process_ != getpid()) return;
  {
    const std::lock_guard lock(mutex_);
    commands_.stamps = true;
  }
  wake();
}

PeerState ControlService::state(int rank) const {
  if (rank < 0 || rank >= size_)
    raise(Result::internal_error, "the state of rank {} of {} was asked for", rank, size_);
  return static_cast<PeerState>(states_[static_cast<size_t>(rank)].load(std::memory_order_acquire));
}

SurveyResult ControlService::survey(uint64_t limit_ns) {
  const std::lock_guard one_at_a_time(survey_mutex_);
  SurveyResult result;
  if (process_ != getpid()) return result;
  std::unique_lock lock(mutex_);
  ++survey_number_;
  surveying_ = true;
  found_ = {};
  commands_.survey = true;
  wake();
  const auto complete = [&] {
    std::vector<bool> answered(static_cast<size_t>(size_), false);
    for (const RankStatus& s : found_.answers) answered[static_cast<size_t>(s.rank)] = true;
    for (int r = 0; r < size_; ++r) {
      if (!answered[static_cast<size_t>(r)] && state(r) == PeerState::alive) return closed_;
    }
    return true;
  };
  const uint64_t longest = std::min<uint64_t>(limit_ns, uint64_t{24} * 3600 * 1'000'000'000);
  changed_.wait_until(lock, std::chrono::steady_clock::now() + std::chrono::nanoseconds(longest), complete);
  surveying_ = false;
  result = std::move(found_);
  lock.unlock();

  std::sort(result.answers.begin(), result.answers.end(),
            [](const RankStatus& a, const RankStatus& b) { return a.rank < b.rank; });
  std::vector<bool> answered(static_cast<size_t>(size_), false);
  for (const RankStatus& s : result.answers) answered[static_cast<size_t>(s.rank)] = true;
  for (int r = 0; r < size_; ++r) {
    if (!answered[static_cast<size_t>(r)] && state(r) == PeerState::alive && reached(answered, r)) {
      result.silent.push_back(r);
    }
  }
  return result;
}

/// A rank whose neighbours have all not answered may be well: the query has not come there.
bool ControlService::reached(const std::vector<bool>& answered, int rank) const {
  const std::vector<int> neighbours = neighbours_of(rank, size_);
  return rank == rank_ || std::any_of(neighbours.begin(), neighbours.end(),
                                      [&](int n) { return answered[static_cast<size_t>(n)]; });
}

void ControlService::close() {
  if (process_ != getpid()) return;  // a child process has no such thread
  std::unique_lock lock(mutex_);
  commands_.close = true;
  wake();
  changed_.wait(lock, [&] { return closed_; });
}

// ---- the thread -------------------------------------------------------------------------------------------------------

void ControlService::run() {
  const ScopedLogRank log_rank(rank_);
  // What came during set-up and was left to this thread.
  for (size_t i = 0; i < peers_.size(); ++i) listen_to(i);
  remove_ended();
  while (!may_leave()) {
    wait();
    serve_commands();
    remove_ended();
    if (now_ns() >= next_beat_ns_) beat();
    if (keeps_clock() && now_ns() >= clock_.next_ns()) ask_parent(clock_.begin(now_ns()));
    if (now_ns() >= next_stamps_ns_) tell_stamps();
    if (now_ns() >= next_look_ns_) look_after();
    count_bytes();
  }
  std::vector<Link> links;
  for (Peer& peer : peers_) links.push_back(std::move(peer.link));
  part_from(links, kPartingNs);
}

void ControlService::wait() {
  std::vector<pollfd> entries = {{wake_.get(), POLLIN, 0}};
  for (const Peer& peer : peers_) entries.push_back({peer.link.fd(), peer.link.events(), 0});
  const uint64_t now = now_ns();
  uint64_t next = std::min({next_beat_ns_, next_stamps_ns_, next_look_ns_});
  if (keeps_clock()) next = std::min(next, clock_.next_ns());
  const uint64_t pause = next > now ? next - now : 0;
  if (poll(entries.data(), entries.size(), static_cast<int>(pause / 1'000'000 + 1)) <= 0) return;
  for (size_t i = 0; i < peers_.size(); ++i) {
    if (entries[i + 1].revents != 0) listen_to(i);
  }
  if (entries[0].revents == 0) return;
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t taken = read(wake_.get(), &count, sizeof(count));
}

void ControlService::serve_commands() {
  Commands commands;
  {
    const std::lock_guard lock(mutex_);
    std::swap(commands, commands_);
  }
  for (const auto& [code, text] : commands.errors) {
    if (error_passed_on_) break;
    error_passed_on_ = true;
    flood(-1, FrameType::spread_error, rank_, write_error(code, text));
  }
  if (commands.survey) start_survey();
  if (commands.stamps) ask_children_for_stamps();
  if (!commands.close || closing_) return;
  if (events_.stamps) tell_stamps();
  next_stamps_ns_ = next_look_ns_ = UINT64_MAX;
  closing_ = true;
  const std::vector<int> nodes = std::move(events_.nodes);  // children still want to know the time
  events_ = {};
  events_.nodes = nodes;
  states_[static_cast<size_t>(rank_)].store(static_cast<uint8_t>(PeerState::closed),
                                            std::memory_order_release);
  flood(-1, FrameType::gone, rank_, write_gone(PeerState::closed));
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void ControlService::start_survey() {
  uint32_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    number = survey_number_;
  }
  if (events_.status) {
    RankStatus own = events_.status();
    own.rank = rank_;
    add_answer(own);
  }
  flood(-1, FrameType::query, rank_, write_query(number));
}

void ControlService::listen_to(size_t index) {
  Link& link = peers_[index].link;
  link.flush();
  for (int readings = 0; readings < 16; ++readings) {
    link.receive();
    bool any = false;
    while (const std::optional<Frame> frame = link.next()) {
      any = true;
      peers_[index].heard_ns = now_ns();
      handle(link.rank(), *frame);
    }
    if (!any) return;
  }
}

void ControlService::handle(int from, const Frame& frame) {
  const int about = frame.header.rank;
  if (about < 0 || about >= size_) {
    log(Level::debug, "control: {} sent a frame about rank {} of {}", name(from), about, size_);
    return;
  }
  switch (frame.header.type) {
    case FrameType::spread_error:
      hear_error(from, frame);
      return;
    case FrameType::gone:
      if (const std::optional<PeerState> state = read_gone(frame.payload)) hear_gone(from, about, *state);
      return;
    case FrameType::query:
      hear_query(from, frame);
      return;
    case FrameType::answer:
      hear_answer(frame);
      return;
    case FrameType::heartbeat:
      return;
    case FrameType::time_query:
      hear_time_query(from, frame);
      return;
    case FrameType::time_answer:
      hear_time_answer(from, frame);
      return;
    case FrameType::stamps:
      pass_on_stamps(from, frame);
      return;
    case FrameType::ask_stamps:
      if (is_parent(from, rank_)) ask_children_for_stamps();
      return;
    default:
      log(Level::debug, "control: {} sent a frame of type {} that does not belong here", name(from),
          static_cast<int>(frame.header.type));
  }
}

void ControlService::hear_error(int from, const Frame& frame) {
  const std::optional<ErrorReport> report = read_error(frame.payload);
  if (!report || frame.header.rank == rank_) return;
  if (!error_passed_on_) {
    error_passed_on_ = true;
    flood(from, FrameType::spread_error, frame.header.rank, frame.payload);
  }
  if (failed_called_) return;
  failed_called_ = true;
  if (events_.failed) events_.failed(report->code, frame.header.rank, report->text);
}

void ControlService::hear_gone(int from, int rank, PeerState state) {
  std::atomic<uint8_t>& known = states_[static_cast<size_t>(rank)];
  if (rank == rank_ || known.load(std::memory_order_relaxed) != static_cast<uint8_t>(PeerState::alive))
    return;
  known.store(static_cast<uint8_t>(state), std::memory_order_release);
  flood(from, FrameType::gone, rank, write_gone(state));
  log(Level::info, "control: {} has {}", name(rank),
      state == PeerState::closed ? "destroyed its communicator" : "ended");
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

void ControlService::hear_query(int from, const Frame& frame) {
  const std::optional<uint32_t> number = read_query(frame.payload);
  const int asker = frame.header.rank;
  if (!number || asker == rank_) return;
  Route& route = routes_[asker];
  if (route.towards >= 0 && static_cast<int32_t>(*number - route.number) <= 0) return;
  route = {*number, from};
  flood(from, FrameType::query, asker, frame.payload);
  if (!events_.status) return;
  const RankStatus own = events_.status();
  for (Peer& peer : peers_) {
    if (peer.link.rank() == from)
      peer.link.send(FrameType::answer, rank_, write_answer({asker, *number, own}));
  }
}

void ControlService::hear_answer(const Frame& frame) {
  const std::optional<Answer> answer = read_answer(frame.payload);
  if (!answer) return;
  if (answer->asker == rank_) {
    {
      const std::lock_guard lock(mutex_);
      if (!surveying_ || answer->number != survey_number_) return;
    }
    RankStatus status = answer->status;
    status.rank = frame.header.rank;
    add_answer(status);
    return;
  }
  const auto route = routes_.find(answer->asker);
  if (route == routes_.end() || route->second.number != answer->number) return;
  for (Peer& peer : peers_) {
    if (peer.link.rank() != route->second.towards || peer.link.unsent() > kMostUnsent) continue;
    peer.link.send(FrameType::answer, frame.header.rank, frame.payload);
  }
}

void ControlService::add_answer(const RankStatus& status) {
  const std::lock_guard lock(mutex_);
  const bool known = std::any_of(found_.answers.begin(), found_.answers.end(),
                                 [&](const RankStatus& s) { return s.rank == status.rank; });
  if (!surveying_ || known) return;
  found_.answers.push_back(status);
  changed_.notify_all();
}

// ---- clock and stamps

Link* ControlService::link_to(int rank) {
  const auto found =
      std::find_if(peers_.begin(), peers_.end(), [&](const Peer& p) { return p.link.rank() == rank; });
  return found == peers_.end() ? nullptr : &found->link;
}

void ControlService::ask_parent(const std::string& query) {
  Link* parent = link_to(parent_of(rank_));
  // A query that waits here for others to be sent would measure that.
  if (parent != nullptr && parent->unsent() == 0) parent->send(FrameType::time_query, rank_, query);
}

void ControlService::hear_time_query(int from, const Frame& frame) {
  const std::optional<std::array<uint64_t, 2>> sent = read_numbers(frame.payload);
  Link* child = link_to(from);
  if (!sent || child == nullptr || !keeps_clock() || !is_parent(rank_, from)) return;
  if (child->unsent() == 0)
    child->send(FrameType::time_answer, rank_, write_time_answer(clock_.answer((*sent)[0])));
}

void ControlService::hear_time_answer(int from, const Frame& frame) {
  const std::optional<TimeAnswer> answer = read_time_answer(frame.payload);
  if (!answer || !keeps_clock() || !is_parent(from, rank_)) return;
  const bool knew = clock_.to_root().has_value();
  if (const std::optional<std::string> query = clock_.hear(*answer)) ask_parent(*query);
  if (!knew && events_.stamps) tell_stamps();
}

/// What this node's ranks did, as far as the time of rank 0 is known by now.
void ControlService::tell_stamps() {
  const std::optional<ClockMap> to_root = clock_.to_root();
  next_stamps_ns_ = UINT64_MAX;
  if (!to_root || !events_.stamps) return;
  std::vector<StampBatch> batches;
  next_stamps_ns_ = now_ns() + events_.stamps(*to_root, batches);
  for (const StampBatch& batch : batches) {
    if (rank_ == 0) {
      if (events_.heard_stamps) events_.heard_stamps(batch);
    } else if (Link* parent = link_to(parent_of(rank_));
               parent != nullptr && parent->unsent() <= kMostUnsent) {
      parent->send(FrameType::stamps, rank_, write_stamps(batch));
    }
  }
}

void ControlService::pass_on_stamps(int from, const Frame& frame) {
  if (!is_parent(rank_, from)) return;
  if (rank_ == 0) {
    const std::optional<StampBatch> batch = read_stamps(frame.payload);
    if (batch && events_.heard_stamps) events_.heard_stamps(*batch);
    return;
  }
  Link* parent = link_to(parent_of(rank_));
  if (parent != nullptr && parent->unsent() <= kMostUnsent)
    parent->send(FrameType::stamps, frame.header.rank, frame.payload);
}

void ControlService::ask_children_for_stamps() {
  for (Peer& peer : peers_) {
    if (is_parent(rank_, peer.link.rank())) peer.link.send(FrameType::ask_stamps, rank_);
  }
  if (events_.stamps) tell_stamps();
}

void ControlService::flood(int except, FrameType type, int rank, const std::string& payload) {
  for (Peer& peer : peers_) {
    if (peer.link.rank() == except) continue;
    if (type == FrameType::query && peer.link.unsent() > kMostUnsent) continue;
    peer.link.send(type, rank, payload);
  }
}

/// Forgets connections that have ended, and tells of the ranks behind them.
void ControlService::remove_ended() {
  for (size_t i = peers_.size(); i-- > 0;) {
    const Link& link = peers_[i].link;
    if (link.problem().empty()) continue;
    const int rank = link.rank();
    const std::string problem = link.problem();
    closed_bytes_ += link.bytes();
    peers_.erase(peers_.begin() + static_cast<ptrdiff_t>(i));
    if (state(rank) != PeerState::alive) continue;
    log(Level::info, "control: the connection to {} has ended: {}", name(rank), problem);
    hear_gone(rank, rank, PeerState::ended);
  }
}

void ControlService::beat() {
  const uint64_t now = now_ns();
  next_beat_ns_ = now + kHeartbeatNs;
  for (Peer& peer : peers_) {
    if (peer.link.unsent() == 0) peer.link.send(FrameType::heartbeat, rank_);
    const bool silent = now - peer.heard_ns > kSilentNs && state(peer.link.rank()) == PeerState::alive;
    if (silent && !peer.complained && !closing_) {
      log(Level::warn, "control: nothing has come from {} for {}: it stands still, or the network to it does",
          name(peer.link.rank()), format_duration_short(now - peer.heard_ns));
    }
    peer.complained = silent;
  }
}

void ControlService::look_after() {
  const uint64_t pause = events_.look_after();
  next_look_ns_ = pause == UINT64_MAX ? UINT64_MAX : now_ns() + pause;
}

bool ControlService::may_leave() {
  if (!closing_) return false;
  const auto is_gone = [&](int rank) { return state(rank) != PeerState::alive; };
  bool all = true;
  for (int r = 0; r < size_ && all; ++r) all = is_gone(r);
  if (all || peers_.empty()) return true;
  if (!std::all_of(peers_.begin(), peers_.end(), [&](const Peer& p) { return is_gone(p.link.rank()); }))
    return false;
  const uint64_t now = now_ns();
  if (alone_since_ns_ == 0) alone_since_ns_ = now;
  return now - alone_since_ns_ > kLingerNs;
}

void ControlService::count_bytes() {
  uint64_t sum = closed_bytes_;
  for (const Peer& peer : peers_) sum += peer.link.bytes();
  bytes_.store(sum, std::memory_order_relaxed);
}

std::string ControlService::name(int rank) const {
  const auto index = static_cast<size_t>(rank);
  return index < names_.size() ? names_[index] : fmt::format("rank {}", rank);
}

}  // namespace tutti
