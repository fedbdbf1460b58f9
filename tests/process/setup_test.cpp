// Set-up that goes wrong: every rank that is there learns what, in bounded time; what can be got over is got over; and nothing is
// left behind.
#include <atomic>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "tests/catch.h"
#include "tests/process/support/forked.h"

namespace {

/// Creating must fail with `wanted` and a text that has all `parts`.
void expect_refused(const tutti_unique_id_t& id, int rank, int size, const tutti_comm_config_t& config,
                    tutti_result_t wanted, std::initializer_list<std::string> parts) {
  tutti_comm_t comm = nullptr;
  const std::string where = fmt::format("rank {} of {}", rank, size);
  expect_result(tutti_comm_create(&comm, &id, rank, size, &config), wanted, where);
  expect(comm == nullptr, "{}: a handle was given all the same", where);
  for (const std::string& part : parts) expect_text(part, where);
}

tutti_comm_config_t hasty_config() {
  tutti_comm_config_t config = patient_config();
  config.setup_timeout_ns = 500 * kMs;
  return config;
}

size_t descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

size_t mapped_windows() {
  std::ifstream maps("/proc/self/maps");
  size_t lines = 0;
  for (std::string line; std::getline(maps, line);) lines += line.find("tutti-window") != std::string::npos;
  return lines;
}

std::set<std::string> names_in(const char* folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename().string().find("tutti") != std::string::npos) names.insert(entry.path());
  }
  return names;
}

}  // namespace

TEST_CASE("missing ranks are named to everybody who is there") {
  const tutti_unique_id_t id = make_id();
  Forked group;
  for (const int rank : {0, 2, 4}) {
    group.start([&, rank] {
      expect_refused(id, rank, 5, hasty_config(), TUTTI_TIMEOUT,
                     {"ranks 1, 3 did not arrive within 500ms", "of 5 ranks"});
    });
  }
  group.expect_all_good(30 * kSecond);
}

TEST_CASE("a missing rank 0 is named by everybody else") {
  const tutti_unique_id_t id = make_id();
  Forked group;
  for (const int rank : {1, 2}) {
    group.start([&, rank] {
      expect_refused(id, rank, 3, hasty_config(), TUTTI_TIMEOUT,
                     {fmt::format("rank {} of 3 did not reach rank 0 at ", rank), "within 500ms"});
    });
  }
  group.expect_all_good(30 * kSecond);
}

