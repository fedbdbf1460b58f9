// What goes wrong on devices: late and missing ranks, different calls, aborts; each ends the kernels, is named, and leaves the device usable.
#include "tests/catch.h"
#include "tests/gpu/support/device_ranks.h"
#include "tests/gpu/support/driver.h"

namespace {

constexpr int64_t kShort = kSecond / 2;

std::string error_of(tutti_comm_t comm, tutti_result_t expected) {
  const tutti_result_t result = tutti_comm_query(comm);
  INFO(tutti_last_error());
  CHECK(std::string(tutti_result_name(result)) == tutti_result_name(expected));
  return tutti_last_error();
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Some floats on the device of a rank.
struct Floats {
  Floats(DeviceRanks& ranks, int rank, size_t count) : memory(ranks.device(rank), count * sizeof(float)) {
    upload(*ranks.device(rank), memory.address(), std::vector<uint8_t>(count * sizeof(float)));
  }
  void* get() const {
    return reinterpret_cast<void*>(memory.address());
  }  // NOLINT(performance-no-int-to-ptr)
  Allocation memory;
};

tutti_result_t sum(DeviceRanks& ranks, int rank, const Floats& data, int64_t count) {
  return tutti_all_reduce(data.get(), data.get(), count, TUTTI_FLOAT32, TUTTI_SUM, ranks[rank],
                          ranks.stream(rank).get());
}

void expect_device_works() {
  DeviceRanks ranks(2);
  const Floats a(ranks, 0, 100);
  const Floats b(ranks, 1, 100);
  expect_success(tutti_group_start(), "tutti_group_start");
  expect_success(sum(ranks, 0, a, 100), "all-reduce");
  expect_success(sum(ranks, 1, b, 100), "all-reduce");
  expect_success(tutti_group_end(), "tutti_group_end");
  for (int r = 0; r < 2; ++r) {
    ranks.stream(r).wait();
    expect_success(tutti_comm_query(ranks[r]), "tutti_comm_query");
  }
}

}  // namespace

TEST_CASE("a missing rank is named when the deadline has passed, small message and large") {
  if (skipped()) return;
  for (const int64_t count : {int64_t{4}, int64_t{300'000}}) {
    DYNAMIC_SECTION(count << " elements") {
      DeviceRanks ranks(3, nullptr, 1, kShort);
      const Floats a(ranks, 0, static_cast<size_t>(count));
      const Floats c(ranks, 2, static_cast<size_t>(count));
      expect_success(sum(ranks, 0, a, count), "all-reduce");
      expect_success(sum(ranks, 2, c, count), "all-reduce");
      ranks.stream(0).wait();
      ranks.stream(2).wait();
      const std::string text = error_of(ranks[0], TUTTI_TIMEOUT) + error_of(ranks[2], TUTTI_TIMEOUT);
      INFO(text);
      CHECK(contains(text, "for rank 1"));
      CHECK(contains(text, "all_reduce of " + std::to_string(count) + " float32, sum"));
      // It stays: on all ranks, and for every call.
      CHECK(sum(ranks, 0, a, count) == TUTTI_TIMEOUT);
      error_of(ranks[1], TUTTI_TIMEOUT);
    }
  }
  expect_device_works();
}

TEST_CASE("ranks that call different operations learn both") {
  if (skipped()) return;
  for (const auto& [first, second] : {std::pair<int64_t, int64_t>{8, 9}, {300'000, 300'001}, {8, 300'000}}) {
    DYNAMIC_SECTION(first << " and " << second << " elements") {
      // Three operations that agree come first.
      DeviceRanks ranks(2, nullptr, 1, 20 * kShort);
      const Floats a(ranks, 0, 300'001);
      const Floats b(ranks, 1, 300'001);
      for (int i = 0; i < 3; ++i) {
        expect_success(sum(ranks, 0, a, 1000), "all-reduce");
        expect_success(sum(ranks, 1, b, 1000), "all-reduce");
      }
      expect_success(sum(ranks, 0, a, first), "all-reduce");
      expect_success(sum(ranks, 1, b, second), "all-reduce");
      ranks.stream(0).wait();
      ranks.stream(1).wait();
      const std::string text = error_of(ranks[0], TUTTI_MISMATCH);
      INFO(text);
      CHECK(contains(text, "all_reduce of " + std::to_string(first) + " float32"));
      CHECK(contains(text, "all_reduce of " + std::to_string(second) + " float32"));
      // The first part counts all operations, another one those that it had a part in.
      CHECK((contains(text, "device operation 4") || contains(text, "device operation 1 of part ")));
      error_of(ranks[1], TUTTI_MISMATCH);
    }
  }
  expect_device_works();
}

TEST_CASE("an abort ends kernels that wait, of all ranks") {
  if (skipped()) return;
  for (const int aborting : {0, 1, 2}) {
    DYNAMIC_SECTION("by rank " << aborting) {
      DeviceRanks ranks(3);
      const Floats a(ranks, 0, 1000);
      const Floats b(ranks, 1, 1000);
      expect_success(sum(ranks, 0, a, 1000), "all-reduce");
      expect_success(sum(ranks, 1, b, 1000), "all-reduce");
      expect_success(tutti_comm_abort(ranks[aborting]), "tutti_comm_abort");
      ranks.stream(0).wait();
      ranks.stream(1).wait();
      for (int r = 0; r < 3; ++r) {
        const std::string text = error_of(ranks[r], TUTTI_ABORTED);
        INFO(text);
        CHECK(contains(text, "rank " + std::to_string(aborting) + " aborted the communicator"));
      }
    }
  }
  expect_device_works();
}

TEST_CASE("what is wrong with a call is found before anything is enqueued") {
  if (skipped()) return;
  DeviceRanks ranks(2);
  const Floats a(ranks, 0, 100);
  const Floats b(ranks, 1, 100);
  std::vector<float> host(100);
  const CUstream stream = ranks.stream(0).get();
  const auto refused = [&](tutti_result_t result, tutti_result_t expected, const std::string& part) {
    const std::string text = tutti_last_error();
    INFO(text);
    CHECK(std::string(tutti_result_name(result)) == tutti_result_name(expected));
    CHECK(contains(text, part));
  };
  refused(tutti_all_reduce(a.get(), host.data(), 100, TUTTI_FLOAT32, TUTTI_SUM, ranks[0], stream),
          TUTTI_INVALID_ARGUMENT,
          "the send buffer is device memory and the receive buffer pageable host memory");
  refused(tutti_all_reduce(host.data(), host.data(), 100, TUTTI_FLOAT32, TUTTI_SUM, ranks[0], stream),
          TUTTI_INVALID_ARGUMENT, "which no device can reach");
  refused(tutti_all_reduce(a.get(), static_cast<char*>(a.get()) + 4, 90, TUTTI_FLOAT32, TUTTI_SUM, ranks[0],
                           stream),
          TUTTI_INVALID_ARGUMENT, "overlap");
  tutti_request_t request = nullptr;
  refused(tutti_all_reduce_async(a.get(), a.get(), 100, TUTTI_FLOAT32, TUTTI_SUM, ranks[0], stream, &request),
          TUTTI_INVALID_USAGE, "without a request");
  refused(tutti_group_end(), TUTTI_INVALID_USAGE, "no open group");
  refused(tutti_mem_free(a.get()), TUTTI_INVALID_ARGUMENT, "is not memory of tutti_mem_alloc");
  void* memory = nullptr;
  refused(tutti_mem_alloc(&memory, 16, 99), TUTTI_INVALID_ARGUMENT, "device 99 does not exist");

  tutti_comm_config_t without = patient_config();
  without.device = TUTTI_DEVICE_NONE;
  LocalRanks hosts(1, without);
  refused(tutti_barrier(hosts[0], stream), TUTTI_UNSUPPORTED, "this communicator has no device");
  refused(tutti_all_reduce(host.data(), a.get(), 100, TUTTI_FLOAT32, TUTTI_SUM, hosts[0], nullptr),
          TUTTI_UNSUPPORTED, "the receive buffer is device memory");
  refused(tutti_broadcast(a.get(), host.data(), 100, TUTTI_FLOAT32, 0, hosts[0], nullptr), TUTTI_UNSUPPORTED,
          "the send buffer is device memory");

  // The communicator is unharmed.
  expect_success(tutti_group_start(), "tutti_group_start");
  expect_success(sum(ranks, 0, a, 100), "all-reduce");
  expect_success(sum(ranks, 1, b, 100), "all-reduce");
  expect_success(tutti_group_end(), "tutti_group_end");
  for (int r = 0; r < 2; ++r) {
    ranks.stream(r).wait();
    expect_success(tutti_comm_query(ranks[r]), "tutti_comm_query");
  }
}

TEST_CASE("more ranks than a device can run at once are refused") {
  if (skipped()) return;
  std::vector<tutti_comm_t> comms(65);
  const std::vector<int> devices(comms.size(), 0);
  tutti_comm_config_t config = patient_config();
  config.devices = devices.data();
  CHECK(tutti_comm_create_local(comms.data(), static_cast<int>(comms.size()), &config) == TUTTI_UNSUPPORTED);
  INFO(tutti_last_error());
  CHECK(contains(tutti_last_error(), "expected at most"));
}

TEST_CASE("more ranks than one launch holds need a stream each") {
  if (skipped()) return;
  constexpr int kRanks = 9;
  DeviceRanks ranks(kRanks);
  std::vector<std::unique_ptr<Floats>> data;
  for (int r = 0; r < kRanks; ++r) data.push_back(std::make_unique<Floats>(ranks, r, 1000));
  const auto sum_all = [&](bool one_stream) {
    expect_success(tutti_group_start(), "tutti_group_start");
    for (int r = 0; r < kRanks; ++r) {
      void* at = data[static_cast<size_t>(r)]->get();
      expect_success(tutti_all_reduce(at, at, 1000, TUTTI_FLOAT32, TUTTI_SUM, ranks[r],
                                      ranks.stream(one_stream ? 0 : r).get()),
                     "tutti_all_reduce");
    }
    return tutti_group_end();
  };
  CHECK(sum_all(true) == TUTTI_UNSUPPORTED);
  INFO(tutti_last_error());
  CHECK(contains(tutti_last_error(), "a stream for each rank"));
  // Nothing was begun, so nothing is harmed.
  expect_success(sum_all(false), "tutti_group_end");
  for (int r = 0; r < kRanks; ++r) {
    ranks.stream(r).wait();
    expect_success(tutti_comm_query(ranks[r]), "tutti_comm_query");
  }
}
