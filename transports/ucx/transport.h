// Inside of the UCX transport: one worker, one port for each peer of another node. transports/ucx/ucx.h says what it does.
//
// Frames of a port leave in the order of their numbers. One that follows one-sided puts waits in the port's queue until a flush
// that was issued after those puts is done, and what comes later waits behind it; one-sided puts themselves are posted at once.
//
// A put that goes as a message is first only remembered: the signal that follows it takes it along. Another put, or the next
// advance(), sends it on its own.
//
// Drained. UCX's own flush over TCP asks the peer's UCX for an answer, which comes only when the peer is advanced. But UCX's TCP takes
// a message only when everything before it has been written to the socket. So once all frames are done, an empty message, a *mark*,
// is sent after them: when UCX has taken it, they are on their way. No mark is needed where little is under way: every frame says how
// many have come the other way, and what is left fits into the smallest buffer that a socket has, so UCX has not held it back. (Small
// operations that go to and fro never send a mark.) Where puts went one-sidedly, and over other networks (where the hardware
// answers), a flush is what it takes.
//
// What UCX calls back (a send is done, a peer is gone, a message has come) happens inside advance(), or in a call
// of the port, and only notes things down: none of it throws, and none of it closes an endpoint.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transports/port.h"
#include "transports/port_frame.h"
#include "transports/port_receiver.h"
#include "transports/ucx/address.h"
#include "transports/ucx/library.h"
#include "transports/ucx/ucx.h"

namespace tutti::ucx {

/// Largest slice part that one message carries: with its headers it fits a segment of UCX's TCP.
inline constexpr size_t kMessageBytes = 60 * 1024;
/// From here on a slice goes one-sidedly where the network does that in hardware.
inline constexpr size_t kOneSidedBytes = 16 * 1024;

/// Of the active messages: frames, and marks, which are empty and mean nothing to their receiver.
inline constexpr unsigned kMessageId = 1;
inline constexpr unsigned kMarkId = 2;

class UcxPort;
class UcxTransport;

/// Something that UCX has been asked for and that ends later. Recycled, so that nothing is allocated per message.
struct Request {
  enum class Kind : uint8_t { message, put, flush, drain };  // drain: a mark or a flush
  PortFrame frame;                                           // message: stays in place while UCX reads it
  const std::byte* source = nullptr;
  size_t bytes = 0;
  uint64_t mark =
      0;  // message: the flush it waits for. flush: its number. drain: what was posted when it was issued
  UcxPort* port = nullptr;
  Request* next = nullptr;
  Kind kind = Kind::message;
};

/// Free requests.
class RequestPool {
 public:
  Request& take(UcxPort& port, Request::Kind kind);
  void give(Request& request);

 private:
  std::vector<std::unique_ptr<Request>> all_;
  Request* free_ = nullptr;
};

class UcxPort final : public Port {
 public:
  UcxPort(UcxTransport& transport, int peer, const Address& address);
  ~UcxPort() override;
  /// Makes the endpoint. Throws Error.
  void connect(const Address& address);
  UcxPort(const UcxPort&) = delete;
  UcxPort& operator=(const UcxPort&) = delete;

  void put(const std::byte* source, size_t bytes, uint64_t offset) override;
  void signal(uint8_t index, uint64_t value, const SignalInfo& info) override;
  void grant(uint64_t position) override;
  bool flushed() const override { return in_flight_ == 0; }
  bool drained() override;
  PortStatistics statistics() const override;

  int peer() const { return peer_; }
  std::string route() const;
  bool is_broken() const { return broken_; }

  /// Sends what has only been remembered, and what a flush has set free.
  void push();
  bool is_listed = false;  // in the transport's list of ports to push

  /// The last frame.
  void leave();
  /// Nothing reaches the peer any more: what has not been sent is dropped.
  void break_off();
  /// The connection is gone: a failure, unless the peer had left.
  void lose(const char* why);
  bool puts_one_sidedly() const { return one_sided_end_ != 0; }
  /// Starts closing the endpoint; true when it is closed.
  bool close();
  /// Closes it, for as long as the settings allow, and gives back what belongs to UCX.
  void release();
  /// A request has ended.
  void finish(Request& request, ucs_status_t status);
  /// The peer has got the first `frames` frames. False where so many have not been sent.
  bool acknowledge(uint64_t frames);
  /// True where the peer has not been told for a while what has come; push() tells it.
  bool owes_word() const;

 private:
  Request& message(uint8_t kind);
  void take_pending(Request& request);
  void send_pending();
  void drop(Request& request);
  void post(Request& request);
  void transmit(Request& request);
  void post_one_sided(const std::byte* source, size_t bytes, uint64_t offset);
  void flush_one_sided();
  void start_draining();
  bool fits_socket() const;
  void choose_way(const Address& address);
  /// What UCX has answered to a request: ended, failed, or to be called back.
  void note(Request& request, ucs_status_ptr_t answer);
  void begin(size_t bytes);
  void end(size_t bytes);

