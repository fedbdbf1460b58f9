// Order on the device: graphs that are replayed among eager calls, operations on several streams, several communicators at once, groups of
// host and device calls.
#include "tests/catch.h"
#include "tests/gpu/support/device_ranks.h"
#include "tests/gpu/support/driver.h"
#include "tests/gpu/support/graphs.h"

namespace {

/// An array of int32 on the device of a rank.
class Numbers {
 public:
  Numbers(const tutti::cuda::DevicePtr& device, size_t count)
      : device_(device), count_(count), memory_(device, count * 4) {}
  void set(int32_t value) {
    std::vector<uint8_t> bytes(count_ * 4);
    for (size_t i = 0; i < count_; ++i) {
      const int32_t element = value + static_cast<int32_t>(i % 5);
      std::memcpy(bytes.data() + 4 * i, &element, 4);
    }
    upload(*device_, memory_.address(), bytes);
  }
  /// Every element i is `factor` * (i modulo 5) + `base`.
  void expect_all(int64_t base, int64_t factor, const std::string& what) const {
    const std::vector<uint8_t> bytes = download(*device_, memory_.address(), count_ * 4);
    for (size_t i = 0; i < count_; ++i) {
      int32_t element = 0;
      std::memcpy(&element, bytes.data() + 4 * i, 4);
      const int64_t wanted = base + factor * static_cast<int64_t>(i % 5);
      expect(element == wanted, "{}: element {} is {}, expected {}", what, i, element, wanted);
    }
  }
  int64_t count() const { return static_cast<int64_t>(count_); }
  void* get() const {
    return reinterpret_cast<void*>(memory_.address());
  }  // NOLINT(performance-no-int-to-ptr)

 private:
  tutti::cuda::DevicePtr device_;
  size_t count_;
  Allocation memory_;
};

/// One array for each rank.
struct Arrays {
  Arrays(DeviceRanks& ranks, size_t count) {
    for (int r = 0; r < ranks.size(); ++r) each.push_back(std::make_unique<Numbers>(ranks.device(r), count));
  }
  Numbers& operator[](int r) { return *each[static_cast<size_t>(r)]; }
  std::vector<std::unique_ptr<Numbers>> each;
};

/// Sums `from` into `to` on all ranks as one group, all on the first rank's stream where `one_stream`.
void sum(DeviceRanks& ranks, Arrays& from, Arrays& to, bool one_stream) {
  expect_success(tutti_group_start(), "tutti_group_start");
  for (int r = 0; r < ranks.size(); ++r) {
    expect_success(tutti_all_reduce(from[r].get(), to[r].get(), from[r].count(), TUTTI_INT32, TUTTI_SUM,
                                    ranks[r], ranks.stream(one_stream ? 0 : r).get()),
                   "tutti_all_reduce");
  }
  expect_success(tutti_group_end(), "tutti_group_end");
}

/// What comes on the stream of rank `second` comes after what is on that of rank `first`.
void follow(DeviceRanks& ranks, int first, int second) {
  const tutti::cuda::Driver& driver = ranks.device(0)->driver();
  CUevent event = nullptr;
  driver.check(driver.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING), "cuEventCreate");
  driver.check(driver.cuEventRecord(event, ranks.stream(first).get()), "cuEventRecord");
  driver.check(driver.cuStreamWaitEvent(ranks.stream(second).get(), event, 0), "cuStreamWaitEvent");
  driver.check(driver.cuEventDestroy(event), "cuEventDestroy");
}

void wait_all(DeviceRanks& ranks) {
  for (int r = 0; r < ranks.size(); ++r) {
    ranks.stream(r).wait();
    expect_success(tutti_comm_query(ranks[r]), "tutti_comm_query");
  }
}

}  // namespace

