// Inside of the verbs transport: rails, mailboxes, one port for each peer of another node. transports/verbs/verbs.h says what it does.
//
// A port comes to life when the first of the two ranks has something to say: both make their queue pairs, and tell each other the numbers by
// greetings (address.h), which are sent again until they are answered. Nothing is posted before the peer is known to have connected its own queue
// pairs, from a greeting or from what comes by them: what is posted earlier would be dropped by its card, and sent again only after the time-out.
//
// What is to be sent is a queue of *shipments*: some puts and the record that follows them, which has the next number of the port. A shipment
// goes over one rail, in the order writes, record; so the record arrives after its puts. It is not begun before the peer has room for its
// record, and it is posted in pieces where the send queue, or the bounce buffers, are full. Where that is possible it is a single write: a put that is small
// enough travels in the record; and where a signal says nothing new but that its counter is one higher, no record is needed: it is a
// *bare signal*, an immediate that comes with the last byte of the slice.
//
// A put is remembered until the signal that follows it, or the next advance(), takes it along. A grant waits in the same way for a record that
// carries it.
//
// Failover. A rail on which a write fails is *dead* for this pair of ranks, for good. Whoever finds that takes its queue pair out of service, waits for a
// receive to come back flushed with an error, after which nothing arrives on this queue pair, and tells the peer in a greeting: which rails are dead, how many of the peer's records it has applied,
// and which later ones have come. The peer does the same, and answers likewise. Who has heard that a rail is dead on the other side
// does again, on a rail that lives, those writes of the dead one that are not complete and whose record is not among those that have come. From
// the moment in which the other side counted, nothing arrives by the dead rail any more, so none of these records can have been applied,
// and nobody uses the slots that they are about; and a record that has come is not written again. When no rail is left, or the peer does
// not answer, it is lost.
//
// The receiver says in each of its own records how many of the peer's it has applied. Where it has applied half of kRecords without sending any,
// it sends an *acknowledgement*: a write of no bytes, whose immediate is that number. It needs no room in the mailbox, and there are never more than
// two on their way: between two of them the peer must have sent half of what the mailbox holds.
//
// Leaving. A *goodbye* is the last record that a rank sends, and its completion is reported. Whoever has the peer's goodbye, and knows that its own has come,
// destroys its queue pairs: neither needs what may be on its way then, acknowledgements and writes of nothing, and nobody would answer them. Until the
// peer's goodbye comes, queue pairs are kept, and it is asked whether what was sent has come.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/descriptor.h"
#include "transports/port.h"
#include "transports/port_receiver.h"
#include "transports/verbs/address.h"
#include "transports/verbs/connection.h"
#include "transports/verbs/immediate.h"
#include "transports/verbs/mail.h"
#include "transports/verbs/rail.h"
#include "transports/verbs/verbs.h"

namespace tutti::verbs {

class VerbsTransport;

static_assert(kPairCounters == 2, "an immediate has one bit for the counter");

/// Some puts, and a record behind them.
struct Shipment {
  static constexpr size_t kPuts = 4;
  /// The record behind its puts; the put in the record; the put, or nothing, and an immediate.
  enum class Way : uint8_t { behind, inside, bare };
  struct Put {
    const std::byte* source = nullptr;
    size_t bytes = 0;
    uint64_t offset = 0;
  };
  PortFrame frame;
  std::array<Put, kPuts> puts;
  size_t put_count = 0;
  bool closed = false;            // has its record
  bool says_nothing_new = false;  // a signal that could be bare
  Way way = Way::behind;
  int rail = -1;        // -1: nothing has been posted
  size_t next_put = 0;  // the first that has not been posted entirely
  size_t posted = 0;    // bytes of that one that have
  Shipment* next = nullptr;
};

/// Shipments, recycled, so that nothing is allocated per message.
class ShipmentPool {
 public:
  Shipment& take();
  void give(Shipment& shipment);

 private:
  std::vector<std::unique_ptr<Shipment>> all_;
  Shipment* free_ = nullptr;
};

class VerbsPort final : public Port {
 public:
  VerbsPort(VerbsTransport& transport, int peer, RankAddress address);
  VerbsPort(const VerbsPort&) = delete;
  VerbsPort& operator=(const VerbsPort&) = delete;

  void put(const std::byte* source, size_t bytes, uint64_t offset) override;
  void signal(uint8_t index, uint64_t value, const SignalInfo& info) override;
  void grant(uint64_t position) override;
  bool flushed() const override { return in_use_ == 0; }
  bool drained() override;
  PortStatistics statistics() const override;

