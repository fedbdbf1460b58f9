// Control: joining, the collective calls of set-up, and the hand-over to the control thread.
#include "runtime/bootstrap/control.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <optional>
#include <utility>

#include "core/units.h"
#include "runtime/bootstrap/control_graph.h"
#include "runtime/bootstrap/control_join.h"
#include "runtime/bootstrap/control_service.h"
#include "runtime/bootstrap/rank_list.h"

namespace tutti {

namespace {

/// One all_gather. Entries go up the tree to rank 0 one by one as they come, and from there down to everybody, each passed on at
/// once; so rank 0 knows whose is missing, and nobody stores anything but the table itself.
class Gathering {
 public:
  Gathering(int rank, int size, uint32_t sequence, std::vector<Link>& links)
      : rank_(rank),
        sequence_(sequence),
        links_(links),
        table_(static_cast<size_t>(size)),
        have_(static_cast<size_t>(size), false) {}

  std::vector<std::string> run(const std::string& mine, uint64_t limit_ns) {
    const Deadline deadline(limit_ns);
    // Rank 0 knows most, so it speaks first.
    const Deadline patience(rank_ == 0 ? limit_ns : limit_ns + margin_of(limit_ns));
    bring(rank_, write_entry({sequence_, mine}), mine);
    // What has come while this rank was elsewhere may already have been read.
    for (Link& link : links_) {
      if (in_tree(link)) listen_to(link);
    }
    while (count_ < table_.size()) {
      if (patience.passed()) raise_missing(limit_ns);
      take_turn(patience);
    }
    while (unsent()) {
      if (patience.passed())
        raise(Result::timeout, "set-up: rank {} could not pass on a table within {}", rank_,
              format_duration(limit_ns));
      take_turn(patience);
    }
    return std::move(table_);
  }

 private:
  bool in_tree(const Link& link) const {
    return is_parent(link.rank(), rank_) || is_parent(rank_, link.rank());
  }

  bool unsent() const {
    return std::any_of(links_.begin(), links_.end(),
                       [&](const Link& l) { return in_tree(l) && l.unsent() > 0; });
  }

  void take_turn(const Deadline& deadline) {
    std::vector<pollfd> entries;
    for (const Link& link : links_) entries.push_back({in_tree(link) ? link.fd() : -1, wanted(link), 0});
    if (poll(entries.data(), entries.size(), deadline.poll_ms()) < 0) {
      if (errno == EINTR) return;
      raise_errno(errno, "poll");
    }
    for (size_t i = 0; i < links_.size(); ++i) {
      if (entries[i].revents != 0) listen_to(links_[i]);
    }
  }

  /// Once the table is complete, what comes belongs to the next call.
  short wanted(const Link& link) const {
    return count_ < table_.size() ? link.events() : static_cast<short>(link.events() & ~POLLIN);
  }

  void listen_to(Link& link) {
    link.flush();
    while (count_ < table_.size()) {
      link.receive();
      const std::optional<Frame> frame = link.next();
      if (frame) {
        handle(link, *frame);
        continue;
      }
      if (link.problem().empty()) return;
      raise(Result::peer_lost, "set-up: rank {} left during set-up: {} (seen by rank {})", link.rank(),
            link.problem(), rank_);
    }
  }

  void handle(const Link& link, const Frame& frame) {
    const int from = frame.header.rank;
    const std::optional<Entry> entry = read_entry(frame.payload);
    const bool upwards = frame.header.type == FrameType::entry && is_parent(rank_, link.rank());
    const bool downwards = frame.header.type == FrameType::table && is_parent(link.rank(), rank_);
    if (frame.header.type == FrameType::error || frame.header.type == FrameType::spread_error) {
      if (const std::optional<ErrorReport> report = read_error(frame.payload))
        throw Error(report->code, report->text);
    }
    if (!entry || (!upwards && !downwards) || from < 0 || static_cast<size_t>(from) >= table_.size() ||
        entry->sequence != sequence_) {
      raise(Result::internal_error,
            "set-up: rank {} sent an unexpected frame of type {} about rank {} to rank {} in all_gather {}",
            link.rank(), static_cast<int>(frame.header.type), from, rank_, sequence_);
    }
    if (upwards) {
      bring(from, frame.payload, entry->bytes);
    } else {
      accept(from, frame.payload, entry->bytes);
    }
  }

  /// An entry on its way up.
  void bring(int from, const std::string& payload, std::string_view bytes) {
    if (rank_ != 0) {
      send_to_parent(from, payload);
      return;
    }
    accept(from, payload, bytes);
  }

