// tutti.hpp: ranks as threads, every form of call, errors as exceptions, ownership.
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <tutti/tutti.hpp>

#include "tests/catch.h"

namespace {

/// Runs `rank` once in a thread for each rank; Catch's macros stay in the main thread.
int failures(int size, const std::function<bool(tutti::Communicator&)>& rank) {
  std::atomic<int> failed{0};
  std::vector<tutti::Communicator> ranks = tutti::Communicator::create_local(size);
  std::vector<std::thread> threads;
  threads.reserve(ranks.size());
  for (tutti::Communicator& comm : ranks) {
    threads.emplace_back([&] {
      try {
        if (!rank(comm)) ++failed;
      } catch (const std::exception&) {
        ++failed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return failed;
}

template <typename Call>
tutti_result_t code_of(Call call) {
  try {
    call();
  } catch (const tutti::Exception& error) {
    return std::string(error.what()).empty() ? TUTTI_INTERNAL_ERROR : error.code();
  }
  return TUTTI_SUCCESS;
}

template <typename T>
bool sums(tutti::Communicator& comm) {
  std::vector<T> mine(5, static_cast<T>(comm.rank() + 1));
  std::vector<T> sum(5);
  comm.all_reduce(std::span<const T>(mine), std::span<T>(sum), TUTTI_SUM);
  comm.all_reduce(std::span<T>(mine), TUTTI_SUM);
  return sum == std::vector<T>(5, static_cast<T>(6)) && mine == sum;
}

static_assert(tutti::datatype_of<int8_t>() == TUTTI_INT8);
static_assert(tutti::datatype_of<unsigned char>() == TUTTI_UINT8);
static_assert(tutti::datatype_of<long>() == TUTTI_INT64);
static_assert(tutti::datatype_of<unsigned long long>() == TUTTI_UINT64);
static_assert(tutti::datatype_of<double>() == TUTTI_FLOAT64);
static_assert(!tutti::Element<bool> && !tutti::Element<char> && !tutti::Element<long double>);
static_assert(!std::is_copy_constructible_v<tutti::Communicator> &&
              !std::is_copy_constructible_v<tutti::Request>);

}  // namespace

TEST_CASE("sums of every native type") {
  CHECK(failures(3, sums<int8_t>) == 0);
  CHECK(failures(3, sums<uint8_t>) == 0);
  CHECK(failures(3, sums<int16_t>) == 0);
  CHECK(failures(3, sums<uint16_t>) == 0);
  CHECK(failures(3, sums<int32_t>) == 0);
  CHECK(failures(3, sums<uint32_t>) == 0);
  CHECK(failures(3, sums<int64_t>) == 0);
  CHECK(failures(3, sums<uint64_t>) == 0);
  CHECK(failures(3, sums<float>) == 0);
  CHECK(failures(3, sums<double>) == 0);
}

TEST_CASE("broadcast, barrier, untyped calls") {
  CHECK(failures(4, [](tutti::Communicator& comm) {
          std::vector<int> data(7, comm.rank() == 2 ? 9 : 0);
          comm.broadcast(std::span<int>(data), 2);
          std::vector<int> copy(7);
          const std::span<const int> send =
              comm.rank() == 2 ? std::span<const int>(data) : std::span<const int>();
          comm.broadcast(send, std::span<int>(copy), 2);
          comm.barrier();
          uint16_t one = 0x3c00;  // 1 in float16; four of them are 0x4400
          comm.all_reduce(&one, &one, 1, TUTTI_FLOAT16, TUTTI_SUM);
          return data == std::vector<int>(7, 9) && copy == data && one == 0x4400;
        }) == 0);
}

TEST_CASE("requests complete by wait, by test, in time and in the destructor") {
  CHECK(failures(2, [](tutti::Communicator& comm) {
          std::vector<float> data(1000, 1);
          for (int i = 0; i < 4; ++i) {
            tutti::Request request = comm.all_reduce_async(std::span<float>(data), TUTTI_SUM);
            if (i == 0) request.wait();
            while (i == 1 && !request.test()) std::this_thread::yield();
            while (i == 2 && !request.wait_for(std::chrono::milliseconds(10))) {
            }
          }
          int value = comm.rank() == 0 ? 5 : 0;
          tutti::Request first = comm.broadcast_async(std::span<int>(&value, 1), 0);
          tutti::Request second = comm.barrier_async();
          first = std::move(second);  // waits for the broadcast
          first.wait();
          return data == std::vector<float>(1000, 16) && value == 5 && first.test();
        }) == 0);
}

TEST_CASE("a rank that waits alone gets its request back") {
  std::vector<tutti::Communicator> ranks = tutti::Communicator::create_local(2);
  tutti::Request request = ranks[0].barrier_async();
  CHECK_FALSE(request.wait_for(std::chrono::milliseconds(5)));
  tutti::Request other = ranks[1].barrier_async();
  std::thread waits([&] { other.wait(); });
  request.wait();
  waits.join();
}

TEST_CASE("errors carry code and text") {
  CHECK(code_of([] { tutti::Communicator::create_local(0); }) == TUTTI_INVALID_ARGUMENT);
  CHECK(code_of([] { tutti::Communicator::create_local(2, {.algorithm = "nonsense"}); }) ==
        TUTTI_INVALID_ARGUMENT);
  CHECK(code_of([] { tutti::UniqueId::from_hex("12"); }) == TUTTI_INVALID_ARGUMENT);
  CHECK(code_of([] { tutti::UniqueId::from_hex(std::string(256, 'g')); }) == TUTTI_INVALID_ARGUMENT);

  std::vector<tutti::Communicator> ranks = tutti::Communicator::create_local(1);
  std::vector<int> two(2);
  std::vector<int> three(3);
  CHECK(code_of([&] { ranks[0].all_reduce(std::span<const int>(two), std::span<int>(three), TUTTI_SUM); }) ==
        TUTTI_INVALID_ARGUMENT);
  CHECK(code_of([&] { ranks[0].broadcast(std::span<int>(two), 1); }) == TUTTI_INVALID_ARGUMENT);
  CHECK(code_of([&] { ranks[0].all_reduce(two.data(), two.data(), -1, TUTTI_INT32, TUTTI_SUM); }) ==
        TUTTI_INVALID_ARGUMENT);
  ranks[0].query();  // unharmed
}

TEST_CASE("a unique id survives its text") {
  const tutti::UniqueId id = tutti::UniqueId::create();
  CHECK(tutti::UniqueId::from_hex(id.hex()).hex() == id.hex());
  CHECK(tutti::UniqueId::create().hex() != id.hex());
}

TEST_CASE("handles move, are adopted and released") {
  std::vector<tutti::Communicator> ranks = tutti::Communicator::create_local(1);
  tutti::Communicator moved = std::move(ranks[0]);
  CHECK_FALSE(static_cast<bool>(ranks[0]));
  CHECK(moved.size() == 1);
  tutti::Communicator adopted = tutti::Communicator::adopt(moved.release());
  CHECK(adopted.rank() == 0);
  CHECK(moved.get() == nullptr);
  adopted.reset();
  CHECK(adopted.get() == nullptr);
  CHECK(code_of([&] { adopted.barrier(); }) != TUTTI_SUCCESS);
}

TEST_CASE("a communicator by unique id joins ranks and names a rank that is missing") {
  const tutti::UniqueId id = tutti::UniqueId::create();
  std::atomic<int> sum{0};
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      tutti::Communicator comm = tutti::Communicator::create(id, rank, 2);
      int value = rank + 1;
      comm.all_reduce(std::span<int>(&value, 1), TUTTI_SUM);
      sum += value;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(sum == 6);
  tutti::Config impatient;
  impatient.setup_timeout = std::chrono::milliseconds(100);
  CHECK(code_of([&] { tutti::Communicator::create(tutti::UniqueId::create(), 0, 2, impatient); }) ==
        TUTTI_TIMEOUT);
}
