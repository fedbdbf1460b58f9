// The state of one verification: all ranks, their lanes, the memory of everybody. See verifier.h for what it proves.
//
//   verifier.cpp         the frame: input checks, the loop over ranks, entry and return, deadlock report
//   verifier_steps.cpp   one step of one lane
//   verifier_nodes.cpp   what goes between nodes: which steps may, grants, puts that leave and arrive
//   verifier_report.cpp  words for messages
#pragma once

#include <span>
#include <string>
#include <vector>

#include "collectives/plan/cursor.h"
#include "collectives/plan/pool.h"
#include "collectives/plan/verifier.h"
#include "collectives/plan/verifier_channels.h"
#include "collectives/plan/verifier_clocks.h"
#include "collectives/plan/verifier_memory.h"
#include "collectives/plan/verifier_values.h"

namespace tutti::plan {

class Verification {
 public:
  Verification(std::span<const Operation> operations, const Scratch& scratch, size_t most);
  Verdict run();

 private:
  /// What an access is about, for messages. Entry and return are "steps" of the caller.
  static constexpr uint32_t kEntry = 0xfffffffe;
  static constexpr uint32_t kReturn = 0xfffffffd;
  struct Event {
    uint32_t operation;
    uint32_t rank;
    uint32_t lane;
    uint32_t step;
    int64_t round;
    int64_t slice;
  };

  struct LaneRun {
    Cursor cursor;
    VectorClock clock;
    uint32_t component = 0;
    uint64_t line = 0;        // packets: the line to go on with
    bool at_barrier = false;  // arrived, and waits for generation `awaited`
    uint64_t awaited = 0;
  };
  /// Told by a claim to the ranks of other nodes that put to this one in that operation.
  struct Grant {
    uint64_t position;  // up to which they may write its slots
    uint32_t operation;
  };
  struct RankRun {
    uint32_t operation = 0;  // the one it is in or will enter next
    bool inside = false;
    std::vector<LaneRun> lanes;
    uint64_t barriers = 0;               // completed among the lanes
    size_t arrived = 0;                  // at the next one
    VectorClock barrier_clock;           // of those that have arrived
    VectorClock released;                // by the last completed barrier
    std::vector<Snapshots::Id> retired;  // by operation
    std::vector<Grant> grants;           // in the order of operations
  };

  /// Where an operation's scratch lies, and its base of counters.
  struct Placing {
    Extent slots;
    Extent packets;
    uint64_t base = 0;
  };

  /// A run of cells that a step touches.
  struct Range {
    Cell* cells = nullptr;
    uint64_t begin = 0;  // bytes from the start of the space
    uint64_t bytes = 0;
    const Location* location = nullptr;
  };

  /// On whose behalf a put reads its sources and writes its last destination.
  struct Posted {
    Accessor reads;
    Accessor writes;
  };

  /// The raise of a board that told where a rank's buffers of an operation are: who has seen this tick of the component knows.
  struct Lent {
    uint32_t component = kNobody;
    Tick tick = 0;
  };

  struct Turn {  // one lane about to act
    uint32_t rank;
    uint32_t lane;
    RankRun& run;
    LaneRun& self;
    const Plan& plan;
    const Binding& binding;
    const Step& step;
    int64_t round;
    int64_t slice;
  };

  // verifier.cpp
  void check_shapes();
  void lay_engines(uint32_t rank, const Plan& plan);
  void place();
  void lay_components();
  bool full() const { return verdict_.violations.size() >= most_; }
  bool progress(uint32_t rank);
  void enter(uint32_t rank);
  void leave(uint32_t rank);
  void caller_access(uint32_t rank, uint32_t step);
  void check_result(uint32_t rank);
  void check_cell(uint32_t rank, const Buffer& input, const Buffer& output, size_t cell, Expression& last);
  std::string wrong_all_reduce(Expression value, size_t cell, const Operation& operation);
  void check_ordering(uint32_t rank);
  void report_deadlock();

