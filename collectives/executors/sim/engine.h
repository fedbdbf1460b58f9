// The event loop behind simulate(): see simulator.h for what it does, model.h for what things cost.
//
// Every lane of every rank is a small state machine that the queue of events drives:
//
//   advance ──step + noise──▶ act ──┬─ channel step or claim satisfied ───────────────▶ advance
//                                   ├─ not yet: parked with the counter, the posts or the claim; woken by resume, or for
//                                   │  another look by act
//                                   └─ data: begin (links are booked) ──duration──▶ end (results are written) ──▶ advance
//
// A put to another node goes on by itself: leave (all of it has been read) ──▶ deliver. When the lanes of a rank have ended and
// its puts have left, it retires.
//
// Events at the same time are handled in the order in which they were made; what leaves a source and what is delivered to a
// peer's window first.
// Everything the loop looks at lies in the past or present of its clock, so the order of events decides all.
#pragma once

#include <cstdint>
#include <memory>
#include <queue>
#include <string>
#include <unordered_map>
#include <vector>

#include "collectives/executors/sim/flight.h"
#include "collectives/executors/sim/memory.h"
#include "collectives/executors/sim/simulator.h"
#include "collectives/executors/sim/timeline.h"
#include "collectives/plan/cursor.h"
#include "collectives/plan/pool.h"

namespace tutti::sim {

class Engine {
 public:
  Engine(std::span<const Operation> operations, const Model& model, const Scratch& scratch);
  Report run();

 private:
  static constexpr size_t kNone = ~size_t{0};

  enum class What : uint8_t { enter, act, resume, begin, end, retire, leave, deliver };

  struct Event {
    Time time;
    uint64_t order;    // ties: smaller first
    uint32_t subject;  // a lane; enter, retire: a rank; leave, deliver: a delivery
    What what;
    bool operator>(const Event& other) const {
      return time != other.time ? time > other.time : order > other.order;
    }
  };

  /// A node's ranks that have finished an operation.
  struct Retired {
    size_t ranks = 0;
    size_t last_rank = 0;
    Time last_time = 0;
    std::vector<uint32_t> parked;  // lanes whose claim awaits that all have
  };

  /// An operation with everything that is equal on all ranks.
  struct Epoch {
    const Operation* operation = nullptr;
    plan::Binding binding;
    uint64_t base = 0;  // ticks of all operations before
    plan::Extent slots;
    plan::Extent packets;
    size_t claimed_from =
        kNone;           // the operation that the node's ranks must have retired before scratch is written
    uint64_t flag = 0;   // of its packets
    size_t retired = 0;  // ranks that have finished it
    std::vector<Retired> by_node;
  };

  struct Rank {
    size_t epoch = kNone;
    uint32_t lanes_running = 0;
    std::vector<uint32_t> at_barrier;
    Random arrivals;
    Time left = 0;         // when all its puts to other nodes will have left their sources
    size_t heard_of = 0;   // entries of its node's `emptied` that it has looked at
    uint64_t emptied = 0;  // up to which position of the slots its node has retired, as far as it knows
  };

  /// A node: up to which position of their slots all of its ranks have retired, and since when.
  struct Node {
    struct Emptied {
      uint64_t position;
      Time time;
    };
    size_t ranks = 0;
    std::vector<Emptied> emptied;
  };

  /// The puts of a rank to one of another node.
  struct Port {
    Time left = 0;
    Time crossed = 0;
  };

  struct Lane {
    plan::Cursor cursor;
    Random noise;
    uint32_t missing = 0;  // packets: sources that have not posted yet
    Time ready = 0;        // packets: when the last of those that have can be seen
    Move move;
  };

  struct Post {  // packets in a window
    size_t epoch = kNone;
    Time time = 0;
    struct Waiter {
      uint32_t lane;
      size_t epoch;
    };
    std::vector<Waiter> waiters;
  };