  int peer() const { return peer_; }
  bool is_broken() const { return broken_; }
  bool is_open() const { return !connections_.empty(); }
  /// Empty before the peer was heard of.
  std::string route() const { return connected_ ? rails_text() : std::string(); }
  /// Has a write of nothing done, where nothing is under way that tells whether the peer is there.
  void probe();

  /// Posts what can be posted.
  void push();
  bool is_listed = false;  // in the transport's list of ports to push

  /// The peer's queue pairs. Answers where that is wanted. Throws Error where they cannot be connected.
  void hear(const Greeting& greeting);
  /// Greets again where it is time. False once there is nothing to wait for.
  bool greet(uint64_t now);

  /// What an immediate says, which came by a write of so many bytes.
  void take(Immediate immediate, uint32_t bytes);
  void complete(size_t rail);
  /// A receive was used.
  void note_receive(size_t rail);
  /// A write failed, for the reason that `why` tells.
  void lose_rail(size_t rail, const std::string& why);
  /// A receive of that rail came back unused.
  void note_fence(size_t rail) { connections_[rail].note_fence(); }
  bool has_given_up(size_t rail) const { return connections_[rail].has_given_up(); }
  /// The rest of that. False while it has to wait.
  bool settle_losses();
  bool is_suspect = false;  // in the transport's list of ports whose losses are to be settled

  void leave();
  /// True once everything posted has arrived that the peer still waits for; sees to it that this is reported.
  bool settle();
  /// What has not arrived after so long never will.
  void lose_the_rest(uint64_t patience_ns);
  /// Nothing reaches the peer any more: what has not been sent is dropped.
  void break_off();

 private:
  void make_connections();
  template <typename Step>
  bool try_rails(const Step& step);
  bool find_paths();
  bool connect(const Greeting& greeting);
  std::string silence_text(uint64_t silence_ns) const;
  void note_peer_ready();
  void send_greeting(uint32_t flags);
  Shipment& open_shipment();
  Shipment& close_shipment(uint8_t kind);
  void begin_shipment(Shipment& shipment);
  bool fits_record(const Shipment& shipment) const;
  bool is_bare_signal(const Shipment& shipment) const;
  void push_shipments();
  bool post(Shipment& shipment);
  bool post_bare_signal(Shipment& shipment, Connection& connection);
  bool post_again();
  bool post_puts(Shipment& shipment, Connection& connection);
  uint32_t stage_piece(const Shipment::Put& put, Shipment& shipment, Connection& connection);
  void aim(const Shipment::Put& put, size_t at, Write& write) const;
  bool load(const Shipment::Put& put, size_t at, Write& write);
  bool load_whole(const Shipment::Put& put, uint64_t number, Write& write);
  void copy(std::byte* to, const std::byte* source, size_t bytes);
  bool lies_registered(const Shipment::Put& put, Write& write);
  bool post_record(Shipment& shipment, Connection& connection);
  bool push_out(Connection& connection);
  void take_record(uint64_t number);
  void take_bare_signal(uint64_t number, uint8_t index, uint32_t bytes);
  bool took(uint64_t number, const std::string& problem);
  void acknowledge(uint64_t records);
  bool make_room(Connection& connection);
  int choose_rail(const Shipment& shipment) const;
  int first_alive() const;
  bool is_dead(size_t rail) const { return (dead_ >> rail & 1) != 0; }
  bool knows_losses() const { return unsettled_ == 0 && dead_ == peers_dead_; }
  bool is_fenced() const;
  void hear_losses();
  void do_again(size_t rail, uint64_t applied, uint64_t early);
  void end_write(const Write& write);
  uint64_t patience_ns() const;
  void tell();
  void begin(size_t bytes);
  void release(size_t bytes);
  void end(size_t bytes);
  void lose(const std::string& why);
  bool owes_acknowledgement() const;
  std::string rails_text() const;

  VerbsTransport& transport_;
  const int peer_;
  const RankAddress address_;
  const size_t rails_;                   // in common
  std::vector<Connection> connections_;  // by rail; none before there was anything to say
  std::vector<PathHandle> paths_;        // of greetings; null: none leads there yet
  uint64_t try_again_ns_ = 0;            // not before
  std::string unreached_;                // why no rail led there, when they were tried last
  bool connected_ = false;               // own queue pairs
  bool peer_ready_ = false;
  uint64_t greeted_since_ns_ = 0;  // 0: waits for no answer
  uint64_t next_greeting_ns_ = 0;
  uint64_t greeting_pause_ns_ = 0;
  bool broken_ = false;
  bool goodbye_has_come_ = false;  // this rank's, to the peer

  uint32_t dead_ = 0;        // rails, as bits
  uint32_t unsettled_ = 0;   // of these, something may still come by their queue pairs
  uint64_t lost_at_ns_ = 0;  // when the first of those was given up
  Greeting heard_;           // the peer's latest that told of dead rails

