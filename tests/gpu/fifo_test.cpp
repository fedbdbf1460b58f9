// The queue of triggers from a kernel to its rank's progress code: wrapping, filling up, order, and the staging ring beside it. The producer is
// the one that kernels have, on a host thread.
#include <fmt/format.h>
#include <sched.h>

#include <string>
#include <thread>
#include <vector>

#include "collectives/executors/cuda/trigger.h"
#include "core/clock.h"
#include "tests/catch.h"
#include "transports/cuda_ipc/fifo.h"

namespace {

using namespace tutti::cuda;

constexpr uint64_t kLimitNs = 60'000'000'000;

struct Queue {
  explicit Queue(uint64_t capacity) : places(capacity) {}
  FifoConsumer consumer() { return {places.data(), places.size(), feedback}; }

  std::vector<Trigger> places;
  FifoFeedback feedback{};
};

class Producer {
 public:
  explicit Producer(Queue& queue) : queue_(queue) {}

  bool post(TriggerKind kind, uint32_t peer, uint64_t detail, uint64_t value) {
    const uint64_t before = consumed_;
    const bool done = try_post(queue_.places.data(), queue_.places.size(), queue_.feedback, posted_,
                               consumed_, kind, peer, detail, value);
    looks_ += before != consumed_ || !done ? 1 : 0;
    return done;
  }
  uint64_t looks() const { return looks_; }

 private:
  Queue& queue_;
  uint64_t posted_ = 0;
  uint64_t consumed_ = 0;
  uint64_t looks_ = 0;
};

/// False once the time is over.
template <typename Attempt>
bool soon(Attempt&& attempt) {
  const uint64_t end = tutti::now_ns() + kLimitNs;
  while (!attempt()) {
    if (tutti::now_ns() > end) return false;
    sched_yield();
  }
  return true;
}

}  // namespace

TEST_CASE("a trigger comes out as it went in") {
  constexpr uint64_t kDetailMost = (uint64_t{1} << 44) - 1;
  for (const TriggerKind kind :
       {TriggerKind::put, TriggerKind::signal, TriggerKind::grant, TriggerKind::announce}) {
    for (const uint32_t peer : {0U, 1U, 65535U}) {
      for (const uint64_t detail : {uint64_t{0}, uint64_t{1}, kDetailMost}) {
        for (const uint64_t value : {uint64_t{0}, UINT64_MAX}) {
          Queue queue(1);
          Producer producer(queue);
          FifoConsumer consumer = queue.consumer();
          TakenTrigger taken;
          REQUIRE_FALSE(consumer.take(taken));
          for (int lap = 0; lap < 3; ++lap) {
            REQUIRE(producer.post(kind, peer, detail, value));
            REQUIRE(consumer.take(taken));
            REQUIRE(taken.kind == kind);
            REQUIRE(taken.peer == static_cast<int>(peer));
            REQUIRE(taken.detail == detail);
            REQUIRE(taken.value == value);
            REQUIRE_FALSE(consumer.take(taken));
          }
        }
      }
    }
  }
}

TEST_CASE("a full queue takes nothing until something was taken from it") {
  for (const uint64_t capacity : {1, 2, 4, 64}) {
    Queue queue(capacity);
    Producer producer(queue);
    FifoConsumer consumer = queue.consumer();
    TakenTrigger taken;
    for (uint64_t round = 0; round < 5; ++round) {
      for (uint64_t i = 0; i < capacity; ++i) REQUIRE(producer.post(TriggerKind::put, 1, i, round));
      REQUIRE_FALSE(producer.post(TriggerKind::put, 1, 0, 0));
      for (uint64_t i = 0; i < capacity; ++i) {
        REQUIRE(consumer.take(taken));
        REQUIRE(taken.detail == i);
        REQUIRE(taken.value == round);
      }
      REQUIRE_FALSE(consumer.take(taken));
    }
    REQUIRE(consumer.taken() == 5 * capacity);
  }
}

TEST_CASE("the producer looks at the consumer only where the queue may be full") {
  Queue queue(64);
  Producer producer(queue);
  FifoConsumer consumer = queue.consumer();
  TakenTrigger taken;
  for (uint64_t i = 0; i < 64 * 100; ++i) {
    REQUIRE(producer.post(TriggerKind::signal, 0, 0, i));
    REQUIRE(consumer.take(taken));
  }
  REQUIRE(producer.looks() <= 100 * 4 / 3 + 1);
}

TEST_CASE("triggers and what they are about arrive in order from another thread") {
  constexpr uint64_t kMessages = 200'000;
  for (const uint64_t capacity : {1, 4, 256}) {
    Queue queue(capacity);
    // A plain word for each trigger, written before it: the queue itself must order it.
    std::vector<uint64_t> beside(kMessages);
    std::string problem;
    std::thread consumer_thread([&] {
      FifoConsumer consumer = queue.consumer();
      for (uint64_t i = 0; i < kMessages && problem.empty(); ++i) {
        TakenTrigger taken;
        if (!soon([&] { return consumer.take(taken); })) {
          problem = fmt::format("trigger {} did not come", i);
        } else if (taken.value != i * 3 || taken.detail != i % 7 || taken.peer != static_cast<int>(i % 5) ||
                   beside[i] != i + 1) {
          problem = fmt::format("trigger {}: peer {}, detail {}, value {}, beside it {}", i, taken.peer,
                                taken.detail, taken.value, beside[i]);
        }
      }
    });
    Producer producer(queue);
    uint64_t sent = 0;
    for (; sent < kMessages; ++sent) {
      beside[sent] = sent + 1;
      const auto post = [&] {
        return producer.post(TriggerKind::put, static_cast<uint32_t>(sent % 5), sent % 7, sent * 3);
      };
      if (!soon(post)) break;
    }
    consumer_thread.join();
    INFO("capacity " << capacity);
    REQUIRE(sent == kMessages);
    REQUIRE(problem == "");
  }
}

TEST_CASE("pieces of the staging ring do not straddle its end, overlap, or leave more than they must") {
  constexpr uint64_t kSize = 1024;
  uint64_t position = 0;
  for (uint64_t i = 0; i < 10'000; ++i) {
    const uint64_t bytes = 1 + (i * 37) % (kSize / 2);
    const StagingPiece piece = next_piece(position, bytes, kSize);
    const uint64_t whole = (bytes + 15) / 16 * 16;
    const uint64_t begin = piece.end - whole;
    REQUIRE(piece.offset % 16 == 0);
    REQUIRE(piece.offset + whole <= kSize);
    REQUIRE(begin % kSize == piece.offset);
    REQUIRE(begin >= position);
    // What is skipped lies at the end of the ring.
    if (begin != position) REQUIRE((piece.offset == 0 && begin - position < whole));
    position = piece.end;
  }
}
