// Joining: ranks that are threads meet on loopback, agree, exchange tables, or all learn why not.
#include <algorithm>
#include <cstdio>
#include <string>
#include <thread>

#include "tests/bootstrap/support.h"
#include "tests/catch.h"
#include "tests/runtime/support/sanitizer.h"

using namespace control_test;

TEST_CASE("ranks meet and exchange tables at every size") {
  for (int size = 1; size <= 17; ++size) {
    const UniqueId id = loopback_id();
    ThreadGroup group(size);
    group.run([&](int rank) {
      const auto control = Control::join(id, settings_of(rank, size));
      for (const size_t bytes : {0, 1, 40, 5000}) expect_gathers(*control, rank, size, bytes);
    });
  }
}

TEST_CASE("large tables, far beyond what connections hold by themselves") {
  constexpr int kSize = 9;
  const UniqueId id = loopback_id();
  ThreadGroup group(kSize);
  group.run([&](int rank) {
    const auto control = Control::join(id, settings_of(rank, kSize));
    expect_gathers(*control, rank, kSize, 1'000'000);
    expect_gathers(*control, rank, kSize, 10);
  });
}

TEST_CASE("an entry that is too large is refused on all ranks") {
  const UniqueId id = loopback_id();
  const auto outcomes = outcomes_of(all_ranks(3), [&](int rank) {
    const auto control = Control::join(id, settings_of(rank, 3));
    try {
      control->all_gather(std::string(rank == 2 ? (1 << 20) + 1 : 1, 'x'));
    } catch (const Error& e) {
      control->fail(e.code(), e.what());
      throw;
    }
  });
  for (const Outcome& o : outcomes) {
    CHECK(o.code == Result::internal_error);
    CHECK(contains(o.text, "rank 2: all_gather of 1048577 bytes, at most 1048576 allowed"));
  }
}

TEST_CASE("256 ranks meet within 2 seconds, and each sends and receives little more than its table") {
  constexpr int kSize = 256;
  constexpr size_t kEntry = 200;
  uint64_t best_ns = UINT64_MAX;
  std::vector<uint64_t> bytes(kSize);
  for (int attempt = 0; attempt < 3; ++attempt) {
    const UniqueId id = loopback_id();
    ThreadGroup group(kSize);
    const uint64_t start = now_ns();
    std::atomic<uint64_t> slowest{0};
    group.run([&](int rank) {
      const auto control = Control::join(id, settings_of(rank, kSize));
      const uint64_t took = now_ns() - start;
      const uint64_t joined = control->bytes();
      group.barrier();  // else children's tables may have come already
      uint64_t seen = slowest.load();
      while (took > seen && !slowest.compare_exchange_weak(seen, took)) {
      }
      expect_gathers(*control, rank, kSize, kEntry);
      // Joining: rank 0 hears everybody's hello, the others only what concerns themselves.
      expect(joined < (rank == 0 ? uint64_t{300} * kSize : 3000),
             "rank {} sent and received {} bytes to join", rank, joined);
      bytes[static_cast<size_t>(rank)] = control->bytes();
      group.barrier();
    });
    best_ns = std::min(best_ns, slowest.load());
    if (best_ns < 2 * kSecondNs) break;
  }
  std::sort(bytes.begin(), bytes.end());
  constexpr uint64_t kTable = kSize * (kEntry + 24);
  std::printf("256 ranks joined in %.0f ms; bytes per rank, with a table of %llu: median %llu, most %llu\n",
              static_cast<double>(best_ns) / 1e6, static_cast<unsigned long long>(kTable),
              static_cast<unsigned long long>(bytes[kSize / 2]),
              static_cast<unsigned long long>(bytes[kSize - 1]));
  // In from the parent and out to two children, and the way up: at most half of the table in and out.
  CHECK(bytes[kSize - 1] < 4 * kTable + 300 * kSize);
  CHECK(bytes[kSize / 2 - 1] < kTable + 5000);  // half of the ranks are leaves
  if (!kSanitized) CHECK(best_ns < 2 * kSecondNs);
}

TEST_CASE("missing ranks are named on every rank that came, within the limit") {
  const UniqueId id = loopback_id();
  const auto outcomes =
      outcomes_of({0, 1, 3, 6}, [&](int rank) { Control::join(id, settings_of(rank, 7, kSecondNs)); });
  for (const Outcome& o : outcomes) {
    CHECK(o.code == Result::timeout);
    CHECK(contains(o.text, "set-up: ranks 2, 4, 5 did not arrive within 1s (of 7 ranks"));
    CHECK(o.ns < 2 * kSecondNs);
  }
}

