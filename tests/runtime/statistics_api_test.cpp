// Statistics through the public interface: what a program gets, while its ranks run and afterwards.
#include <nlohmann/json.hpp>
#include <tutti/tutti.hpp>

#include "tests/catch.h"
#include "tests/runtime/support/local_ranks.h"

namespace {

nlohmann::json stats_of(tutti_comm_t comm) {
  tutti::Communicator view = tutti::Communicator::adopt(comm);
  const std::string text = view.stats();
  static_cast<void>(view.release());
  return nlohmann::json::parse(text);
}

void run_some(tutti_comm_t comm, int operations) {
  std::vector<float> data(1000, 1);
  for (int i = 0; i < operations; ++i) {
    const int64_t count = i % 2 == 0 ? 1 : 1000;
    expect_success(tutti_all_reduce(data.data(), data.data(), count, TUTTI_FLOAT32, TUTTI_MAX, comm, nullptr),
                   "all_reduce");
    if (i % 4 == 0)
      expect_success(tutti_broadcast(data.data(), data.data(), count, TUTTI_FLOAT32, 0, comm, nullptr),
                     "broadcast");
    if (i % 10 == 0) expect_success(tutti_barrier(comm, nullptr), "barrier");
  }
}

const nlohmann::json& kind_in(const nlohmann::json& stats, const char* collective, int bytes_to) {
  for (const nlohmann::json& kind : stats["kinds"]) {
    if (kind["collective"] == collective && kind["bytes_to"] == bytes_to) return kind;
  }
  throw std::runtime_error(fmt::format("no {} up to {} bytes in {}", collective, bytes_to, stats.dump()));
}

}  // namespace

TEST_CASE("operations are counted by collective and size, the same on every rank") {
  constexpr int kRanks = 3;
  LocalRanks group(kRanks);
  group.run([](int, tutti_comm_t comm) { run_some(comm, 1000); });
  for (int r = 0; r < kRanks; ++r) {
    const nlohmann::json stats = stats_of(group[r]);
    CAPTURE(stats.dump(1));
    CHECK(stats["schema"] == "tutti-stats/1");
    CHECK(stats["rank"] == r);
    CHECK(stats["size"] == kRanks);
    CHECK(stats["nodes"] == 1);
    CHECK(stats["scope"] == "all ranks");
    CHECK(stats["operations"] == 1000 + 250 + 100);
    CHECK(stats["pending"] == 0);
    CHECK(stats["derived"].get<int>() + stats["dropped"].get<int>() == 1350);
    CHECK(stats["kinds"].size() == 4);
    CHECK(kind_in(stats, "all_reduce", 64)["latency"]["count"] == 500);
    CHECK(kind_in(stats, "all_reduce", 4096)["latency"]["count"] == 500);
    CHECK(kind_in(stats, "broadcast", 64)["latency"]["count"] == 250);
    CHECK(kind_in(stats, "barrier", 0)["latency_of_node"]["count"] == 100 * kRanks);
    uint64_t last = 0;
    for (const nlohmann::json& rank : stats["ranks"]) last += rank["times_last"].get<uint64_t>();
    CHECK(stats["derived"] == last);
    for (const nlohmann::json& kind : stats["kinds"]) {
      const nlohmann::json& latency = kind["latency"];
      uint64_t in_buckets = 0;
      for (const nlohmann::json& bucket : latency["buckets"]) in_buckets += bucket[1].get<uint64_t>();
      CHECK(latency["count"] == in_buckets);
      CHECK(latency["min_ns"] <= latency["p50_ns"]);
      CHECK(latency["p50_ns"] <= latency["p99_ns"]);
      CHECK(latency["p99_ns"] <= latency["max_ns"]);
      CHECK(kind["waited_ns"] <= latency["sum_ns"]);
    }
  }
}

