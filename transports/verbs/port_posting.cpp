// One port: how shipments become writes.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/clock.h"
#include "transports/verbs/transport.h"

namespace tutti::verbs {

namespace {

/// The most that one write carries: several are on their way at a time, and each completes soon.
constexpr size_t kMostBytes = size_t{256} << 10;

}  // namespace

void VerbsPort::push() {
  if (broken_) return;
  const bool wanted = queue_ != nullptr || grant_ != granted_ || owes_acknowledgement();
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
  while (queue_ != nullptr && !broken_ && unsettled_ == 0) {
    if (queue_->rail >= 0 && is_dead(static_cast<size_t>(queue_->rail)))
      return;  // do_again() gives it another
    // One that is not closed has the next number: its puts may go before it is known what follows.
    const uint64_t number = queue_->closed ? queue_->frame.sequence : sequence_;
    if (number - peer_applied_ >= kRecords || !post(*queue_) || broken_) return;
    Shipment& done = *queue_;
    queue_ = done.next;
    if (queue_ == nullptr) queue_end_ = nullptr;
    transport_.shipments().give(done);
  }
}

/// True once all of it has been posted.
bool VerbsPort::post(Shipment& shipment) {
  if (shipment.rail < 0) begin_shipment(shipment);
  Connection& connection = connections_[static_cast<size_t>(shipment.rail)];
  if (shipment.way == Shipment::Way::bare) return post_bare_signal(shipment, connection);
  if (shipment.way == Shipment::Way::behind && (!post_puts(shipment, connection) || !shipment.closed)) {
    push_out(connection);
    return false;
  }
  return post_record(shipment, connection);
}

void VerbsPort::begin_shipment(Shipment& shipment) {
  shipment.rail = choose_rail(shipment);
  shipment.way = Shipment::Way::behind;
  if (is_bare_signal(shipment)) {
    shipment.way = Shipment::Way::bare;
  } else if (fits_record(shipment)) {
    shipment.way = Shipment::Way::inside;
    const Shipment::Put& put = shipment.puts[0];
    PortFrame& frame = shipment.frame;
    frame.kind = static_cast<uint8_t>((frame.kind & kSignal) | kPut);
    frame.offset = put.offset;
    frame.bytes = static_cast<uint32_t>(put.bytes);
    frame.one_sided = 0;
  }
}

/// A goodbye carries nothing else.
bool VerbsPort::fits_record(const Shipment& shipment) const {
  return shipment.closed && shipment.frame.kind != kLeave && shipment.put_count == 1 &&
         shipment.puts[0].bytes <= transport_.mail().most_embedded();
}

/// One write must do, and there is nothing else to tell.
bool VerbsPort::is_bare_signal(const Shipment& shipment) const {
  if (!shipment.closed || !shipment.says_nothing_new || grant_ != granted_) return false;
  return shipment.put_count == 0 ||
         (shipment.put_count == 1 && shipment.puts[0].bytes <= MailMemory::kBounceBytes);
}

bool VerbsPort::post_bare_signal(Shipment& shipment, Connection& connection) {
  if (!make_room(connection)) return false;
  const uint64_t number = shipment.frame.sequence;
  Write write = {.immediate = pack(Immediate::Kind::bare_signal, number, shipment.frame.index),
                 .record = number};
  if (shipment.put_count == 1 && !load_whole(shipment.puts[0], number, write)) return false;
  connection.stage(write);
  push_out(connection);
  return true;
}

bool VerbsPort::post_puts(Shipment& shipment, Connection& connection) {
  for (; shipment.next_put < shipment.put_count; ++shipment.next_put, shipment.posted = 0) {
    const Shipment::Put& put = shipment.puts[shipment.next_put];
    while (shipment.posted < put.bytes) {
      if (!make_room(connection)) return false;
      const uint32_t bytes = stage_piece(put, shipment, connection);
      if (bytes == 0) return false;
      shipment.posted += bytes;
    }
  }
  return true;
}

/// Stages the next bytes of a put. 0: there is no bounce buffer.
uint32_t VerbsPort::stage_piece(const Shipment::Put& put, Shipment& shipment, Connection& connection) {
  Write write = {.record = shipment.closed ? shipment.frame.sequence : sequence_};
  if (!load(put, shipment.posted, write)) return 0;
  connection.stage(write);
  return write.bytes;
}

void VerbsPort::aim(const Shipment::Put& put, size_t at, Write& write) const {
  write.to = address_.slots + put.offset + at;
  write.peers = Write::Memory::slots;
}

/// What follows byte `at` of a put becomes what is written: from where it is, or from a bounce buffer. False: there is no bounce buffer.
bool VerbsPort::load(const Shipment::Put& put, size_t at, Write& write) {
  const size_t left = put.bytes - at;
  aim(put, at, write);
  if (lies_registered(put, write)) {
    write.from = put.source + at;
    write.bytes = write.put_bytes = static_cast<uint32_t>(std::min(left, kMostBytes));
    write.reads_source = true;
    return true;
  }
  write.bounce = transport_.mail().take_bounce();
  if (write.bounce == MailMemory::kNoBounce) {
    transport_.list_starved(*this);
    return false;
  }
  write.bytes = write.put_bytes = static_cast<uint32_t>(std::min(left, MailMemory::kBounceBytes));
  write.from = transport_.mail().bounce(write.bounce);
  copy(transport_.mail().bounce(write.bounce), put.source + at, write.bytes);
  return true;
}

/// All of a put that one write can carry becomes what is written: a small one from where its record would be. False: there is no bounce buffer.
bool VerbsPort::load_whole(const Shipment::Put& put, uint64_t number, Write& write) {
  MailMemory& mail = transport_.mail();
  if (put.bytes > mail.most_embedded()) return load(put, 0, write);
  std::byte* const place = mail.outbox(peer_, number);
  write.from = place;
  write.bytes = static_cast<uint32_t>(put.bytes);
  aim(put, 0, write);
  copy(place, put.source, put.bytes);
  end(put.bytes);
  return true;
}

/// After it the source is free again.
void VerbsPort::copy(std::byte* to, const std::byte* source, size_t bytes) {
  std::memcpy(to, source, bytes);
  statistics_.bytes_copied += bytes;
  release(bytes);
}

/// True where rails may read it as it lies: says so in `write`. A small put of the user's is copied all the same: that takes less than it takes to hear
/// that it is complete, for which its owner would have to wait.
bool VerbsPort::lies_registered(const Shipment::Put& put, Write& write) {
  constexpr size_t kLeast = size_t{16} << 10;
  if (transport_.is_in_slots(put.source, put.bytes)) {
    write.own = Write::Memory::slots;
    return true;
  }
  if (put.bytes >= kLeast) write.source = transport_.sources().find(put.source, put.bytes);
  return write.source != nullptr;
}

bool VerbsPort::post_record(Shipment& shipment, Connection& connection) {
  if (!make_room(connection)) return false;
  PortFrame& frame = shipment.frame;
  frame.received = told_ = transport_.receiver(peer_).applied();
  frame.granted = granted_ = grant_;
  MailMemory& mail = transport_.mail();
  std::byte* const record = mail.outbox(peer_, frame.sequence);
  const size_t header_bytes = pack_record(frame, record);
  if (frame.bytes != 0) {
    copy(record + header_bytes, shipment.puts[0].source, frame.bytes);
    end(frame.bytes);
  }
  connection.stage({.from = record,
                    .bytes = static_cast<uint32_t>(header_bytes + frame.bytes),
                    .to = address_.mailboxes + mail.place(transport_.settings().rank, frame.sequence),
                    .immediate = pack(Immediate::Kind::record, frame.sequence),
                    .record = frame.sequence,
                    .is_goodbye = frame.kind == kLeave});
  push_out(connection);
  return true;
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
  uint64_t bytes = kMostHeader;
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
bool VerbsPort::owes_acknowledgement() const {
  return transport_.receiver(peer_).applied() - told_ >= kRecords / 2;
}

void VerbsPort::tell() {
  if (!owes_acknowledgement()) return;
  Connection& connection = connections_[static_cast<size_t>(first_alive())];
  if (connection.room() == 0) {
    transport_.list(*this);
    return;
  }
  told_ = transport_.receiver(peer_).applied();
  connection.stage({.immediate = pack(Immediate::Kind::acknowledgement, told_)});
  push_out(connection);
}

}  // namespace tutti::verbs
