// The progress code of one rank's device: a thread that turns the triggers of its kernels into what a port transport sends.
//
// It alone touches the transport from start to end. While something happens it goes round without sleeping; later it sleeps on the
// transport's descriptor, so that what arrives wakes it, but never long: kernels cannot wake anybody. A host that launches a kernel does.
//
// Order. Triggers are posted in the order in which they were taken, each to the port of its peer. A put's bytes stay in the staging ring until
// its port says that they have left; rooms are given back in the order of their puts.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/descriptor.h"
#include "transports/cuda_ipc/fifo.h"
#include "transports/port.h"

namespace tutti {

/// How errors come from the rest of the job, and go there.
struct Alarm {
  std::function<bool()> is_raised;                     // the communicator has failed
  std::function<void(const std::string& text)> raise;  // a peer cannot be reached
};

class Progress {
 public:
  struct Work {
    cuda::FifoConsumer triggers;
    cuda::FifoFeedback* feedback = nullptr;
    std::byte* staging = nullptr;
    uint64_t staging_bytes = 0;
    PortTransport* transport = nullptr;
    std::vector<Port*> ports;        // by rank; null for the ranks of this node
    uint64_t* abort_word = nullptr;  // set when a peer cannot be reached: this rank's kernels end
  };

  /// Starts the thread.
  explicit Progress(Work work);
  ~Progress() { finish(kPatienceAfterErrorNs); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// From now on kernels end when the alarm is raised, and it is raised when a peer cannot be reached. Once.
  void watch(Alarm alarm);
  /// A kernel was launched. Any thread.
  void wake() const noexcept;
  /// Why kernels were told to give up; empty while all is well. Any thread.
  std::optional<PortTransport::Failure> failure() const;
  /// After the last kernel: sends what is left, waits up to `patience_ns` for the peers' goodbyes, and ends the thread. Once.
  void finish(uint64_t patience_ns) noexcept;

  static constexpr uint64_t kPatienceNs = 5'000'000'000;
  static constexpr uint64_t kPatienceAfterErrorNs = 200'000'000;

 private:
  void run() noexcept;
  bool turn();
  void post(const cuda::TakenTrigger& trigger);
  void give_room_back();
  void look_for_failure();
  void fail(PortTransport::Failure failure);
  void mind_alarm();
  void end_kernels();
  void rest(uint64_t idle_ns);
  void sleep(uint64_t longest_ns);

  struct Room {
    const Port* port;
    uint64_t end;  // position in the staging ring
  };

  Work work_;
  SignalInfo info_;  // of the operation that the latest announcement is about
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
  uint64_t patience_ns_ = 0;
  std::thread thread_;
};

}  // namespace tutti
