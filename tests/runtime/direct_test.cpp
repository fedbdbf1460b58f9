// Buffers that ranks of one process lend to each other: when an operation fails, nobody touches the buffers of a rank that has returned.
#include <tutti/tutti.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "collectives/algorithms/algorithms.h"
#include "collectives/executors/host/interpreter.h"
#include "core/clock.h"
#include "runtime/communicator/world.h"
#include "tests/catch.h"
#include "tests/runtime/support/local_ranks.h"
#include "tests/runtime/support/sanitizer.h"

using namespace tutti;
using Progress = host::Interpreter::Progress;

namespace {

constexpr uint64_t kCount = 1000;

/// Ranks of a direct plan whose interpreters are advanced by hand.
class Hand {
 public:
  Hand(Collective collective, int ranks) : node_(make_local_node(ranks, 0)) {
    const auto n = static_cast<size_t>(ranks);
    inputs_.assign(n, std::vector<float>(kCount, 1));
    outputs_.assign(n, std::vector<float>(kCount, -1));
    operations_.resize(n);
    for (int r = 0; r < ranks; ++r) {
      endpoints_.push_back(std::make_unique<host::Endpoint>(local_world(node_, r)->endpoint()));
      interpreters_.push_back(std::make_unique<host::Interpreter>(*endpoints_.back(), reduce::kernels()));
      plans_.push_back(algorithms::build(
          collective, plan::Algorithm::direct,
          {.ranks = static_cast<uint16_t>(ranks), .rank = static_cast<uint16_t>(r), .one_process = true}));
    }
    // Plans do not move any more.
    for (int r = 0; r < ranks; ++r) start(r, 7);
  }

  void start(int rank, uint64_t epoch) {
    const auto r = static_cast<size_t>(rank);
    host::Operation& op = operations_[r];
    op.plan = &plans_[r];
    op.binding = plan::bind(plans_[r], kCount, sizeof(float), {});
    op.tag = epoch << 32 | 1;
    op.input = reinterpret_cast<const std::byte*>(inputs_[r].data());
    op.output = reinterpret_cast<std::byte*>(outputs_[r].data());
    op.reduce =
        reduce::kernels().reduce[static_cast<size_t>(ReduceOp::sum)][static_cast<size_t>(DataType::float32)];
    (*this)[rank].start(op);
  }

  host::Interpreter& operator[](int rank) { return *interpreters_[static_cast<size_t>(rank)]; }
  const std::vector<float>& output(int rank) const { return outputs_[static_cast<size_t>(rank)]; }
  BoardLine& board(int rank) { return *endpoints_[static_cast<size_t>(rank)]->self().board; }

 private:
  std::shared_ptr<Node> node_;
  std::vector<std::unique_ptr<host::Endpoint>> endpoints_;
  std::vector<std::unique_ptr<host::Interpreter>> interpreters_;
  std::vector<plan::Plan> plans_;
  std::vector<host::Operation> operations_;
  std::vector<std::vector<float>> inputs_;
  std::vector<std::vector<float>> outputs_;
};

bool all_equal(const std::vector<float>& values, float wanted) {
  return std::all_of(values.begin(), values.end(), [=](float value) { return value == wanted; });
}

}  // namespace

TEST_CASE("ranks that lend their buffers end together") {
  Hand hand(Collective::all_reduce, 3);
  CHECK(hand[0].advance() == Progress::blocked);
  CHECK(hand[0].awaited() == std::vector<int>{1});
  CHECK(hand[1].advance() == Progress::blocked);
  CHECK(hand[2].advance() == Progress::blocked);  // has folded its chunk; 0 and 1 have not
  CHECK(hand[0].advance() == Progress::blocked);
  CHECK(hand[1].advance() == Progress::done);
  CHECK(hand[2].advance() == Progress::done);
  CHECK(hand[0].advance() == Progress::done);
  for (int r = 0; r < 3; ++r) CHECK(all_equal(hand.output(r), 3));
}

TEST_CASE("a rank that gives up takes its buffers back, and the others see who") {
  Hand hand(Collective::all_reduce, 3);
  CHECK(hand[0].advance() == Progress::blocked);
  CHECK(hand[1].advance() == Progress::blocked);
  hand[0].withdraw();
  CHECK(hand[2].advance() == Progress::blocked);
  CHECK(hand[2].awaited() == std::vector<int>{0});
  CHECK(hand[2].mismatched_peer() == -1);
  for (int r = 0; r < 3; ++r) CHECK(all_equal(hand.output(r), -1));
}

TEST_CASE("buffers lent for another operation are not used") {
  Hand hand(Collective::broadcast, 2);
  CHECK(hand[0].advance() == Progress::blocked);
  // A root that is ahead in another operation: its counter is high enough for this one.
  hand.board(0).tag.store(uint64_t{9} << 32 | 5);
  hand.board(0).lent.store(uint64_t{9} << 32 | 5);
  CHECK(hand[1].advance() == Progress::mismatch);
  CHECK(hand[1].mismatched_peer() == 0);
  CHECK(all_equal(hand.output(1), -1));
}

TEST_CASE("after an abort nobody writes into the buffers of a rank that has returned") {
  constexpr int kRanks = 3;
  constexpr size_t kElements = 100'000;
  constexpr float kMine = -12345;
  const int repeats = kSanitized ? 10 : 100;
  for (const char* algorithm : {"all_reduce=direct", "broadcast=direct"}) {
    const bool broadcast = std::string_view(algorithm).substr(0, 9) == "broadcast";
    for (int repeat = 0; repeat < repeats; ++repeat) {
      LocalRanks group(kRanks, patient_config(algorithm));
      std::atomic<int> operations{0};
      const int after = 1 + repeat % 7;
      std::thread aborter([&] {
        const uint64_t start = now_ns();
        while (operations.load() < after && now_ns() - start < 20'000'000'000) cpu_relax();
        tutti_comm_abort(group[repeat % kRanks]);
      });
      std::vector<std::vector<float>> inputs(kRanks, std::vector<float>(kElements, 1));
      std::vector<std::vector<float>> outputs(kRanks, std::vector<float>(kElements));
      ThreadGroup threads(kRanks);
      threads.run([&](int rank) {
        auto& in = inputs[static_cast<size_t>(rank)];
        auto& out = outputs[static_cast<size_t>(rank)];
        tutti_result_t result = TUTTI_SUCCESS;
        while (result == TUTTI_SUCCESS) {
          const auto count = static_cast<int64_t>(kElements);
          result = broadcast
                       ? tutti_broadcast(in.data(), out.data(), count, TUTTI_FLOAT32, 0, group[rank], nullptr)
                       : tutti_all_reduce(in.data(), out.data(), count, TUTTI_FLOAT32, TUTTI_SUM, group[rank],
                                          nullptr);
          ++operations;
        }
        expect_result(result, TUTTI_ABORTED, "the operation that was aborted");
        // Both are the caller's again.
        std::fill(in.begin(), in.end(), kMine);
        std::fill(out.begin(), out.end(), kMine);
      });
      aborter.join();
      for (const auto& each : inputs) CHECK(all_equal(each, kMine));
      for (const auto& each : outputs) CHECK(all_equal(each, kMine));
    }
  }
}
