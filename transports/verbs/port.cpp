// One port: what is posted to one peer, and what has become of it.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"
#include "transports/verbs/transport.h"

namespace tutti::verbs {

namespace {

constexpr uint64_t kFirstGreetingPauseNs = 4'000'000;
constexpr uint64_t kLongestGreetingPauseNs = 250'000'000;
/// The most that one write carries: several are on their way at a time, and each completes soon.
constexpr size_t kMostBytes = size_t{256} << 10;

}  // namespace

Shipment& ShipmentPool::take() {
  if (free_ == nullptr) {
    all_.push_back(std::make_unique<Shipment>());
    give(*all_.back());
  }
  Shipment& shipment = *free_;
  free_ = shipment.next;
  shipment.frame = {};
  shipment.put_count = shipment.next_put = shipment.posted = 0;
  shipment.closed = false;
  shipment.rail = -1;
  shipment.next = nullptr;
  return shipment;
}

void ShipmentPool::give(Shipment& shipment) {
  shipment.next = free_;
  free_ = &shipment;
}

VerbsPort::VerbsPort(VerbsTransport& transport, int peer, RankAddress address)
    : transport_(transport),
      peer_(peer),
      address_(std::move(address)),
      rails_(std::min(transport.rails().size(), address_.rails.size())) {}

// ---- what the user posts

void VerbsPort::put(const std::byte* source, size_t bytes, uint64_t offset) {
  if (bytes == 0 || broken_) return;
  if (offset > address_.slots_bytes || bytes > address_.slots_bytes - offset) {
    transport_.fail(peer_,
                    fmt::format("a put of {} bytes to offset {} of its {} bytes of slots (a defect of Tutti)",
                                bytes, offset, address_.slots_bytes));
    return;
  }
  ++statistics_.puts;
  statistics_.bytes_sent += bytes;
  begin(bytes);
  Shipment& shipment = open_shipment();
  shipment.puts[shipment.put_count++] = {source, bytes, offset};
  if (shipment.put_count == Shipment::kPuts) close_shipment(kWord);
  transport_.list(*this);
}

void VerbsPort::signal(uint8_t index, uint64_t value, const SignalInfo& info) {
  if (broken_) return;
  ++statistics_.signals;
  PortFrame& frame = close_shipment(kSignal).frame;
  frame.index = index;
  frame.value = value;
  frame.tag = info.tag;
  frame.epoch = info.epoch;
  frame.call = info.call;
  frame.count = info.count;
  push();
}

void VerbsPort::grant(uint64_t position) {
  if (broken_ || position <= grant_) return;
  grant_ = position;
  transport_.list(*this);
}

void VerbsPort::leave() {
  // A peer to which nothing was ever said, and from which nothing came, need not know.
  if (broken_ || (!is_open() && queue_ == nullptr)) return;
  close_shipment(kLeave);
  push();
}

/// The one that takes the next put.
Shipment& VerbsPort::open_shipment() {
  if (queue_end_ != nullptr && !queue_end_->closed) return *queue_end_;
  Shipment& shipment = transport_.shipments().take();
  (queue_ == nullptr ? queue_ : queue_end_->next) = &shipment;
  queue_end_ = &shipment;
  return shipment;
}

Shipment& VerbsPort::close_shipment(uint8_t kind) {
  Shipment& shipment = open_shipment();
  shipment.closed = true;
  PortFrame& frame = shipment.frame;
  frame.source = static_cast<uint32_t>(transport_.settings().rank);
  frame.key = address_.key;
  frame.kind = kind;
  frame.sequence = sequence_++;
  if (kind == kSignal || kind == kWord) embed(shipment);
  for (size_t i = 0; i < shipment.put_count; ++i) frame.one_sided += shipment.puts[i].bytes;
  return shipment;
}

/// A put that is small enough, and whose writing has not begun, goes inside the record.
void VerbsPort::embed(Shipment& shipment) {
  if (shipment.put_count != 1 || shipment.rail >= 0 || shipment.puts[0].bytes > kEmbedded) return;
  const Shipment::Put put = shipment.puts[0];
  std::memcpy(shipment.data.data(), put.source, put.bytes);
  shipment.frame.kind = static_cast<uint8_t>((shipment.frame.kind & kSignal) | kPut);
  shipment.frame.offset = put.offset;
  shipment.frame.bytes = static_cast<uint32_t>(put.bytes);
  shipment.put_count = 0;
  end(put.bytes);
}

// ---- posting

void VerbsPort::push() {
  if (broken_) return;
  const bool wanted = queue_ != nullptr || grant_ != granted_;
  if (wanted && !peer_ready_) {
    if (greeted_since_ns_ == 0) transport_.list_greeting(*this);
    return;
  }
  if (!peer_ready_ || unsettled_ != 0 || !post_again()) return;
  if (queue_ == nullptr && grant_ != granted_) close_shipment(kWord);
  push_shipments();
  if (!broken_ && unsettled_ == 0) tell();
}

void VerbsPort::push_shipments() {
  while (queue_ != nullptr && !broken_) {
    if (queue_->rail >= 0 && is_dead(static_cast<size_t>(queue_->rail)))
      return;  // do_again() gives it another
    // One that is not closed has the next number: its puts may go before it is known what follows.
    const uint64_t number = queue_->closed ? queue_->frame.sequence : sequence_;
    if (number - credited_ >= kRecords || !post(*queue_)) return;
    Shipment& done = *queue_;
    queue_ = done.next;
    if (queue_ == nullptr) queue_end_ = nullptr;
    transport_.shipments().give(done);
  }
}

/// True once all of it has been posted.
bool VerbsPort::post(Shipment& shipment) {
  if (shipment.rail < 0) shipment.rail = choose_rail(shipment);
  Connection& connection = connections_[static_cast<size_t>(shipment.rail)];
  if (!post_puts(shipment, connection) || !shipment.closed) {
    push_out(connection);
    return false;
  }
  return post_record(shipment, connection);
}

bool VerbsPort::post_puts(Shipment& shipment, Connection& connection) {
  for (; shipment.next_put < shipment.put_count; ++shipment.next_put, shipment.posted = 0) {
    Shipment::Put& put = shipment.puts[shipment.next_put];
    while (shipment.posted < put.bytes) {
      if (!make_room(connection)) return false;
      const uint32_t bytes = stage_piece(put, shipment, connection);
      if (bytes == 0) {
        transport_.list_starved(*this);
        return false;
      }
      shipment.posted += bytes;
    }
  }
  return true;
}

/// Stages the next bytes of a put: from where they are, or from a chunk. 0: there is no chunk.
uint32_t VerbsPort::stage_piece(Shipment::Put& put, Shipment& shipment, Connection& connection) {
  const std::byte* source = put.source + shipment.posted;
  const size_t left = put.bytes - shipment.posted;
  Write write = {.from = source,
                 .to = address_.slots + put.offset + shipment.posted,
                 .peers = Write::Memory::slots,
                 .record = shipment.closed ? shipment.frame.sequence : sequence_};
  if (transport_.is_registered(put.source, put.bytes)) {
    write.own = Write::Memory::slots;
    write.bytes = write.source_bytes = static_cast<uint32_t>(std::min(left, kMostBytes));
    connection.stage(write);
    return write.bytes;
  }
  write.chunk = transport_.mail().take_chunk();
  if (write.chunk == MailMemory::kNoChunk) return 0;
  write.bytes = static_cast<uint32_t>(std::min(left, MailMemory::kChunkBytes));
  write.from = transport_.mail().chunk(write.chunk);
  std::memcpy(transport_.mail().chunk(write.chunk), source, write.bytes);
  connection.stage(write);
  end(write.bytes);
  return write.bytes;
}

bool VerbsPort::post_record(Shipment& shipment, Connection& connection) {
  if (!make_room(connection)) return false;
  PortFrame& frame = shipment.frame;
  frame.received = told_ = transport_.receiver(peer_).applied();
  frame.granted = granted_ = grant_;
  Record& record = transport_.mail().outbox(peer_).at(frame.sequence);
  record.frame = frame;
  std::memcpy(record.data, shipment.data.data(), frame.bytes);
  const auto index = static_cast<size_t>(frame.sequence % kRecords);
  const uint64_t mailbox =
      address_.mailboxes + static_cast<uint64_t>(transport_.settings().rank) * sizeof(Mailbox);
  const Write write = {.from = &record,
                       .bytes = static_cast<uint32_t>(sizeof(PortFrame) + frame.bytes),
                       .to = mailbox + index * sizeof(Record),
                       .immediate = static_cast<uint32_t>(frame.sequence) & ~kIsAcknowledgement,
                       .record = frame.sequence};
  connection.stage(write);
  return push_out(connection);
}

bool VerbsPort::make_room(Connection& connection) {
  return connection.room() != 0 || (push_out(connection) && connection.room() != 0);
}

/// What a dead rail has not done. True once all of that is posted.
bool VerbsPort::post_again() {
  while (!again_.empty()) {
    if (is_dead(static_cast<size_t>(again_rail_))) return false;  // do_again() gives them another
    Connection& connection = connections_[static_cast<size_t>(again_rail_)];
    if (!make_room(connection)) return false;
    connection.stage(again_.front());
    again_.pop_front();
    if (again_.empty() && !push_out(connection)) return false;
  }
  return true;
}

bool VerbsPort::push_out(Connection& connection) {
  const int error = connection.post();
  if (error != 0) {
    lose_rail(
        static_cast<size_t>(&connection - connections_.data()),
        fmt::format("{} takes no more writes: {}", connection.rail().info().name, std::strerror(error)));
  }
  return error == 0;
}

/// Where it will be complete first, as far as is known; of the rails that are up, if there are any.
int VerbsPort::choose_rail(const Shipment& shipment) const {
  if (connections_.size() == 1) return 0;
  uint64_t bytes = sizeof(PortFrame);
  for (size_t i = 0; i < shipment.put_count; ++i) bytes += shipment.puts[i].bytes;
  int best = -1;
  std::pair<bool, double> soonest;
  const uint64_t now = now_ns();
  for (size_t i = 0; i < connections_.size(); ++i) {
    // Ranks of one node begin with different rails.
    const size_t index = (i + static_cast<size_t>(transport_.settings().rank)) % connections_.size();
    if (is_dead(index)) continue;
    const Rail& rail = connections_[index].rail();
    const std::pair at(!rail.is_up(),
                       static_cast<double>(rail.outstanding() + bytes) * rail.ns_per_byte(now));
    if (best >= 0 && at >= soonest) continue;
    best = static_cast<int>(index);
    soonest = at;
  }
  return best;
}

/// One that is up, if there is any.
int VerbsPort::first_alive() const {
  int down = -1;
  for (size_t rail = 0; rail < rails_; ++rail) {
    if (is_dead(rail)) continue;
    if (connections_[rail].rail().is_up()) return static_cast<int>(rail);
    if (down < 0) down = static_cast<int>(rail);
  }
  return std::max(down, 0);
}

/// A peer that only ever sends would never learn what has come.
void VerbsPort::tell() {
  const uint64_t applied = transport_.receiver(peer_).applied();
  if (applied - told_ < kRecords / 2) return;
  Connection& connection = connections_[static_cast<size_t>(first_alive())];
  if (connection.room() == 0) {
    transport_.list(*this);
    return;
  }
  told_ = applied;
  connection.stage(
      {.immediate = kIsAcknowledgement | (static_cast<uint32_t>(applied) & ~kIsAcknowledgement)});
  push_out(connection);
}

// ---- what has come

void VerbsPort::complete(size_t rail) {
  if (rail >= connections_.size() || !connections_[rail].has_marks()) return;
  connections_[rail].complete([&](const Write& write) { end_write(write); });
  if (queue_ != nullptr || !again_.empty()) transport_.list(*this);
}

void VerbsPort::receive(size_t rail) {
  if (rail >= connections_.size() || is_dead(rail)) return;
  if (const int error = connections_[rail].receive(); error != 0)
    lose_rail(rail, fmt::format("{} takes no more receives: {}", connections_[rail].rail().info().name,
                                std::strerror(error)));
}

void VerbsPort::take_record(uint64_t number) {
  Record& record = transport_.mail().inbox(peer_).at(number);
  const uint32_t bytes = record.frame.bytes;
  PortFrameCheck check;
  if (bytes <= kEmbedded) {
    check = parse_port_frame(&record.frame, sizeof(PortFrame), bytes,
                             {.rank = static_cast<uint32_t>(transport_.settings().rank),
                              .ranks = static_cast<uint32_t>(transport_.settings().ranks),
                              .key = transport_.key(),
                              .slots_bytes = transport_.settings().slots_bytes});
  } else {
    check.reason = fmt::format("{} bytes inside a record, which holds {}", bytes, kEmbedded);
  }
  std::string problem = check.reason;
  if (problem.empty() && check.frame.source != static_cast<uint32_t>(peer_))
    problem = fmt::format("it says that it is from rank {}", check.frame.source);
  if (problem.empty()) problem = transport_.receiver(peer_).take(check.frame, record.data);
  if (!problem.empty()) {
    transport_.fail(peer_, fmt::format("a record that cannot be: {}", problem));
    return;
  }
  acknowledge(check.frame.received);
  if (transport_.receiver(peer_).applied() - told_ >= kRecords / 2) transport_.list(*this);
}

void VerbsPort::acknowledge(uint64_t records) {
  if (records > sequence_) {
    transport_.fail(peer_,
                    fmt::format("it says that {} records have come; {} were sent", records, sequence_));
    return;
  }
  if (records <= credited_) return;
  credited_ = records;
  if (queue_ != nullptr) transport_.list(*this);
}

bool VerbsPort::drained() {
  if (broken_) return true;
  push();
  return broken_ || (queue_ == nullptr && grant_ == granted_ && again_.empty() && knows_losses());
}

void VerbsPort::hear_acknowledgement(uint32_t records) {
  constexpr uint64_t kMask = kIsAcknowledgement - 1;
  acknowledge(credited_ + ((records - credited_) & kMask));
}

bool VerbsPort::settle() {
  bool all = true;
  for (Connection& connection : connections_) {
    if (broken_ || connection.has_given_up() || connection.is_idle()) continue;
    all = false;
    if (connection.stage_report()) push_out(connection);
  }
  return all;
}

void VerbsPort::end_write(const Write& write) {
  if (write.chunk != MailMemory::kNoChunk) transport_.give_chunk(write.chunk);
  end(write.source_bytes);
}

void VerbsPort::lose(const std::string& why) {
  if (broken_) return;
  if (transport_.has_left(peer_)) {
    break_off();
  } else {
    transport_.fail(peer_, why);
  }
}

void VerbsPort::break_off() {
  broken_ = true;
  for (Connection& connection : connections_) {
    connection.give_up();
    connection.abandon([&](const Write& write) { end_write(write); });
  }
  for (const Write& write : again_) end_write(write);
  again_.clear();
  while (queue_ != nullptr) {
    Shipment& dropped = *queue_;
    queue_ = dropped.next;
    transport_.shipments().give(dropped);
  }
  queue_end_ = nullptr;
  // A queue pair in this state sends nothing, so what is in its sources is of no matter.
  if (in_flight_ != 0) busy_ticks_ += ticks() - busy_since_;
  in_flight_ = 0;
}

void VerbsPort::begin(size_t bytes) {
  if (in_flight_ == 0) busy_since_ = ticks();
  in_flight_ += bytes;
  statistics_.in_flight_most = std::max(statistics_.in_flight_most, in_flight_);
}

void VerbsPort::end(size_t bytes) {
  if (bytes == 0 || broken_) return;
  in_flight_ -= bytes;
  if (in_flight_ == 0) busy_ticks_ += ticks() - busy_since_;
}

PortStatistics VerbsPort::statistics() const {
  PortStatistics all = statistics_;
  all.bytes_received = transport_.receiver(peer_).bytes();
  all.busy_ns = ticks_to_ns(busy_ticks_ + (in_flight_ != 0 ? ticks() - busy_since_ : 0));
  return all;
}

// ---- rails that fail

void VerbsPort::lose_rail(size_t rail, const std::string& why) {
  if (broken_ || rail >= rails_ || is_dead(rail)) return;
  if (transport_.has_left(peer_)) {
    break_off();
    return;
  }
  why_dead_ += (why_dead_.empty() ? "" : ", ") + why;
  if (unsettled_ == 0) lost_at_ns_ = now_ns();
  dead_ |= 1U << rail;
  connections_[rail].rail().count_dead_peer();
  unsettled_ |= 1U << rail;
  connections_[rail].give_up();
  transport_.suspect(*this);
}

bool VerbsPort::is_fenced() const {
  for (size_t rail = 0; rail < rails_; ++rail) {
    if ((unsettled_ >> rail & 1) != 0 && !connections_[rail].is_fenced()) return false;
  }
  return true;
}

bool VerbsPort::settle_losses() {
  constexpr uint64_t kMostNs = 200'000'000;  // a card that takes longer will not do it
  if (broken_ || unsettled_ == 0) return true;
  if (dead_ == (1U << rails_) - 1) {
    lose(why_dead_);
    return true;
  }
  for (size_t rail = 0; rail < rails_; ++rail) {
    if ((unsettled_ >> rail & 1) != 0) transport_.drain(rail);
  }
  if (broken_) return true;
  if (!is_fenced() && now_ns() - lost_at_ns_ < kMostNs) return false;
  unsettled_ = 0;
  log(Level::warn, "rank {}: {} is reached by {} from now on: {}", transport_.settings().rank,
      transport_.name_of(peer_), route(), why_dead_);
  greeted_since_ns_ = 0;
  transport_.list_greeting(*this);
  hear_losses();
  return true;
}

/// What the peer said last of rails, and of what came by them. What it has given up, this rank gives up too.
void VerbsPort::hear_losses() {
  for (size_t rail = 0; rail < rails_; ++rail) {
    if ((heard_.dead >> rail & 1) != 0)
      lose_rail(rail, fmt::format("{} was given up by the peer", connections_[rail].rail().info().name));
  }
  if (unsettled_ != 0) return;
  acknowledge(heard_.applied);
  for (size_t rail = 0; rail < rails_ && !broken_; ++rail) {
    const uint32_t bit = 1U << rail;
    if ((heard_.dead & bit) == 0 || (peers_dead_ & bit) != 0) continue;
    peers_dead_ |= bit;
    do_again(rail, heard_.applied, heard_.early);
  }
}

void VerbsPort::do_again(size_t rail, uint64_t applied, uint64_t early) {
  const auto has_come = [&](const Write& write) {
    if (write.record == Write::kNoRecord || write.record < std::max(applied, credited_)) return true;
    const uint64_t after = write.record - applied;
    return after < PortReceiver::kEarlyBits && (early >> after & 1) != 0;
  };
  // Before those that wait already: what follows them there may be the record that they belong to.
  auto place = again_.begin();
  connections_[rail].abandon([&](const Write& write) {
    if (has_come(write)) {
      end_write(write);
    } else {
      place = std::next(again_.insert(place, write));
    }
  });
  const int dead = static_cast<int>(rail);
  if (again_rail_ < 0 || again_rail_ == dead) again_rail_ = first_alive();
  // What is posted in part goes on behind the writes that it has already.
  if (queue_ != nullptr && queue_->rail == dead) queue_->rail = again_rail_;
  transport_.list(*this);
}

/// How long a rail may take to be found dead, twice, and something.
uint64_t VerbsPort::patience_ns() const {
  constexpr uint64_t kLeast = 1'000'000'000;
  const VerbsTuning& tuning = transport_.settings().tuning;
  return kLeast + 2 * static_cast<uint64_t>(tuning.retries + 1) * (uint64_t{4096} << tuning.timeout);
}

// ---- getting to know the peer

void VerbsPort::make_connections() {
  std::vector<std::unique_ptr<Rail>>& rails = transport_.rails();
  connections_.reserve(rails_);
  for (size_t i = 0; i < rails_; ++i) {
    paths_.push_back(make_path(rails[i]->domain(), rails[i]->info(), address_.rails[i],
                               transport_.settings().tuning.traffic_class));
    connections_.emplace_back(*rails[i], peer_);
  }
}

bool VerbsPort::greet(uint64_t now) {
  if (broken_ || (peer_ready_ && knows_losses())) {
    greeted_since_ns_ = 0;
    return false;
  }
  if (greeted_since_ns_ == 0) {
    greeted_since_ns_ = now;
    greeting_pause_ns_ = kFirstGreetingPauseNs;
    next_greeting_ns_ = now;
  }
  if (now < next_greeting_ns_) return true;
  if (dead_ != 0 && now - greeted_since_ns_ > patience_ns()) {
    lose(why_dead_ + "; and it does not answer by other rails");
    return false;
  }
  if (now - greeted_since_ns_ > transport_.settings().connect_ns) {
    const RailInfo& rail = transport_.rails().front()->info();
    lose(fmt::format("no answer to greetings for {:.3g} s, from {} ({}) to {}",
                     static_cast<double>(now - greeted_since_ns_) * 1e-9, rail.name, gid_text(rail.gid),
                     gid_text(address_.rails.front().gid)));
    return false;
  }
  try {
    if (!is_open()) make_connections();
    send_greeting(Greeting::kAsk | (connected_ ? Greeting::kReady : 0));
  } catch (const Error& error) {
    lose(error.what());
    return false;
  }
  next_greeting_ns_ = now + greeting_pause_ns_;
  greeting_pause_ns_ = std::min(2 * greeting_pause_ns_, kLongestGreetingPauseNs);
  return true;
}

/// By each rail, should one be down.
void VerbsPort::send_greeting(uint32_t flags) {
  Greeting greeting = {.source = static_cast<uint32_t>(transport_.settings().rank),
                       .key = address_.key,
                       .flags = flags,
                       .rails = static_cast<uint32_t>(rails_),
                       .dead = dead_ & ~unsettled_,  // of the others more may come than is counted here
                       .applied = transport_.receiver(peer_).applied(),
                       .early = transport_.receiver(peer_).early()};
  for (size_t i = 0; i < rails_; ++i) {
    greeting.queue_pairs[i] = connections_[i].number();
    greeting.first[i] = connections_[i].first();
  }
  for (size_t i = 0; i < rails_; ++i)
    transport_.rails()[i]->greeter().send(paths_[i].get(), address_.rails[i].greeter, greeting);
}

void VerbsPort::hear(const Greeting& greeting) {
  if (broken_ || greeting.rails != rails_) return;
  if (!is_open()) make_connections();
  if (!connected_) {
    for (size_t i = 0; i < rails_; ++i)
      connections_[i].connect(address_.rails[i], greeting.queue_pairs[i], greeting.first[i],
                              transport_.settings().tuning);
    connected_ = true;
  }
  if ((greeting.flags & Greeting::kReady) != 0 && !peer_ready_) {
    peer_ready_ = true;
    transport_.list(*this);
  }
  if (greeting.dead != 0) {
    heard_ = greeting;
    hear_losses();
  }
  if (!broken_ && (greeting.flags & Greeting::kAsk) != 0)
    send_greeting(Greeting::kReady | (peer_ready_ ? 0 : Greeting::kAsk));
}

std::string VerbsPort::route() const {
  std::string text;
  for (size_t i = 0; i < connections_.size(); ++i) {
    text += (i == 0 ? "" : "+") + connections_[i].rail().info().name;
    if (is_dead(i)) text += " (dead)";
  }
  return text;
}

}  // namespace tutti::verbs