  UcxTransport& transport_;
  const int peer_;
  ucp_ep_h endpoint_ = nullptr;
  ucp_rkey_h rkey_ = nullptr;
  ucs_status_ptr_t closing_ = nullptr;
  const uint64_t key_;  // of the peer
  const uint64_t remote_slots_;
  const uint64_t remote_bytes_;
  size_t one_sided_from_ = SIZE_MAX;  // puts of at least so many bytes go one-sidedly
  bool broken_ = false;

  const std::byte* pending_ = nullptr;  // a put that has only been remembered
  size_t pending_bytes_ = 0;
  uint64_t pending_offset_ = 0;

  uint64_t sequence_ = 0;     // number of the next frame
  Request* queue_ = nullptr;  // messages that wait for a flush
  Request* queue_end_ = nullptr;
  bool unflushed_ = false;     // one-sided puts were posted after the last flush
  uint64_t flushes_ = 0;       // issued
  uint64_t flushes_done_ = 0;  // all up to here are done
  bool is_tcp_ = false;
  uint64_t undone_ = 0;         // messages given to UCX that have not ended
  uint64_t one_sided_end_ = 0;  // posted_ after the latest one-sided put
  uint64_t posted_ = 0;         // everything given to UCX so far, counted
  uint64_t one_sided_ = 0;      // bytes put one-sidedly that no frame has told of
  uint64_t drained_ = 0;        // posted_ up to which UCX holds nothing back
  bool draining_ = false;

  // How much a socket may hold that the peer has not got: bytes, and what the kernel adds for each message.
  static constexpr size_t kWeights = 64;
  static constexpr uint64_t kTellAfter = 3;   // frames: fewer than a socket's smallest buffer holds
  std::array<uint64_t, kWeights> weights_{};  // of all frames up to number n, at n modulo kWeights
  uint64_t weight_ = 0;                       // of everything sent so far
  uint64_t got_weight_ = 0;                   // of that, what the peer is known to have got
  uint64_t got_frames_ = 0;
  uint64_t told_ = 0;  // the same the other way: what the peer has been told to have come

  uint64_t in_flight_ = 0;  // bytes whose source is in use
  PortStatistics statistics_;
};

class UcxTransport final : public PortTransport {
 public:
  explicit UcxTransport(const UcxSettings& settings);
  ~UcxTransport() override;
  UcxTransport(const UcxTransport&) = delete;
  UcxTransport& operator=(const UcxTransport&) = delete;

  std::string_view name() const override { return "ucx"; }
  std::string address() const override;
  Port& open(int peer, const std::string& address, Inbox& inbox) override;
  const std::deque<Failure>& failures() const override { return failures_; }
  void abandon() noexcept override;
  bool has_left(int peer) const override;
  /// Frames of the peer that have been applied.
  uint64_t applied(int peer) const;
  void close(uint64_t patience_ns) override;
  std::string route(int peer) const override;
  void advance() override;
  int descriptor() const override { return worker_.descriptor(); }
  bool arm() override;

  const UcxSettings& settings() const { return settings_; }
  ucp_worker_h worker() const { return worker_.get(); }
  RequestPool& requests() { return requests_; }
  /// Has push() called for `port` by the next advance().
  void list(UcxPort& port);
  /// `peer` cannot be reached any more; what follows "rank 3: " in the text.
  void fail(int peer, const std::string& why) noexcept;
  uint64_t bytes_received(int peer) const;

 private:
  static ucs_status_t on_message(void* self, const void* header, size_t header_bytes, void* data,
                                 size_t data_bytes, const ucp_am_recv_param_t* param) noexcept;
  void take(const void* header, size_t header_bytes, const void* data, size_t data_bytes, bool is_here);
  PortReceiver& receiver(int peer);
  std::string name_of(int peer) const;

  const UcxSettings settings_;
  const uint64_t key_;
  // What UCX calls back touches these, so they outlive the worker.
  RequestPool requests_;
  std::vector<std::unique_ptr<PortReceiver>> receivers_;  // by rank; null: nothing has come yet
  std::vector<std::unique_ptr<UcxPort>> ports_;           // by rank; null: not opened
  std::vector<UcxPort*> listed_;                          // to be pushed
  std::vector<bool> failed_;                              // by rank
  uint64_t strangers_ = 0;                                // messages that were ignored
  std::deque<Failure> failures_;
  bool said_goodbye_ = false;
  Worker worker_;
  std::optional<Registration> registration_;
};

}  // namespace tutti::ucx
