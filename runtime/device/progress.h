// The progress code of one rank's device: a thread that turns the triggers of its kernels into what ports send.
//
// It alone touches the networks from start to end, but for those whom it lets in between two turns. While something happens it goes round without
// sleeping; later it sleeps on the transports' descriptors, so that what arrives wakes it, but never long: kernels cannot wake anybody. A
// host that launches a kernel does. So all transports are advanced thousands of times a second while no operation runs too, and what fails
// late is mended (PortTransport::look_after() is for transports that nobody advances).
//
// Order. Triggers are posted in the order in which they were taken, each to the port of its peer. A put's bytes stay in the staging ring until
// its port says that they have left; rooms are given back in the order of their puts.
#pragma once

#include <poll.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/descriptor.h"
#include "runtime/communicator/networks.h"
#include "transports/cuda_ipc/fifo.h"

namespace tutti {

/// How errors come from the rest of the job, and go there.
struct Alarm {
  std::function<bool()> is_raised;                     // the communicator has failed
  std::function<bool(int rank)> has_ended;             // the process of that rank, on another node, is gone
  std::function<void(const std::string& text)> raise;  // a peer cannot be reached
};

class Progress {
 public:
  struct Work {
    cuda::FifoConsumer triggers;
    cuda::FifoFeedback* feedback = nullptr;
    std::byte* staging = nullptr;
    uint64_t staging_bytes = 0;
    int rank = 0;
    const Placement* placement = nullptr;  // this and the networks outlive the progress code
    Networks* networks = nullptr;
    uint64_t* abort_word = nullptr;  // set when a peer cannot be reached: this rank's kernels end
  };

  /// Starts the thread.
  explicit Progress(const Work& work);
  ~Progress() { finish(kPatienceAfterErrorNs); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// From now on kernels end when the alarm is raised, and it is raised when a peer cannot be reached. Once.
  void watch(Alarm alarm);
  /// A kernel was launched. Any thread.
  void wake() const noexcept;
  /// Has `look`, which throws nothing, run while nobody else touches the networks: on the thread, or on the caller's own once that has ended. Returns
  /// when it has run. Any thread.
  void let_in(const std::function<void()>& look);
  /// Why kernels were told to give up; empty while all is well. Any thread.
  std::optional<PortTransport::Failure> failure() const;
  /// After the last kernel: sends what is left, waits up to `patience_ns` for the peers' goodbyes, and ends the thread. Once.
  void finish(uint64_t patience_ns) noexcept;

  static constexpr uint64_t kPatienceNs = 5'000'000'000;
  static constexpr uint64_t kPatienceAfterErrorNs = 200'000'000;

 private:
  void run() noexcept;
  void serve();
  bool turn();
  void post(const cuda::TakenTrigger& trigger);
  void give_room_back();
  void look_for_failure();
  void look_for_undelivered();
  std::string broken_text(const PortTransport::Failure& failure) const;
  void look_for_ended();
  void fail(PortTransport::Failure failure);
  void mind_alarm();
  void end_kernels();
  void receive_visitor(bool is_last) noexcept;
  void rest(uint64_t idle_ns);
  void sleep(uint64_t longest_ns);

  struct Room {
    const Port* port;
    uint64_t end;  // position in the staging ring
  };

  Work work_;
  std::vector<Poller*> pollers_;  // of the networks
  std::vector<pollfd> awaited_;   // wake_, and theirs
  SignalInfo info_;               // of the operation that the latest announcement is about
  std::deque<Room> rooms_;
  uint64_t staged_ = 0;
  Descriptor wake_;
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> ending_{false};
  std::atomic<bool> failed_{false};
  PortTransport::Failure failure_;  // before failed_ is set, and never again
  Alarm alarm_;                     // before watching_ is set
  std::atomic<bool> watching_{false};
  bool raised_ = false;
  uint64_t next_look_ = 0;  // at who has ended, in ticks
  uint64_t patience_ns_ = 0;

  std::mutex visits_;  // of what follows
  std::condition_variable visit_over_;
  const std::function<void()>* visitor_ = nullptr;
  bool is_over_ = false;                   // the thread has ended
  std::atomic<bool> has_visitor_ = false;  // a hint
  std::thread thread_;
};

}  // namespace tutti