  struct Delivery {
    std::byte* to = nullptr;
    const std::byte* from = nullptr;  // of a posted put, until all has left
    Time there = 0;
    Buffer bytes;
    size_t size = 0;
  };

  // Set-up.
  void check(const Operation& operation, std::span<const uint16_t> nodes) const;
  void check_ports(const Operation& operation, const plan::Plan& plan, std::span<const uint16_t> nodes) const;
  void prepare(std::span<const Operation> operations);

  // Events.
  void push(Time time, What what, uint32_t subject);
  void handle(const Event& event);
  void schedule_entry(size_t rank, size_t epoch, Time now);
  void enter(size_t rank, Time now);
  void start_step(uint32_t lane, Time now);
  void advance(uint32_t lane, Time now);
  void finish(size_t rank, Time now);
  void retire(size_t rank, Time now);

  // Steps.
  void act(uint32_t lane, Time now);
  void claim(uint32_t lane, Time now);
  void grant(uint32_t lane, Time now);
  bool await_grant(uint32_t lane, size_t target, Time now);
  void signal(uint32_t lane, Time now);
  void wait(uint32_t lane, Time now);
  void barrier(uint32_t lane, Time now);
  void await_packets(uint32_t lane, Time now);
  void post(uint32_t lane, const plan::Location& place, Time now);
  void flush(uint32_t lane, Time now);
  void begin(uint32_t lane, Time now);
  void put(uint32_t lane, Time now);
  void end(uint32_t lane, Time now);
  Time book(uint32_t lane, Time now);  // the links the step needs; returns when it ends

  // Data.
  void load(uint32_t lane);
  void store(uint32_t lane, Time now);
  uint32_t new_delivery(std::byte* to, size_t size);
  void send_data(std::byte* to, const std::byte* from, size_t size, Time visible);
  void leave(uint32_t index);
  void deliver(uint32_t index);
  std::byte* address(uint32_t lane, const plan::Location& place);

  size_t rank_of(uint32_t lane) const { return lane / lanes_per_rank_; }
  Epoch& epoch_of(uint32_t lane) { return epochs_[ranks_[rank_of(lane)].epoch]; }
  const plan::Plan& plan_of(uint32_t lane) { return epoch_of(lane).operation->plans[rank_of(lane)]; }
  Time alpha(size_t from, size_t to) const {
    return network_.alpha(static_cast<int>(from), static_cast<int>(to));
  }
  size_t node_of(size_t rank) const { return static_cast<size_t>(network_.node_of(static_cast<int>(rank))); }
  /// Where a put of the current step goes to another node: the last destination; null otherwise.
  const plan::Location* posted(uint32_t lane);
  Timeline& channel(size_t rank, const plan::Step& step);
  uint64_t elements(uint32_t lane);  // that the lane's current step moves
  uint64_t window_offset(uint32_t lane, const plan::Location& place);
  std::string position(uint32_t lane);
  [[noreturn]] void fail(uint32_t lane, std::string_view what);
  [[noreturn]] void deadlock();

  Model model_;
  Scratch scratch_;
  size_t n_;
  uint32_t lanes_per_rank_ = 1;
  bool data_ = false;
  Network network_;
  Flight flight_;
  std::unique_ptr<Memory> memory_;

  std::vector<Epoch> epochs_;
  std::vector<Rank> ranks_;
  std::vector<Lane> lanes_;
  std::vector<Node> nodes_;
  std::unordered_map<uint64_t, Port> ports_;  // by (rank, peer)
  std::unordered_map<uint64_t, Timeline>
      grants_;  // by (rank, peer): which position of its slots it has granted
  std::unordered_map<uint64_t, Timeline> pairs_;
  std::vector<Timeline> boards_;
  std::vector<std::unordered_map<uint64_t, Post>> posts_;  // by window, then by place
  std::vector<Delivery> deliveries_;
  std::vector<uint32_t> free_deliveries_;

  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  uint64_t order_ = 0;
  Report report_;
};

}  // namespace tutti::sim
