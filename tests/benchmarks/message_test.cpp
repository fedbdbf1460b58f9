// Which parts of a message are written and checked around a timed call.
#include "benchmarks/message.h"

#include <cstring>

#include "tests/catch.h"

using namespace tutti::bench;

namespace {

double factor(int) {
  return 1;
}

const CollectiveInfo kAllReduce{Kind::all_reduce, "all_reduce", "", "", "", false, factor};
const CollectiveInfo kBroadcast{Kind::broadcast, "broadcast", "", "", "", true, factor};

}  // namespace

TEST_CASE("spans are disjoint, in range and never far") {
  for (const size_t size : {1U, 2U, 4U, 8U}) {
    for (const int64_t count : {1, 7, 511, 512, 513, 4096, 4097, 5000, 123'457}) {
      for (const uint64_t generation : {0U, 1U, 77U, 1'000'000U}) {
        int64_t end = 0;
        int64_t covered = 0;
        for (const Span& span : spans_of(count, size, generation, 4096)) {
          REQUIRE(span.first >= end);
          REQUIRE(span.count > 0);
          end = span.first + span.count;
          covered += span.count;
        }
        REQUIRE(end <= count);
        REQUIRE(covered * static_cast<int64_t>(size) <= 4096);
        if (count * static_cast<int64_t>(size) <= 4096) REQUIRE(covered == count);
      }
    }
  }
  CHECK(spans_of(0, 4, 3).used == 0);
}

TEST_CASE("spans reach every element in time") {
  constexpr int64_t kCount = 10'007;
  std::vector<bool> reached(kCount, false);
  for (uint64_t generation = 0; generation < 64; ++generation) {
    for (const Span& span : spans_of(kCount, 4, generation, 4096)) {
      for (int64_t i = span.first; i < span.first + span.count; ++i) reached[static_cast<size_t>(i)] = true;
    }
  }
  CHECK(std::find(reached.begin(), reached.end(), false) == reached.end());
}

TEST_CASE("an operation of one rank passes, one that does nothing does not") {
  for (const Extent extent : {Extent::whole, Extent::spans}) {
    for (const int64_t count : {1, 100, 5000, 1'200'000}) {
      std::vector<float> send(static_cast<size_t>(count));
      std::vector<float> recv(static_cast<size_t>(count));
      Call call{.count = count};
      Message message(kAllReduce, call, reinterpret_cast<std::byte*>(send.data()),
                      reinterpret_cast<std::byte*>(recv.data()), 1, 0);
      message.prepare(extent, 5);
      CHECK(message.check(extent, 5) > 0);
      std::memcpy(recv.data(), send.data(), send.size() * sizeof(float));
      CHECK(message.check(extent, 5) == 0);
      message.plant_error(extent, 5);
      CHECK(message.check(extent, 5) == 1);
    }
  }
}

TEST_CASE("an input that the operation spoils is found") {
  std::vector<float> send(100);
  std::vector<float> recv(100);
  Call call{.count = 100};
  Message message(kAllReduce, call, reinterpret_cast<std::byte*>(send.data()),
                  reinterpret_cast<std::byte*>(recv.data()), 1, 0);
  message.prepare(Extent::whole, 5);
  recv = send;
  send[50] += 1;
  CHECK(message.check(Extent::whole, 5) == 1);
}

TEST_CASE("only the root has an input in a broadcast, and in place all others are poisoned") {
  std::vector<int32_t> data(100);
  auto* bytes = reinterpret_cast<std::byte*>(data.data());
  Call call{.count = 100, .datatype = TUTTI_INT32, .root = 1};
  Message root(kBroadcast, call, bytes, bytes, 2, 1);
  root.prepare(Extent::whole, 9);
  CHECK(root.check(Extent::whole, 9) == 0);
  Message other(kBroadcast, call, bytes, bytes, 2, 0);
  CHECK(other.check(Extent::whole, 9) == 0);
  other.prepare(Extent::whole, 9);
  CHECK(other.check(Extent::whole, 9) == 100);
}
