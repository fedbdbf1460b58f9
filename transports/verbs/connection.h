// A reliable connected queue pair: to one peer, on one rail.
//
// Writes are staged, and posted together: one doorbell. Only some are *signalled* (their completion is reported): the last of those that use
// memory which is waited for, and often enough that the queue never fills with what nobody hears of. A *mark* remembers, for each
// signalled write, how many are over when it is complete: queue pairs complete in order. Every write is remembered until then, so that
// another rail can do it again should this one fail.
//
// Receives carry no memory, since an immediate is all that comes by them. There are always at least as many posted as the peer may
// use: kRecords records, and two acknowledgements (transport.h).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "transports/verbs/address.h"
#include "transports/verbs/mail.h"
#include "transports/verbs/rail.h"
#include "transports/verbs/sources.h"
#include "transports/verbs/verbs.h"

namespace tutti::verbs {

/// A write of this rank's memory to the peer's, by whichever rail.
struct Write {
  enum class Memory : uint8_t { slots, mail };
  const void* from = nullptr;
  uint32_t bytes = 0;
  Memory own = Memory::mail;
  const Source* source = nullptr;  // where it leaves from one of these instead
  uint64_t to = 0;
  Memory peers = Memory::mail;
  std::optional<uint32_t> immediate = {};
  // What it is for.
  static constexpr uint64_t kNoRecord = UINT64_MAX;
  uint64_t record = kNoRecord;         // it belongs to this one; without, it need not be done again
  int bounce = MailMemory::kNoBounce;  // its source, free when it is complete
  uint32_t put_bytes = 0;              // of the user's slices, in flight until then
  bool reads_source = false;           // these lie where the user has put them
  bool is_goodbye = false;
};

class Connection {
 public:
  static constexpr size_t kChain = 16;  // writes that are posted together, at most
  static constexpr uint32_t kDepth = 128;
  static constexpr int kReceives = static_cast<int>(kRecords) + 2;
  static constexpr int kBatch = 16;  // receives that are posted together
  /// Of one connection, that may wait to be taken.
  static constexpr int kCompletions = static_cast<int>(kDepth) + kReceives + kBatch;

  static constexpr uint64_t kReceived = uint64_t{1} << 32;

  /// `peer` comes back with each completion; of a receive together with kReceived. Throws Error.
  Connection(Rail& rail, int peer);

  Rail& rail() const { return *rail_; }
  uint32_t number() const { return queue_pair_->qp_num; }
  uint32_t first() const { return first_; }

  /// Throws Error.
  void connect(const RailAddress& peer, uint32_t number, uint32_t first, const VerbsTuning& tuning);

  /// How many writes can be staged now; no more than kChain without post().
  uint32_t room() const { return std::min<uint32_t>(room_, static_cast<uint32_t>(kChain) - staged_); }
  void stage(const Write& write);
  /// 0, or why the queue pair took no more.
  int post();

  /// The oldest signalled write is complete: calls over(write) for it and those before it.
  template <typename Over>
  void complete(const Over& over) {
    const Mark mark = marks_[first_mark_];
    first_mark_ = (first_mark_ + 1) % marks_.size();
    for (uint32_t i = 0; i < mark.writes; ++i) over(next_over());
    rail_->count_completion(mark.bytes, mark.posted_ns);
  }
  bool has_marks() const { return first_mark_ != end_mark_; }
  /// True once everything posted is complete.
  bool is_idle() const { return room_ == kDepth; }
  /// Stages a write of nothing that is signalled, unless the completion of another is awaited anyway, or there is no room. False then.
  bool stage_probe();
  /// The same, where something was posted whose completion nobody hears of.
  bool stage_report() { return posted_since_mark_ != 0 && stage_probe(); }

  /// A receive was used. 0, or why no more could be posted.
  int receive();

  /// Nothing goes out or comes in any more.
  void give_up();
  bool has_given_up() const { return given_up_; }
  /// A receive came back unused: all that ever came by this queue pair has been reported.
  void note_fence() { fenced_ = true; }
  bool is_fenced() const { return fenced_; }
  /// After that: calls left(write) for all writes that are not complete, the oldest first.
  template <typename Left>
  void abandon(const Left& left) {
    while (room_ < kDepth) {
      const Write& write = next_over();
      rail_->forget_write(write.bytes);
      left(write);
    }
    first_mark_ = end_mark_;
    posted_since_mark_ = staged_ = 0;
  }

 private:
  /// Of a signalled write.
  struct Mark {
    uint32_t writes = 0;  // that are over with it
    uint64_t bytes = 0;
    uint64_t posted_ns = 0;
  };

  const Write& next_over();
  int post_receives(int count);
  void change(ibv_qp_attr& attributes, int mask, const char* to);
  uint32_t own_key(const Write& write) const;
  uint32_t peers_key(Write::Memory memory) const;

  Rail* rail_;
  uint64_t id_;
  uint32_t first_;
  uint32_t inline_bytes_ = 0;
  uint32_t slots_rkey_ = 0;  // the peer's
  uint32_t mail_rkey_ = 0;
  QueuePair queue_pair_;
  bool given_up_ = false;
  bool fenced_ = false;

  std::array<ibv_send_wr, kChain> requests_{};
  std::array<ibv_sge, kChain> parts_{};
  uint32_t staged_ = 0;
  uint32_t room_ = kDepth;
  std::vector<Write> writes_;  // ring of those that are not complete
  size_t first_write_ = 0;
  uint32_t posted_since_mark_ = 0;  // writes that no mark covers
  bool report_ = false;             // signal what is staged
  Mark mark_;                       // of what no mark covers
  std::vector<Mark> marks_;         // ring
  size_t first_mark_ = 0;
  size_t end_mark_ = 0;
  int used_receives_ = 0;
};

}  // namespace tutti::verbs
