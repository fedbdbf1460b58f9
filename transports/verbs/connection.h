// A reliable connected queue pair: to one peer, on one rail.
//
// Writes are staged, and posted together: one doorbell. Only some are *signalled* (their completion is reported): the last of those that use
// memory which is waited for, and often enough that the queue never fills with what nobody hears of. A *mark* remembers, for each
// signalled write, what is over when it is complete: queue pairs complete in order.
//
// Receives carry no memory, since an immediate is all that comes by them. There are always at least as many posted as the peer may
// use: kRecords records, for which it needs credit, and two acknowledgements (port.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "transports/verbs/address.h"
#include "transports/verbs/mail.h"
#include "transports/verbs/rail.h"
#include "transports/verbs/verbs.h"

namespace tutti::verbs {

/// A write of this rank's memory to the peer's.
struct Write {
  const void* from = nullptr;
  uint32_t bytes = 0;
  uint32_t key = 0;  // of the own memory
  uint64_t to = 0;
  uint32_t peers_key = 0;
};

/// What is over when a signalled write is complete.
struct Mark {
  uint32_t writes = 0;        // places in the send queue
  uint64_t source_bytes = 0;  // of sources that had to stay
  uint64_t bytes = 0;         // of all writes
  uint64_t posted_ns = 0;
  std::array<int16_t, 16> chunks{};  // to give back
  uint8_t chunk_count = 0;
};

class Connection {
 public:
  static constexpr size_t kChain = 16;  // writes that are posted together, at most
  static constexpr uint32_t kDepth = 128;
  static constexpr int kReceives = static_cast<int>(kRecords) + 2;
  static constexpr int kBatch = 16;  // receives that are posted together

  /// `peer` comes back with each completion; of a receive with kReceived. Throws Error.
  static constexpr uint64_t kReceived = uint64_t{1} << 32;
  Connection(Rail& rail, int peer);

  Rail& rail() const { return *rail_; }
  uint32_t number() const { return queue_pair_->qp_num; }
  uint32_t first() const { return first_; }

  /// Throws Error.
  void connect(const RailAddress& peer, uint32_t number, uint32_t first, const VerbsTuning& tuning);

  /// How many writes can be staged now; no more than kChain without post().
  uint32_t room() const { return std::min<uint32_t>(room_, static_cast<uint32_t>(kChain) - staged_); }
  void stage(const Write& write);
  void stage(const Write& write, uint32_t immediate);
  /// Of the writes staged last: their source is in use until they are complete; or a chunk is.
  void hold_source(uint64_t bytes) { mark_.source_bytes += bytes; }
  void hold_chunk(int chunk) { mark_.chunks[mark_.chunk_count++] = static_cast<int16_t>(chunk); }
  /// 0, or why the queue pair took no more.
  int post();

  /// The oldest signalled write is complete.
  Mark complete();
  bool has_marks() const { return first_mark_ != end_mark_; }
  /// True once everything posted is complete.
  bool is_idle() const { return posted_since_mark_ == 0 && !has_marks(); }
  /// Stages a write of nothing that is signalled, where something was posted whose completion nobody hears of. False where that is not so, or
  /// there is no room.
  bool stage_report();

  /// A receive was used. 0, or why no more could be posted.
  int receive();

  /// Completes everything with an error: nothing of it touches memory afterwards.
  void reset();

 private:
  ibv_send_wr& next_request(const Write& write);
  int post_receives(int count);
  void change(ibv_qp_attr& attributes, int mask, const char* to);

  Rail* rail_;
  uint64_t id_;
  uint32_t first_;
  uint32_t inline_bytes_ = 0;
  QueuePair queue_pair_;

  std::array<ibv_send_wr, kChain> requests_{};
  std::array<ibv_sge, kChain> parts_{};
  uint32_t staged_ = 0;
  uint32_t room_ = kDepth;
  uint32_t posted_since_mark_ = 0;  // writes that no mark covers
  bool report_ = false;             // signal what is staged
  Mark mark_;                       // of what is staged, and of what was posted unsignalled
  std::vector<Mark> marks_;         // ring
  size_t first_mark_ = 0;
  size_t end_mark_ = 0;
  int used_receives_ = 0;
};

}  // namespace tutti::verbs