  void send_to_parent(int from, const std::string& payload) {
    for (Link& link : links_) {
      if (is_parent(link.rank(), rank_)) link.send(FrameType::entry, from, payload);
    }
  }

  /// An entry on its way down. At rank 0 it turns at once, though nobody needs it before the last one has come.
  void accept(int from, const std::string& payload, std::string_view bytes) {
    const auto index = static_cast<size_t>(from);
    if (have_[index]) {
      raise(Result::internal_error, "set-up: rank {} got the entry of rank {} twice in all_gather {}", rank_,
            from, sequence_);
    }
    have_[index] = true;
    ++count_;
    table_[index].assign(bytes);
    for (Link& link : links_) {
      if (is_parent(rank_, link.rank())) link.send(FrameType::table, from, payload);
    }
  }

  [[noreturn]] void raise_missing(uint64_t limit_ns) const {
    std::vector<size_t> missing;
    for (size_t r = 0; r < have_.size(); ++r) {
      if (!have_[r]) missing.push_back(r);
    }
    raise(Result::timeout,
          "set-up: {} did not take part in the exchange of tables within {} (seen by rank {})",
          rank_list(missing), format_duration(limit_ns), rank_);
  }

  const int rank_;
  const uint32_t sequence_;
  std::vector<Link>& links_;
  std::vector<std::string> table_;
  std::vector<bool> have_;
  size_t count_ = 0;
};

class ControlTree final : public Control {
 public:
  ControlTree(const ControlSettings& settings, Joined joined)
      : rank_(settings.rank),
        size_(settings.size),
        limit_ns_(settings.limit_ns),
        joined_(std::move(joined)) {}
  ControlTree(const ControlTree&) = delete;
  ControlTree& operator=(const ControlTree&) = delete;

  ~ControlTree() override {
    if (service_) service_->close();
  }

  std::vector<std::string> all_gather(const std::string& mine) override {
    if (failure_) throw Error(failure_->code(), failure_->what());
    if (service_) raise(Result::internal_error, "rank {}: all_gather after set-up", rank_);
    if (mine.size() > kMostEntry) {
      raise(Result::internal_error, "rank {}: all_gather of {} bytes, at most {} allowed", rank_, mine.size(),
            kMostEntry);
    }
    try {
      return Gathering(rank_, size_, sequence_++, joined_.links).run(mine, limit_ns_);
    } catch (const Error& e) {
      fail(e.code(), e.what());
      throw;
    }
  }

  void fail(Result code, const std::string& text) noexcept override {
    if (failure_ || service_) return;
    failure_.emplace(code, text);
    for (const Link& link : joined_.links) joined_.bytes += link.bytes();
    tell_failure(joined_.links, rank_, *failure_);
  }

  int64_t clock_offset_ns() const override { return joined_.clock_offset_ns; }
  uint64_t clock_error_ns() const override { return joined_.clock_error_ns; }

  void serve(ControlEvents events, std::vector<std::string> names) override {
    if (failure_) throw Error(failure_->code(), failure_->what());
    if (service_) raise(Result::internal_error, "rank {}: serve() was called twice", rank_);
    auto service = std::make_shared<ControlService>(rank_, size_, std::move(joined_.links), std::move(events),
                                                    std::move(names));
    ControlService::start(service);
    service_ = std::move(service);
  }

  void spread(Result code, const std::string& text) override { service().spread(code, text); }
  PeerState state(int rank) const override { return service().state(rank); }
  SurveyResult survey(uint64_t limit_ns) override { return service().survey(limit_ns); }
  void ask_stamps() override { service().ask_stamps(); }

  uint64_t bytes() const override {
    uint64_t sum = joined_.bytes;
    for (const Link& link : joined_.links) sum += link.bytes();
    return service_ ? sum + service_->bytes() : sum;
  }

 private:
  ControlService& service() const {
    if (!service_) raise(Result::internal_error, "rank {}: the control tree does not serve yet", rank_);
    return *service_;
  }

  const int rank_;
  const int size_;
  const uint64_t limit_ns_;
  Joined joined_;  // its links until serve()
  uint32_t sequence_ = 0;
  std::optional<Error> failure_;
  std::shared_ptr<ControlService> service_;
};

}  // namespace

std::unique_ptr<Control> Control::join(const UniqueId& id, const ControlSettings& settings) {
  id.check();
  if (settings.size < 1 || settings.rank < 0 || settings.rank >= settings.size) {
    raise(Result::invalid_argument, "rank {} of a communicator of {} ranks", settings.rank, settings.size);
  }
  return std::make_unique<ControlTree>(settings, join_control(id, settings));
}

}  // namespace tutti