TEST_CASE("ranks that come long before rank 0 learn within their own limit who is missing") {
  const UniqueId id = loopback_id();
  const auto outcomes = outcomes_of({0, 1}, [&](int rank) {
    if (rank == 0) std::this_thread::sleep_for(std::chrono::milliseconds(700));
    Control::join(id, settings_of(rank, 3, 1500 * kMsNs));
  });
  for (const Outcome& o : outcomes) {
    CHECK(o.code == Result::timeout);
    INFO(o.text);
    CHECK(contains(o.text, "rank 2 did not arrive within 1500ms"));
  }
  CHECK(outcomes[1].ns < 1600 * kMsNs);
}

TEST_CASE("without rank 0 each rank says that it did not reach it") {
  UniqueId id = loopback_id();
  take_listener(id).reset();
  const auto outcomes =
      outcomes_of({1, 2}, [&](int rank) { Control::join(id, settings_of(rank, 3, 300 * kMsNs)); });
  for (size_t i = 0; i < 2; ++i) {
    CHECK(outcomes[i].code == Result::timeout);
    CHECK(contains(
        outcomes[i].text,
        fmt::format("set-up: rank {} of 3 did not reach rank 0 at {} within 300ms: Connection refused", i + 1,
                    id.address_text())));
  }
}

TEST_CASE("a difference of settings is named with both values on all ranks") {
  for (const int other : {1, 2, 4}) {
    const UniqueId id = loopback_id();
    const auto outcomes = outcomes_of(all_ranks(5), [&](int rank) {
      ControlSettings settings = settings_of(rank, 5);
      if (rank == other) settings.digest = "version=1\nTUTTI_ALGO=two_shot\n";
      Control::join(id, settings);
    });
    for (const Outcome& o : outcomes) {
      CHECK(o.code == Result::mismatch);
      CHECK(o.text ==
            fmt::format(
                "TUTTI_ALGO is 'ring' on rank 0 but 'two_shot' on rank {}; it must be equal on all ranks",
                other));
    }
  }
}

TEST_CASE("another version is named likewise") {
  const UniqueId id = loopback_id();
  const auto outcomes = outcomes_of(all_ranks(3), [&](int rank) {
    ControlSettings settings = settings_of(rank, 3);
    if (rank == 1) settings.digest = "version=2\nTUTTI_ALGO=ring\n";
    Control::join(id, settings);
  });
  for (const Outcome& o : outcomes) {
    CHECK(o.text == "version is '1' on rank 0 but '2' on rank 1; it must be equal on all ranks");
  }
}

TEST_CASE("a second rank of the same number is turned away, and the job goes on") {
  const UniqueId id = loopback_id();
  std::atomic<bool> turned_away{false};
  const auto outcomes = outcomes_of({0, 1, 1, 2}, [&](int rank) {
    // The last one completes the job only when the intruder has had its answer.
    if (rank == 2) await("the second rank 1 to be turned away", [&] { return turned_away.load(); });
    try {
      const auto control = Control::join(id, settings_of(rank, 3));
      expect_gathers(*control, rank, 3);
    } catch (const Error&) {
      turned_away.store(true);
      throw;
    }
  });
  CHECK(outcomes[0].text.empty());
  CHECK(outcomes[3].text.empty());
  const std::string refused = outcomes[1].text + outcomes[2].text;
  CHECK(refused == "rank 1 has joined this communicator twice");
}

TEST_CASE("ranks of another size or number are turned away, and the job goes on") {
  const UniqueId id = loopback_id();
  std::atomic<int> turned_away{0};
  const auto outcomes = outcomes_of({0, 1, 2, 101, 107}, [&](int rank) {
    const bool stranger = rank > 100;
    if (rank == 2) await("two strangers to be turned away", [&] { return turned_away.load() == 2; });
    try {
      // Rank 1 of 4, rank 7 of 8: neither is one of three.
      const auto control =
          Control::join(id, stranger ? settings_of(rank - 100, rank == 101 ? 4 : 8) : settings_of(rank, 3));
      expect_gathers(*control, rank, 3);
    } catch (const Error&) {
      turned_away.fetch_add(1);
      throw;
    }
  });
  for (size_t i = 0; i < 3; ++i) CHECK(outcomes[i].text == "");
  CHECK(outcomes[3].text == "rank 1 joined a communicator of 4 ranks, but rank 0 of one of 3 ranks");
  CHECK(outcomes[4].text == "rank 7 joined a communicator of 8 ranks, but rank 0 of one of 3 ranks");
}