  // verifier_steps.cpp
  bool act(uint32_t rank, uint32_t lane);  // false: blocked
  void signal(Turn& turn);
  bool wait(Turn& turn);
  bool barrier(Turn& turn);
  void move(Turn& turn);
  void fold_cells(Turn& turn, std::span<const Range> srcs);
  bool move_packets(Turn& turn);
  bool move_line(Turn& turn, uint64_t line);
  bool read_operand(Turn& turn, const Location& from, uint64_t line, uint32_t event, bool first);
  void write_line(Turn& turn, uint64_t line, uint32_t event);
  bool resolve(Turn& turn, const Location& location, uint64_t bytes, Range& range);
  bool resolve_user(Turn& turn, const Location& location, uint64_t begin, uint64_t bytes, Range& range);
  bool may_touch(Turn& turn, const Location& location);
  Line* line_of(Turn& turn, const Location& location, uint64_t line);
  bool disjoint(Turn& turn, std::span<const Range> dsts, std::span<const Range> srcs);
  void read(const Range& range, const Accessor& who, Turn& turn);
  void write(const Range& range, const Accessor& who, Turn& turn);
  Value take(const Value& value, Turn& turn, const Location& from, bool& complained);
  Accessor accessor(const LaneRun& lane, uint32_t event) const;
  Posted post(const Turn& turn, uint32_t peer, uint32_t event);
  uint32_t new_event(uint32_t rank, uint32_t lane, uint32_t step, int64_t round, int64_t slice);
  bool awaited(const Turn& turn, int64_t& count) const;
  ChannelCounter& counter_of_wait(const Turn& turn);
  void release(LaneRun& lane) { ++lane.clock[lane.component]; }
  uint32_t& engine(uint32_t rank, uint32_t lane, uint32_t peer) {
    return engines_[(size_t{rank} * most_lanes_ + lane) * ranks_ + peer];
  }
  uint32_t engine(uint32_t rank, uint32_t lane, uint32_t peer) const {
    return engines_[(size_t{rank} * most_lanes_ + lane) * ranks_ + peer];
  }

  // verifier_nodes.cpp
  bool nodes_agree();
  void check_ports(uint32_t operation, uint32_t rank);
  void check_step_between_nodes(const Event& event);
  void check_put_between_nodes(const Event& event, uint32_t target);
  bool claim(Turn& turn);
  bool claimable(uint32_t peer, uint64_t required, bool slots, uint32_t& operation) const;
  bool take_node(Turn& turn, uint32_t member);
  void grant(Turn& turn);
  bool granted(uint32_t target, uint32_t source, uint64_t required) const;
  void flush(Turn& turn);
  void flush_all(uint32_t rank);
  Snapshots::Id carrying(LaneRun& lane, uint32_t engine);
  /// The two components of the puts of a lane to a rank of another node: reads of sources, writes of slots.
  static uint32_t leaving(uint32_t engine) { return engine; }
  static uint32_t arriving(uint32_t engine) { return engine + 1; }

  // verifier_report.cpp
  void report(Fault fault, std::string text);
  void report(Fault fault, const Turn& turn, const std::string& what);
  void report_race(const Turn& turn, const Range& range, bool writes, const Conflict& with);
  std::string describe(const Event& event) const;
  std::string describe(const Turn& turn) const;
  std::string describe_wait(Turn& turn);
  std::string describe_claim(const Turn& turn) const;
  Turn turn_of(uint32_t rank, uint32_t lane);

  std::span<const Operation> operations_;
  Scratch scratch_;
  size_t most_;
  uint32_t ranks_;
  uint64_t grain_ = 1;  // bytes of a cell
  size_t most_lanes_ = 1;
  size_t components_ = 0;
  bool agree_ = false;  // about nodes; where not, nothing can be said
  std::vector<Placing> placing_;
  Snapshots snapshots_;
  ChannelCounters counters_;
  Values values_;
  Accesses accesses_;
  std::vector<uint32_t> engines_;   // (first) component of the puts of (rank, lane) to a peer, or kNobody
  std::vector<Tick> engine_ticks_;  // by component
  std::vector<RankRun> runs_;
  std::vector<std::vector<Buffer>> inputs_;       // by operation and rank
  std::vector<std::vector<Buffer>> outputs_;      // likewise; empty where in place
  std::vector<std::vector<Cell>> slots_;          // by rank
  std::vector<std::vector<Line>> packets_;        // by rank
  std::vector<std::vector<Lent>> lent_;           // by operation and rank; in direct plans
  std::vector<std::vector<Tick>> entries_;        // by operation and rank: the caller's tick at entry
  std::vector<std::vector<Expression>> results_;  // by operation: what the first rank to return held
  std::vector<Event> events_;
  std::vector<Value> folded_;  // of the current step
  std::vector<Range> dst_ranges_;
  std::vector<Range> src_ranges_;
  Verdict verdict_;
};

}  // namespace tutti::plan
