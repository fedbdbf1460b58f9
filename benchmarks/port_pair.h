// One of the two ranks between which port_bench measures: a transport, the port to the other rank, and its memory.
//
//   slots | sources          `window` places of `stride` bytes each
//
// The peer writes the slots; what this rank sends leaves from the sources. Both lie in the memory that the transport registers, as a
// communicator's scratch does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/port_options.h"
#include "core/clock.h"
#include "runtime/bootstrap/control.h"
#include "runtime/communicator/settings.h"
#include "transports/port.h"

namespace tutti::bench {

/// The counters of a port, by what is counted.
enum class PortCounter : uint8_t { messages = 0, meetings = 1 };

class PortPair {
 public:
  /// Collective over the two ranks. Throws Error.
  explicit PortPair(const PortBenchOptions& options);
  ~PortPair();
  PortPair(const PortPair&) = delete;
  PortPair& operator=(const PortPair&) = delete;

  int rank() const { return rank_; }
  std::byte* slot(uint64_t number) { return memory_.data() + place(number); }
  std::byte* source(uint64_t number) { return memory_.data() + window_ * stride_ + place(number); }

  /// Puts `bytes` bytes of that source to the slot of the same number at the peer, and signals.
  void send(uint64_t number, size_t bytes);
  /// Waits for the next message of the peer.
  void receive();
  /// The peer may have sent so many messages in all.
  void grant(uint64_t messages) { port_->grant(messages); }
  uint64_t received() const { return received_; }
  /// Waits until this rank may send one more.
  void await_credit();
  /// Waits until all sources may be written again.
  void await_flushed();
  /// Both ranks are here.
  void meet();
  /// The same with a number of each rank: returns their sum.
  uint64_t sum(uint64_t mine);
  std::string route() const { return transport_->route(1 - rank_); }

 private:
  size_t place(uint64_t number) const { return number % window_ * stride_; }
  void join(const PortBenchOptions& options);
  template <typename Condition>
  void until(const Condition& condition, const char* what);
  /// Throws where waiting has no end; `since`: 0 on the first call of a wait.
  void look_around(const char* what, uint64_t& since) const;

  const Settings settings_;
  const size_t window_;
  const size_t stride_;
  int rank_ = 0;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
  uint64_t meetings_ = 0;
  std::unique_ptr<Control> control_;
  std::vector<std::byte> memory_;
  Inbox inbox_;
  std::unique_ptr<PortTransport> transport_;  // goes before what it writes
  Port* port_ = nullptr;
};

}  // namespace tutti::bench
