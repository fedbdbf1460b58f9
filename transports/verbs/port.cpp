// One port: what its user posts to one peer, and what has come from there. How that is written: port_posting.cpp.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "transports/verbs/transport.h"

namespace tutti::verbs {

Shipment& ShipmentPool::take() {
  if (free_ == nullptr) {
    all_.push_back(std::make_unique<Shipment>());
    give(*all_.back());
  }
  Shipment& shipment = *free_;
  free_ = shipment.next;
  shipment.frame = {};
  shipment.put_count = shipment.next_put = shipment.posted = 0;
  shipment.closed = shipment.says_nothing_new = false;
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
  Shipment& shipment = close_shipment(kSignal);
  shipment.says_nothing_new = value == last_value_[index] + 1 && info == last_info_;
  last_value_[index] = value;
  last_info_ = info;
  PortFrame& frame = shipment.frame;
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
  frame.kind = kind;
  frame.sequence = sequence_++;
  for (size_t i = 0; i < shipment.put_count; ++i) frame.one_sided += shipment.puts[i].bytes;
  return shipment;
}

// ---- what has come

void VerbsPort::complete(size_t rail) {
  if (rail >= connections_.size() || !connections_[rail].has_marks()) return;
  connections_[rail].complete([&](const Write& write) { end_write(write); });
  if (queue_ != nullptr || !again_.empty()) transport_.list(*this);
}

void VerbsPort::note_receive(size_t rail) {
  if (rail >= connections_.size() || is_dead(rail)) return;
  if (const int error = connections_[rail].receive(); error != 0)
    lose_rail(rail, fmt::format("{} takes no more receives: {}", connections_[rail].rail().info().name,
                                std::strerror(error)));
}

void VerbsPort::take(Immediate immediate, uint32_t bytes) {
  // It has come by a queue pair that the peer has connected, whether or not its greeting that said so has come too.
  note_peer_ready();
  switch (immediate.kind) {
    case Immediate::Kind::record:
      take_record(whole_number(immediate.number, transport_.receiver(peer_).applied()));
      return;
    case Immediate::Kind::bare_signal:
      take_bare_signal(whole_number(immediate.number, transport_.receiver(peer_).applied()), immediate.index,
                       bytes);
      return;
    case Immediate::Kind::acknowledgement:
      // One that was overtaken by a later one says less.
      acknowledge(whole_number(immediate.number, peer_applied_));
      return;
  }
  transport_.fail(peer_, "an immediate that means nothing");
}

void VerbsPort::take_record(uint64_t number) {
  const MailMemory& mail = transport_.mail();
  const TakenRecord taken = verbs::take_record(mail.inbox(peer_, number), mail.most_embedded(), number,
                                               transport_.settings().slots_bytes, transport_.receiver(peer_));
  if (took(number, taken.problem)) acknowledge(taken.received);
}

void VerbsPort::take_bare_signal(uint64_t number, uint8_t index, uint32_t bytes) {
  const PortFrame frame = {.sequence = number, .kind = kBareSignal, .index = index, .one_sided = bytes};
  took(number, transport_.receiver(peer_).take(frame, nullptr));
}

/// A record or a bare signal, which cannot be if there is a problem.
bool VerbsPort::took(uint64_t number, const std::string& problem) {
  if (!problem.empty()) {
    transport_.fail(peer_, fmt::format("record {} cannot be: {}", number, problem));
    return false;
  }
  if (owes_acknowledgement()) transport_.list(*this);
  return true;
}

void VerbsPort::acknowledge(uint64_t records) {
  if (records > sequence_) {
    transport_.fail(peer_,
                    fmt::format("it says that {} records have come; {} were sent", records, sequence_));
    return;
  }
  if (records <= peer_applied_) return;
  peer_applied_ = records;
  if (queue_ != nullptr) transport_.list(*this);
}

bool VerbsPort::drained() {
  if (broken_) return true;
  push();
  return broken_ || (queue_ == nullptr && grant_ == granted_ && again_.empty() && knows_losses());
}

/// By rails that are up, if there are any: one whose port is down may be back before it has to be given up.
void VerbsPort::probe() {
  if (broken_ || !peer_ready_ || unsettled_ != 0) return;
  const bool only_up = connections_[static_cast<size_t>(first_alive())].rail().is_up();
  for (size_t i = 0; i < connections_.size() && !broken_; ++i) {
    Connection& connection = connections_[i];
    if (is_dead(i) || (only_up && !connection.rail().is_up())) continue;
    if (connection.stage_probe()) push_out(connection);
  }
}

/// A peer that has left, and has heard the goodbye, may be gone: it answers nothing that was posted after that, nor does it need it.
bool VerbsPort::settle() {
  if (goodbye_has_come_ && transport_.has_left(peer_)) return true;
  bool all = true;
  for (Connection& connection : connections_) {
    if (broken_ || connection.has_given_up() || connection.is_idle()) continue;
    all = false;
    if (connection.stage_report()) push_out(connection);
  }
  return all;
}

void VerbsPort::end_write(const Write& write) {
  if (write.bounce != MailMemory::kNoBounce) transport_.give_bounce(write.bounce);
  end(write.put_bytes);
  if (write.reads_source) release(write.put_bytes);
  goodbye_has_come_ = goodbye_has_come_ || write.is_goodbye;
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
  in_use_ = in_flight_ = 0;
}

void VerbsPort::begin(size_t bytes) {
  in_use_ += bytes;
  in_flight_ += bytes;
  statistics_.in_flight_most = std::max(statistics_.in_flight_most, in_flight_);
}

void VerbsPort::release(size_t bytes) {
  if (!broken_) in_use_ -= bytes;
}

void VerbsPort::end(size_t bytes) {
  if (!broken_) in_flight_ -= bytes;
}

PortStatistics VerbsPort::statistics() const {
  PortStatistics all = statistics_;
  all.bytes_received = transport_.receiver(peer_).bytes();
  return all;
}

std::string VerbsPort::rails_text() const {
  std::string text;
  for (size_t i = 0; i < connections_.size(); ++i) {
    text += (i == 0 ? "" : "+") + connections_[i].rail().info().name;
    if (is_dead(i)) text += " (dead)";
  }
  return text;
}

}  // namespace tutti::verbs