TEST_CASE("fail() ends set-up on all ranks with the same error") {
  for (const int size : {2, 3, 8, 17}) {
    for (const int failing : {0, 1, size - 1}) {
      const UniqueId id = loopback_id();
      const auto outcomes = outcomes_of(all_ranks(size), [&](int rank) {
        const auto control = Control::join(id, settings_of(rank, size));
        expect_gathers(*control, rank, size);
        if (rank == failing) {
          control->fail(Result::unsupported, fmt::format("rank {} cannot", rank));
          control->all_gather("");  // gives the same error
        }
        control->all_gather("x");
      });
      for (const Outcome& o : outcomes) {
        CHECK(o.code == Result::unsupported);
        CHECK(o.text == fmt::format("rank {} cannot", failing));
        CHECK(o.ns < 20 * kSecondNs);
      }
    }
  }
}

TEST_CASE("a rank that does not take part in an exchange is named on all others") {
  const UniqueId id = loopback_id();
  std::atomic<int> done{0};
  const auto outcomes = outcomes_of(all_ranks(7), [&](int rank) {
    const auto control = Control::join(id, settings_of(rank, 7, kSecondNs));
    if (rank == 5) {
      await("the others to give up", [&] { return done.load() == 6; });
      return;
    }
    try {
      control->all_gather("x");
    } catch (const Error&) {
      done.fetch_add(1);
      throw;
    }
  });
  for (size_t r = 0; r < 7; ++r) {
    if (r == 5) continue;
    CHECK(outcomes[r].code == Result::timeout);
    CHECK(contains(outcomes[r].text, "set-up: rank 5 did not take part in the exchange of tables within 1s"));
  }
}

TEST_CASE("a rank that leaves during set-up is named on all others") {
  const UniqueId id = loopback_id();
  const auto outcomes = outcomes_of(all_ranks(7), [&](int rank) {
    const auto control = Control::join(id, settings_of(rank, 7));
    expect_gathers(*control, rank, 7);
    if (rank != 1) control->all_gather("x");
  });
  for (size_t r = 0; r < 7; ++r) {
    if (r == 1) continue;
    CHECK(outcomes[r].code == Result::peer_lost);
    CHECK(contains(outcomes[r].text, "set-up: rank 1 left during set-up"));
  }
}

TEST_CASE("clocks of threads of one process differ by no more than the stated error") {
  constexpr int kSize = 8;
  const UniqueId id = loopback_id();
  ThreadGroup group(kSize);
  group.run([&](int rank) {
    const auto control = Control::join(id, settings_of(rank, kSize));
    const auto offset = static_cast<uint64_t>(std::abs(control->clock_offset_ns()));
    expect(offset <= control->clock_error_ns(), "rank {}: offset {} ns, error {} ns", rank, offset,
           control->clock_error_ns());
    expect((rank == 0) == (control->clock_error_ns() == 0), "rank {}: error {}", rank,
           control->clock_error_ns());
    expect(control->clock_error_ns() < 5 * kSecondNs, "rank {}: error {}", rank, control->clock_error_ns());
    group.barrier();
  });
}

TEST_CASE("ids are independent: several jobs at once in one process") {
  constexpr int kJobs = 5;
  constexpr int kSize = 4;
  std::vector<UniqueId> ids;
  for (int job = 0; job < kJobs; ++job) ids.push_back(loopback_id());
  ThreadGroup group(kJobs * kSize);
  group.run([&](int index) {
    const int rank = index % kSize;
    const auto control = Control::join(ids[static_cast<size_t>(index / kSize)], settings_of(rank, kSize));
    expect_gathers(*control, rank, kSize);
  });
}

TEST_CASE("a derived id leads the ranks together") {
  UniqueId reserved = loopback_id();
  const uint16_t port = reserved.port_number();
  take_listener(reserved).reset();
  ThreadGroup group(3);
  group.run([&](int rank) {
    const auto control = Control::join(UniqueId::derive("127.0.0.1", port, "job 17"), settings_of(rank, 3));
    expect_gathers(*control, rank, 3);
  });
}

TEST_CASE("an id whose socket was closed as the oldest of too many still works") {
  const UniqueId id = loopback_id();
  for (size_t i = 0; i < kMostWaiting; ++i) loopback_id();
  ThreadGroup group(3);
  group.run([&](int rank) {
    const auto control = Control::join(id, settings_of(rank, 3));
    expect_gathers(*control, rank, 3);
  });
}

TEST_CASE("inner ranks listen in the port range") {
  // A range that was free a moment ago; the first port is rank 0's.
  const UniqueId first = loopback_id();
  const uint16_t low = first.port_number();
  const std::string range = fmt::format("{}-{}", low, std::min(65535, low + 200));
  ThreadGroup group(9);
  group.run([&](int rank) {
    ControlSettings settings = settings_of(rank, 9);
    settings.ports = range;
    settings.interfaces = "=lo";
    const auto control = Control::join(first, settings);
    expect_gathers(*control, rank, 9);
  });
}
