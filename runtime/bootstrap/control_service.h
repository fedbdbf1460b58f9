// The control tree after set-up: one thread per communicator, which sleeps until something comes.
//
// Flooding. What all ranks shall know travels over every connection: a rank that hears it for the first time passes it on to
// all neighbours but the one it came from. Passed on are: the first error this rank hears of, and for each rank that it is gone.
// A survey floods a query; each rank answers on the connection by which the query came first, and passes others' answers on by
// the same way, so that a rank that stands still hides only those that are connected through it alone.
//
// Leaving. A rank that closes says so (`gone`, closed); a connection that ends without it means that the process at its other
// end has ended, which is flooded likewise. A rank that has closed still passes on what comes: its thread lives on, owning
// what it needs, until all ranks are gone, or all neighbours have been for kLingerNs; at the end of the process it just ends. It
// calls no event any more: close() waits until an event in progress has returned, and for nothing else.
//
// Clock and stamps, where there are several nodes. They use the tree alone: a rank asks its parent for the time (control_clock.h), a rank
// of each node sends what its ranks did in batches to its parent, which passes them on to rank 0. Batches are left out where too much
// waits to be sent already, and lost where a rank on the way has ended: rank 0 counts what it has not heard of.
//
// Each second every connection carries a heartbeat, so that a network that drops idle connections does not, and so that one that
// has become silent is seen: that is logged, and never taken for an end.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/descriptor.h"
#include "runtime/bootstrap/control.h"
#include "runtime/bootstrap/control_clock.h"
#include "runtime/bootstrap/control_link.h"

namespace tutti {

class ControlService {
 public:
  ControlService(int rank, int size, std::vector<Link> links, ControlEvents events,
                 std::vector<std::string> names);

  /// Starts the thread, which shares the ownership.
  static void start(const std::shared_ptr<ControlService>& service);

  // ---- any thread
  void spread(Result code, const std::string& text);
  PeerState state(int rank) const;
  SurveyResult survey(uint64_t limit_ns);
  void ask_stamps();
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  /// No event is called after this. Not from within an event.
  void close();

 private:
  static constexpr uint64_t kHeartbeatNs = 1'000'000'000;
  static constexpr uint64_t kSilentNs = 10'000'000'000;
  static constexpr uint64_t kLingerNs = 2'000'000'000;
  static constexpr size_t kMostUnsent = 1 << 20;  // beyond it, surveys are not passed on

  struct Peer {
    Link link;
    uint64_t heard_ns;
    bool complained = false;
  };
  struct Route {
    uint32_t number = 0;  // of the asker's latest survey
    int towards = -1;     // the neighbour from which it came
  };
  struct Commands {
    std::vector<std::pair<Result, std::string>> errors;
    bool survey = false;
    bool stamps = false;
    bool close = false;
  };

  // On the thread only.
  void run();
  void wait();
  void serve_commands();
  void start_survey();
  void listen_to(size_t index);
  void handle(int from, const Frame& frame);
  void hear_error(int from, const Frame& frame);
  void hear_query(int from, const Frame& frame);
  void hear_answer(const Frame& frame);
  void hear_gone(int from, int rank, PeerState state);
  void add_answer(const RankStatus& status);
  bool keeps_clock() const { return !events_.nodes.empty(); }
  Link* link_to(int rank);
  void ask_parent(const std::string& query);
  void hear_time_query(int from, const Frame& frame);
  void hear_time_answer(int from, const Frame& frame);
  void tell_stamps();
  void pass_on_stamps(int from, const Frame& frame);
  void ask_children_for_stamps();
  void flood(int except, FrameType type, int rank, const std::string& payload);
  void remove_ended();
  void beat();
  void look_after();
  bool may_leave();
  void count_bytes();
  std::string name(int rank) const;

  void wake();
  bool reached(const std::vector<bool>& answered, int rank) const;

  const int rank_;
  const int size_;
  const std::vector<std::string> names_;
  const pid_t process_;
  Descriptor wake_;
  std::vector<std::atomic<uint8_t>> states_;
  std::atomic<uint64_t> bytes_{0};

  // The thread's own.
  std::vector<Peer> peers_;
  ControlEvents events_;
  std::map<int, Route> routes_;
  uint64_t closed_bytes_ = 0;
  uint64_t next_beat_ns_ = 0;
  ControlClock clock_;
  uint64_t next_stamps_ns_ = UINT64_MAX;
  uint64_t next_look_ns_ = UINT64_MAX;
  uint64_t alone_since_ns_ = 0;  // since when all neighbours are gone; 0: they are not
  bool error_passed_on_ = false;
  bool failed_called_ = false;
  bool closing_ = false;

  // Shared, under mutex_.
  std::mutex mutex_;
  std::condition_variable changed_;
  Commands commands_;
  bool closed_ = false;  // the thread calls no event any more
  uint32_t survey_number_ = 0;
  bool surveying_ = false;
  SurveyResult found_;
  std::mutex survey_mutex_;  // one survey at a time; taken before mutex_
};

}  // namespace tutti
