// The low half of the epoch wraps: a packet left from 2^32 operations ago, whose flag would pass for a new one, is not
// believed. Such packets are planted here, in the windows themselves.
#include <atomic>
#include <cstring>

#include "core/thread_group.h"
#include "runtime/communicator/communicator.h"
#include "tests/catch.h"
#include "tests/runtime/support/sanitizer.h"

namespace {

using namespace tutti;

constexpr int kOperations = 12;
constexpr int kRanks = 3;

Call call_of(int i) {
  return {.collective = i % 3 == 2 ? Collective::broadcast : Collective::all_reduce,
          .datatype = DataType::int32,
          .op = ReduceOp::sum,
          .root = i % 3 == 2 ? i % kRanks : 0,
          .count = static_cast<uint64_t>(i % 3 == 1 ? 300 : 10)};
}

/// Fills every packet of a window with a flag that operation `target` will look for, and data that are wrong.
void plant(Node& node, int rank, uint64_t start, int target) {
  uint64_t history = kNoHistory;
  for (int i = 0; i <= target; ++i) history = extend_history(history, pack(call_of(i)), call_of(i).count);
  const uint64_t flag = make_tag(start + static_cast<uint64_t>(target), history);
  const shm::Window window = node.window(rank);
  for (size_t i = 0; i < node.layout.packets_size / sizeof(Packet); ++i) {
    std::memset(window.packets[i].data, 0x5a, sizeof(window.packets[i].data));
    publish(window.packets[i].flag, flag);
  }
}

/// How many of the operations gave a wrong result on rank 0, with stale packets for operation `target`.
int wrong_results(uint64_t start, int target) {
  Environment environment(std::array<const char*, 1>{nullptr}.data());
  Settings settings = make_settings(environment, {});
  settings.epoch_start = start;
  settings.timeout_ns = 120'000'000'000;
  const std::shared_ptr<Node> node = make_local_node(kRanks, 256 << 10);
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int r = 0; r < kRanks; ++r)
    ranks.push_back(std::make_unique<Communicator>(local_world(node, r), settings));
  for (int r = 0; r < kRanks; ++r) plant(*node, r, start, target);
  std::atomic<int> wrong{0};
  ThreadGroup group(kRanks);
  group.run([&](int rank) {
    for (int i = 0; i < kOperations; ++i) {
      const Call call = call_of(i);
      std::vector<int32_t> in(call.count, rank + i);
      std::vector<int32_t> out(call.count, -1);
      const Result result = ranks[static_cast<size_t>(rank)]->run(call, in.data(), out.data());
      if (result != Result::success) raise(result, "{}", ranks[static_cast<size_t>(rank)]->error_text());
      const int32_t wanted = call.collective == Collective::broadcast ? call.root + i : 3 + 3 * i;
      for (const int32_t value : out) {
        if (value == wanted) continue;
        wrong.fetch_add(1);
        break;
      }
    }
  });
  return wrong.load();
}

}  // namespace

TEST_CASE("packets left from before the wrap of the epoch are not believed") {
  // The wrap is at operation 3. Stale packets of it and of each later one.
  for (int target = 3; target < kOperations; ++target) {
    CAPTURE(target);
    CHECK(wrong_results((uint64_t{1} << 32) - 3, target) == 0);
  }
}

TEST_CASE("the planted packets are believed where there is no wrap") {
  // What makes the test above worth something: the flags that it plants are the right ones. Believing them is a data race, and
  // a sanitizer says so.
  if (kSanitized) return;
  CHECK(wrong_results(100, 3) > 0);
}