TEST_CASE("a captured group is replayed any number of times, among eager calls of other sizes") {
  if (skipped()) return;
  constexpr int kRanks = 3;
  for (const size_t count : {size_t{40}, size_t{70'000}}) {
    for (const bool one_stream : {true, false}) {
      DYNAMIC_SECTION(count << " elements" << (one_stream ? ", on one stream" : "")) {
        DeviceRanks ranks(kRanks);
        Arrays from(ranks, count);
        Arrays once(ranks, count);
        Arrays twice(ranks, count);
        Arrays other(ranks, 9001);
        Arrays other_sum(ranks, 9001);
        Graph graph(ranks.device(0)->driver(), ranks.stream(0).get());
        // Streams that take part are forked off the captured one, and come back to it.
        for (int r = 1; r < kRanks && !one_stream; ++r) follow(ranks, 0, r);
        sum(ranks, from, once, one_stream);
        sum(ranks, once, twice, one_stream);
        for (int r = 1; r < kRanks && !one_stream; ++r) follow(ranks, r, 0);
        graph.end();
        for (int turn = 0; turn < 12; ++turn) {
          for (int r = 0; r < kRanks; ++r) {
            from[r].set(100 * turn + r);
            other[r].set(turn + r);
          }
          graph.launch();
          wait_all(ranks);
          for (int r = 0; r < kRanks; ++r) {
            once[r].expect_all(300 * turn + 3, 3, "the graph's first sum");
            twice[r].expect_all(900 * turn + 9, 9, "the graph's second sum");
          }
          if (turn % 3 == 1) continue;
          sum(ranks, other, other_sum, false);
          wait_all(ranks);
          for (int r = 0; r < kRanks; ++r) other_sum[r].expect_all(3 * turn + 3, 3, "the eager sum");
        }
      }
    }
  }
}

TEST_CASE("operations on several streams run in the order of their calls") {
  if (skipped()) return;
  DeviceRanks ranks(2);
  std::vector<std::unique_ptr<CopyStream>> streams;
  for (int i = 0; i < 3; ++i) streams.push_back(std::make_unique<CopyStream>(*ranks.device(0)));
  Arrays data(ranks, 5000);
  for (int r = 0; r < 2; ++r) data[r].set(r);
  // Each doubles what the one before has left; only their order gives the right power.
  constexpr int kTimes = 9;
  for (int i = 0; i < kTimes; ++i) {
    expect_success(tutti_group_start(), "tutti_group_start");
    for (int r = 0; r < 2; ++r) {
      expect_success(tutti_all_reduce(data[r].get(), data[r].get(), data[r].count(), TUTTI_INT32, TUTTI_SUM,
                                      ranks[r], streams[static_cast<size_t>((i + r) % 3)]->get()),
                     "tutti_all_reduce");
    }
    expect_success(tutti_group_end(), "tutti_group_end");
  }
  for (const auto& stream : streams) stream->wait();
  wait_all(ranks);
  for (int r = 0; r < 2; ++r) data[r].expect_all(1 << (kTimes - 1), 1 << kTimes, "the last sum");
}

TEST_CASE("two communicators work at the same time") {
  if (skipped()) return;
  DeviceRanks a(2);
  DeviceRanks b(3);
  Arrays small(a, 100);
  Arrays large(b, 60'000);
  for (int turn = 1; turn < 20; ++turn) {
    for (int r = 0; r < 2; ++r) small[r].set(turn);
    for (int r = 0; r < 3; ++r) large[r].set(turn);
    if (turn % 2 == 0) {
      sum(a, small, small, false);
      sum(b, large, large, false);
    } else {
      sum(b, large, large, false);
      sum(a, small, small, false);
    }
    wait_all(a);
    wait_all(b);
    for (int r = 0; r < 2; ++r) small[r].expect_all(2 * turn, 2, "of two ranks");
    for (int r = 0; r < 3; ++r) large[r].expect_all(3 * turn, 3, "of three ranks");
  }
}

TEST_CASE("one group holds calls on host memory and on device memory, several of each") {
  if (skipped()) return;
  DeviceRanks ranks(3);
  Arrays data(ranks, 3000);
  std::vector<std::vector<int32_t>> host(3, std::vector<int32_t>(777));
  for (int r = 0; r < 3; ++r) {
    data[r].set(r);
    std::fill(host[static_cast<size_t>(r)].begin(), host[static_cast<size_t>(r)].end(), r + 1);
  }
  expect_success(tutti_group_start(), "tutti_group_start");
  for (int times = 0; times < 100; ++times) {
    for (int r = 0; r < 3; ++r) {
      auto& mine = host[static_cast<size_t>(r)];
      expect_success(
          tutti_all_reduce(mine.data(), mine.data(), 777, TUTTI_INT32, TUTTI_MAX, ranks[r], nullptr),
          "on the host");
      if (times < 2) {
        expect_success(tutti_all_reduce(data[r].get(), data[r].get(), 3000, TUTTI_INT32, TUTTI_SUM, ranks[r],
                                        ranks.stream(r).get()),
                       "on the device");
      }
    }
  }
  expect_success(tutti_group_end(), "tutti_group_end");
  for (int r = 0; r < 3; ++r) CHECK(host[static_cast<size_t>(r)] == std::vector<int32_t>(777, 3));
  wait_all(ranks);
  for (int r = 0; r < 3; ++r) data[r].expect_all(9, 9, "two sums");
}

TEST_CASE("memory of tutti_mem_alloc, freed and allocated again, is as good as any") {
  if (skipped()) return;
  DeviceRanks ranks(2);
  for (int turn = 0; turn < 6; ++turn) {
    void* memory[2] = {};
    for (int r = 0; r < 2; ++r) {
      expect_success(tutti_mem_alloc(&memory[r], 4096, 0), "tutti_mem_alloc");
      upload(*ranks.device(r), reinterpret_cast<CUdeviceptr>(memory[r]),
             std::vector<uint8_t>(4096, static_cast<uint8_t>(turn + r)));
    }
    expect_success(tutti_group_start(), "tutti_group_start");
    for (int r = 0; r < 2; ++r) {
      expect_success(tutti_all_reduce(memory[r], memory[r], 4096, TUTTI_UINT8, TUTTI_SUM, ranks[r],
                                      ranks.stream(r).get()),
                     "sum");
    }
    expect_success(tutti_group_end(), "tutti_group_end");
    wait_all(ranks);
    for (void* each : memory) {
      CHECK(download(*ranks.device(0), reinterpret_cast<CUdeviceptr>(each), 4096) ==
            std::vector<uint8_t>(4096, static_cast<uint8_t>(2 * turn + 1)));
      expect_success(tutti_mem_free(each), "tutti_mem_free");
    }
  }
}

TEST_CASE("a communicator tells how long its latest operation took, and how long it waited") {
  if (skipped()) return;
  DeviceRanks ranks(2);
  Arrays data(ranks, 100);
  for (int turn = 1; turn <= 300; ++turn) {  // more than are remembered
    sum(ranks, data, data, false);
    if (turn != 3 && turn != 300) continue;
    wait_all(ranks);
    char text[2000];
    expect_success(tutti_comm_describe(ranks[1], text, sizeof text, nullptr), "tutti_comm_describe");
    INFO(text);
    CHECK(std::string(text).find("operation " + std::to_string(turn) + " took ") != std::string::npos);
  }
}