TEST_CASE("a second process of the same rank is turned away, and the others meet") {
  // Not for rank 0: two of them cannot listen at one address, and the second one finds out by itself.
  const tutti_unique_id_t id = make_id();
  Forked group;
  Shared<std::atomic<int>> refused(1);
  const auto join = [&](int rank) {
    group.start([&, rank] {
      const OwnRank own(id, rank, 3, patient_config());
      expect_working(own.get(), rank, 3);
    });
  };
  const auto once_or_twice = [&] {
    tutti_comm_t comm = nullptr;
    const tutti_comm_config_t config = patient_config();
    const tutti_result_t result = tutti_comm_create(&comm, &id, 1, 3, &config);
    if (result == TUTTI_SUCCESS) {
      expect_working(comm, 1, 3);
      tutti_comm_destroy(comm);
      return;
    }
    expect_result(result, TUTTI_INVALID_USAGE, "the second process");
    expect_text("rank 1 has joined this communicator twice", "the second process");
    refused[0].fetch_add(1);
  };
  join(0);
  group.start(once_or_twice);
  group.start(once_or_twice);
  // The last rank comes only when one of the two has been turned away: they cannot miss each other.
  const uint64_t start = tutti::now_ns();
  while (refused[0].load() == 0 && tutti::now_ns() - start < 30'000'000'000) sleep_ms(5);
  join(2);
  group.expect_all_good();
  CHECK(refused[0].load() == 1);
}

TEST_CASE(
    "a rank that believes in another number of ranks is turned away, and the others learn both numbers") {
  const tutti_unique_id_t id = make_id();
  Forked group;
  for (const int rank : {0, 1, 2}) {
    group.start([&, rank] {
      tutti_comm_config_t config = patient_config();
      config.setup_timeout_ns = 5 * kSecond;
      const std::string both = "rank 1 joined a communicator of 2 ranks, but rank 0 of one of 3 ranks";
      if (rank == 1) expect_refused(id, 1, 2, config, TUTTI_MISMATCH, {both});
      if (rank != 1)
        expect_refused(id, rank, 3, config, TUTTI_TIMEOUT, {"rank 1 did not arrive within 5s", both});
    });
  }
  group.expect_all_good(30 * kSecond);
}

TEST_CASE("ranks whose settings differ learn the variable and both values, on every rank") {
  for (const int odd : {0, 1, 3}) {
    const tutti_unique_id_t id = make_id();
    Forked group;
    for (int rank = 0; rank < 4; ++rank) {
      group.start([&, rank] {
        // Some come late: they learn it all the same.
        if (rank == 2) sleep_ms(200);
        if (rank == odd) setenv("TUTTI_SLICE_BYTES", "64K", 1);
        const int other = odd == 0 ? rank : 0;
        static_cast<void>(other);
        expect_refused(
            id, rank, 4, patient_config(), TUTTI_MISMATCH,
            {"TUTTI_SLICE_BYTES", fmt::format("'64KiB' on rank {}", odd), "must be equal on all ranks"});
      });
    }
    group.expect_all_good(30 * kSecond);
  }
}

TEST_CASE("the algorithm of the configuration is compared as well") {
  const tutti_unique_id_t id = make_id();
  Forked group;
  for (int rank = 0; rank < 2; ++rank) {
    group.start([&, rank] {
      expect_refused(id, rank, 2, patient_config(rank == 0 ? "ring" : "two_shot"), TUTTI_MISMATCH,
                     {"TUTTI_ALGO", "'ring' on rank 0", "'two_shot' on rank 1"});
    });
  }
  group.expect_all_good(30 * kSecond);
}

TEST_CASE("a rank that dies during set-up is named") {
  const tutti_unique_id_t id = make_id();
  Forked group;
  const auto join = [&](int rank) {
    group.start([&, rank] {
      expect_refused(id, rank, 4, patient_config(), TUTTI_PEER_LOST,
                     {"rank 3 left before all ranks had joined"});
    });
  };
  for (const int rank : {0, 1}) join(rank);
  const size_t victim = group.start([&] {
    tutti_comm_t comm = nullptr;
    const tutti_comm_config_t config = patient_config();
    tutti_comm_create(&comm, &id, 3, 4, &config);
  });
  sleep_ms(500);
  group.signal(victim, SIGKILL);
  group.expect_all_good(30 * kSecond, {victim});
}

TEST_CASE("a variable out of range is refused by name and value") {
  const tutti_unique_id_t id = make_id();
  Forked group;
  group.start([&] {
    setenv("TUTTI_CREDITS", "99", 1);
    expect_refused(id, 0, 1, patient_config(), TUTTI_INVALID_ARGUMENT,
                   {"TUTTI_CREDITS", "99", "from 1 to 16"});
  });
  group.expect_all_good(30 * kSecond);
}

TEST_CASE("one rank is a communicator") {
  const tutti_unique_id_t id = make_id();
  Forked group;
  group.start([&] {
    const OwnRank own(id, 0, 1, patient_config());
    expect_working(own.get(), 0, 1);
  });
  group.expect_all_good(30 * kSecond);
}

TEST_CASE("an id serves again once its communicator has been made") {
  // Not a feature that anybody should use, but never a hang or a crash.
  const tutti_unique_id_t id = make_id();
  for (int repeat = 0; repeat < 2; ++repeat) {
    Forked group;
    for (int rank = 0; rank < 3; ++rank) {
      group.start([&, rank] {
        const OwnRank own(id, rank, 3, patient_config());
        expect_working(own.get(), rank, 3);
      });
    }
    group.expect_all_good();
  }
}

TEST_CASE("fifty communicators leave no descriptor, no mapping and no file") {
  const std::set<std::string> in_shm = names_in("/dev/shm");
  const std::set<std::string> in_tmp = names_in("/tmp");
  Shared<tutti_unique_id_t> ids(51);
  for (size_t i = 0; i < 51; ++i) ids[i] = make_id();
  Forked group;
  for (int rank = 0; rank < 3; ++rank) {
    group.start([&, rank] {
      { const OwnRank first(ids[50], rank, 3, patient_config()); }
      const size_t before = descriptors();
      for (size_t i = 0; i < 50; ++i) {
        const OwnRank own(ids[i], rank, 3, patient_config());
        expect_working(own.get(), rank, 3);
        expect(mapped_windows() == 3, "rank {} has {} windows mapped", rank, mapped_windows());
      }
      expect(descriptors() == before, "rank {}: {} descriptors are open, {} before", rank, descriptors(),
             before);
      expect(mapped_windows() == 0, "rank {}: {} windows are still mapped", rank, mapped_windows());
    });
  }
  group.expect_all_good();
  CHECK(names_in("/dev/shm") == in_shm);
  CHECK(names_in("/tmp") == in_tmp);
}

TEST_CASE("a set-up that fails leaves no descriptor and no mapping") {
  Forked group;
  group.start([] {
    const auto fail_once = [] {
      tutti_comm_config_t config = patient_config();
      config.setup_timeout_ns = 20 * kMs;
      expect_refused(make_id(), 0, 2, config, TUTTI_TIMEOUT, {"rank 1 did not arrive"});
      expect_refused(make_id(), 1, 2, config, TUTTI_TIMEOUT, {"rank 1 of 2 did not reach rank 0"});
    };
    fail_once();
    const size_t before = descriptors();
    for (int i = 0; i < 10; ++i) fail_once();
    expect(descriptors() == before, "{} descriptors are open, {} before", descriptors(), before);
    expect(mapped_windows() == 0, "{} windows are still mapped", mapped_windows());
  });
  group.expect_all_good();
}