  uint32_t peers_dead_ = 0;  // of these, the peer has said so too
  std::string why_dead_;     // of each
  std::deque<Write> again_;  // to be done again, before anything else,
  int again_rail_ = -1;      // by this rail, for the sake of their order; -1: nothing ever was

  Shipment* queue_ = nullptr;
  Shipment* queue_end_ = nullptr;  // maybe not closed yet
  uint64_t sequence_ = 0;          // number of the next record
  // Of the latest signal, and of the latest on each counter: the peer has the same when it has come to the next.
  SignalInfo last_info_;
  std::array<uint64_t, kPairCounters> last_value_{};
  uint64_t peer_applied_ = 0;  // of this rank's records
  uint64_t told_ = 0;          // of the peer's, what it has been told to have come
  uint64_t grant_ = 0;
  uint64_t granted_ = 0;  // told

  uint64_t in_use_ = 0;  // bytes of sources that must stay as they are
  uint64_t in_flight_ =
      0;  // bytes that are not known to have arrived; what is copied to a record's place: that is not posted
  PortStatistics statistics_;
};

class VerbsTransport final : public PortTransport {
 public:
  explicit VerbsTransport(const VerbsSettings& settings);
  ~VerbsTransport() override;
  VerbsTransport(const VerbsTransport&) = delete;
  VerbsTransport& operator=(const VerbsTransport&) = delete;

  std::string_view name() const override { return "verbs"; }
  std::string address() const override;
  Port& open(int peer, const std::string& address, Inbox& inbox) override;
  const std::deque<Failure>& failures() const override { return failures_; }
  void abandon() noexcept override;
  bool has_left(int peer) const override;
  void close(uint64_t patience_ns) override;
  uint64_t look_after() override;
  void probe(int peer) override { ports_[static_cast<size_t>(peer)]->probe(); }
  std::string register_source(uint64_t id, std::span<const std::byte> memory) override;
  void forget_source(uint64_t id) override { sources_.remove(id); }
  std::string route(int peer) const override;
  std::vector<RailStatistics> rail_statistics() const override;
  void advance() override;
  int descriptor() const override { return events_.get(); }
  bool arm() override;

  const VerbsSettings& settings() const { return settings_; }
  std::vector<std::unique_ptr<Rail>>& rails() { return rails_; }
  MailMemory& mail() { return mail_; }
  ShipmentPool& shipments() { return shipments_; }
  PortReceiver& receiver(int peer) { return *receivers_[static_cast<size_t>(peer)]; }
  /// True for memory that all rails may read anyway.
  bool is_in_slots(const std::byte* source, size_t bytes) const;
  const Sources& sources() const { return sources_; }
  /// Has push() called for `port` by the next advance().
  void list(VerbsPort& port);
  /// Has push() called when a bounce buffer has come free.
  void list_starved(VerbsPort& port) { starved_.push_back(&port); }
  void give_bounce(int bounce);
  /// Takes what has completed on a rail, until there is nothing more.
  void drain(size_t rail);
  /// Has settle_losses() called until it says that it is done.
  void suspect(VerbsPort& port);
  /// Has greet() called for it, until it says that nothing is to wait for.
  void list_greeting(VerbsPort& port);
  std::string name_of(int peer) const;
  /// `peer` cannot be reached any more; what follows "rank 3: " in the text.
  void fail(int peer, const std::string& why) noexcept;

 private:
  int poll(size_t rail);
  void take(size_t rail, const ibv_wc& completion);
  void wait_for(int descriptor, const RailInfo& rail) const;
  void take_device_events();
  void lose_rail(size_t rail, const std::string& why);
  RankAddress own_address() const;
  void hear_greetings(Rail& rail);
  void greet();
  void settle_suspects();
  void push_listed();

  const VerbsSettings settings_;
  const uint64_t key_;
  std::vector<std::unique_ptr<PortReceiver>> receivers_;  // by rank
  ShipmentPool shipments_;
  MailMemory mail_;
  std::vector<std::unique_ptr<Rail>> rails_;
  Sources sources_;
  std::vector<std::unique_ptr<VerbsPort>> ports_;  // by rank; null: not opened
  std::vector<VerbsPort*> listed_;
  std::vector<VerbsPort*> greeting_;
  std::vector<VerbsPort*> starved_;
  std::vector<VerbsPort*> suspects_;
  std::vector<bool> failed_;  // by rank
  std::deque<Failure> failures_;
  Descriptor events_;  // of all rails
  bool armed_ = false;
  uint32_t turns_ = 0;      // of advance()
  uint64_t next_look_ = 0;  // at what devices say, in ticks
  bool said_goodbye_ = false;
};

}  // namespace tutti::verbs
