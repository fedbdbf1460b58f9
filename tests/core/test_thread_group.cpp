// The thread group: everyone runs, the barrier orders, the first failure is what the caller sees.
#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/thread_group.h"
#include "tests/catch.h"

using namespace tutti;

namespace {

/// The result code of the Error that `call` throws; success where it throws nothing.
template <typename Call>
Result code_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return Result::success;
}

}  // namespace

TEST_CASE("every index runs exactly once, on a thread of its own") {
  const int size = GENERATE(1, 2, 3, 8, 17);
  std::vector<int> runs(static_cast<size_t>(size));
  std::vector<std::thread::id> ids(static_cast<size_t>(size));
  ThreadGroup group(size);
  CHECK(group.size() == size);
  for (int repetition = 0; repetition < 3; ++repetition) {
    group.run([&](int index) {
      ++runs[static_cast<size_t>(index)];
      ids[static_cast<size_t>(index)] = std::this_thread::get_id();
      group.barrier();  // all alive at once, so no id is used twice
    });
    for (size_t i = 0; i < ids.size(); ++i) {
      CHECK(runs[i] == repetition + 1);
      CHECK(ids[i] != std::this_thread::get_id());
      for (size_t j = 0; j < i; ++j) CHECK(ids[i] != ids[j]);
    }
  }
}

TEST_CASE("what is written before the barrier is seen by all after it") {
  const int size = GENERATE(2, 3, 8);
  constexpr int kRounds = 500;
  std::vector<int> slots(static_cast<size_t>(size));  // plain memory: ThreadSanitizer checks the edges too
  std::atomic<int> wrong{0};
  ThreadGroup group(size);
  group.run([&](int index) {
    for (int round = 1; round <= kRounds; ++round) {
      slots[static_cast<size_t>(index)] = round * 1000 + index;
      group.barrier();
      for (int i = 0; i < size; ++i) {
        if (slots[static_cast<size_t>(i)] != round * 1000 + i) ++wrong;
      }
      group.barrier();
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("the first failure is thrown and releases the others from the barrier") {
  const int size = GENERATE(1, 2, 8);
  std::atomic<int> aborted{0};
  ThreadGroup group(size);
  const auto body = [&](int index) {
    group.barrier();
    if (index == size / 2) throw std::runtime_error("thread " + std::to_string(index));
    try {
      group.barrier();
    } catch (const Error& error) {
      if (error.code() == Result::aborted) ++aborted;
      throw;
    }
  };
  std::string message;
  try {
    group.run(body);
  } catch (const std::runtime_error& error) {
    message = error.what();
  }
  CHECK(message == "thread " + std::to_string(size / 2));
  CHECK(aborted == size - 1);

  // The group is as good as new afterwards.
  std::atomic<int> done{0};
  group.run([&](int) {
    group.barrier();
    ++done;
  });
  CHECK(done == size);
}

TEST_CASE("an exception that is no std::exception arrives as well") {
  ThreadGroup group(2);
  int thrown = 0;
  try {
    group.run([](int index) {
      if (index == 1) throw 42;
    });
  } catch (int value) {
    thrown = value;
  }
  CHECK(thrown == 42);
}

TEST_CASE("a barrier that a thread never reaches ends with an error") {
  ThreadGroup group(3, 20'000'000);
  std::string message;
  const Result code = code_of([&] {
    try {
      group.run([&](int index) {
        if (index != 0) group.barrier();
      });
    } catch (const Error& error) {
      message = error.what();
      throw;
    }
  });
  CHECK(code == Result::timeout);
  // On a busy machine the second thread may start only after the first has given up.
  CHECK(message.starts_with("barrier 0: only "));
  CHECK(message.ends_with(" of 3 threads came within 20 ms"));
}

TEST_CASE("a group needs a thread") {
  CHECK(code_of([] { ThreadGroup group(0); }) == Result::invalid_argument);
  CHECK(code_of([] { ThreadGroup group(-1); }) == Result::invalid_argument);
  CHECK(code_of([] { ThreadGroup group(1); }) == Result::success);
}