TEST_CASE("any thread may ask while operations run") {
  LocalRanks group(2);
  std::atomic<int> done{0};
  tutti::ThreadGroup threads(3);
  threads.run([&](int index) {
    if (index < 2) {
      run_some(group[index], 3000);
      done.fetch_add(1);
      return;
    }
    uint64_t before = 0;
    while (done.load() < 2) {
      const nlohmann::json stats = stats_of(group[0]);
      const uint64_t known = stats["derived"].get<uint64_t>() + stats["dropped"].get<uint64_t>();
      // The newest of each rank may be counted in part while it is read.
      expect(known + 2 >= before, "{} operations are known, and {} were before", known, before);
      before = known;
    }
  });
  CHECK(stats_of(group[1])["operations"] == 3000 + 750 + 300);
}

TEST_CASE("asynchronous operations count from when they begin to run") {
  LocalRanks group(2);
  group.run([](int rank, tutti_comm_t comm) {
    std::vector<float> data(4, 1);
    for (int i = 0; i < 100; ++i) {
      std::vector<tutti_request_t> requests(8);
      for (tutti_request_t& request : requests)
        expect_success(tutti_all_reduce_async(data.data(), data.data(), 4, TUTTI_FLOAT32, TUTTI_MAX, comm,
                                              nullptr, &request),
                       "begin");
      while (requests.back() != nullptr) {
        const tutti_result_t result =
            rank == 0 ? tutti_request_wait(&requests.back(), -1) : tutti_request_test(&requests.back());
        if (result != TUTTI_IN_PROGRESS) expect_success(result, "end");
      }
      for (tutti_request_t& request : requests) expect_success(tutti_request_wait(&request, -1), "end");
    }
  });
  const nlohmann::json stats = stats_of(group[0]);
  CHECK(stats["operations"] == 800);
  CHECK(stats["derived"].get<int>() + stats["dropped"].get<int>() == 800);
}

TEST_CASE("a communicator that has done nothing, and a rank alone") {
  LocalRanks group(1);
  CHECK(stats_of(group[0])["operations"] == 0);
  CHECK(stats_of(group[0])["kinds"].empty());
  run_some(group[0], 10);
  const nlohmann::json stats = stats_of(group[0]);
  CHECK(stats["pending"] == 0);
  CHECK(!stats["kinds"][0].contains("skew"));
}

TEST_CASE("both formats, cut to the caller's memory as tutti_describe does it") {
  LocalRanks group(2);
  group.run([](int, tutti_comm_t comm) { run_some(comm, 20); });
  for (const char* format : {"json", "prometheus"}) {
    size_t needed = 0;
    expect_success(tutti_comm_stats(group[0], format, nullptr, 0, &needed), format);
    std::string whole(needed, '?');
    expect_success(tutti_comm_stats(group[0], format, whole.data(), whole.size(), nullptr), format);
    CHECK(whole.back() == '\0');
    CHECK(whole.find('?') == std::string::npos);
    std::string part(10, '?');
    expect_success(tutti_comm_stats(group[0], format, part.data(), part.size(), &needed), format);
    CHECK(part.substr(0, 9) == whole.substr(0, 9));
    CHECK(part[9] == '\0');
    CHECK(needed == whole.size());
  }
}

TEST_CASE("what is wrong with a call is said") {
  LocalRanks group(1);
  char text[8];
  CHECK(tutti_comm_stats(nullptr, "json", text, sizeof(text), nullptr) == TUTTI_INVALID_ARGUMENT);
  CHECK(tutti_comm_stats(group[0], nullptr, text, sizeof(text), nullptr) == TUTTI_INVALID_ARGUMENT);
  CHECK_NOTHROW(expect_text("format is null", "stats"));
  CHECK(tutti_comm_stats(group[0], "json", nullptr, 8, nullptr) == TUTTI_INVALID_ARGUMENT);
  CHECK_NOTHROW(expect_text("text is null", "stats"));
  CHECK(tutti_comm_stats(group[0], "xml", text, sizeof(text), nullptr) == TUTTI_INVALID_ARGUMENT);
  CHECK_NOTHROW(expect_text("format 'xml' does not exist; expected json or prometheus", "stats"));
}
