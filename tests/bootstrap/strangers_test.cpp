// Connections that do not belong to the job, while it is being set up and afterwards: it comes up all the same, and stays.
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <atomic>
#include <filesystem>
#include <random>
#include <string>
#include <thread>

#include "runtime/bootstrap/control_connector.h"
#include "runtime/bootstrap/frame.h"
#include "tests/bootstrap/support.h"
#include "tests/catch.h"
#include "tests/runtime/support/sanitizer.h"

using namespace control_test;

namespace {

using Held = std::vector<Descriptor>;

/// A connection to that address; empty when nobody listens there.
Descriptor try_reach(const IpAddress& address, uint16_t port) {
  const SocketAddress name(address, port);
  Descriptor socket(::socket(name.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  expect(static_cast<bool>(socket), "no socket");
  // Where the queue of those who come is full, the system tries again after 1, 3 and 7 seconds.
  const timeval longest = {.tv_sec = 20, .tv_usec = 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &longest, sizeof(longest));
  if (connect(socket.get(), name.get(), name.size) != 0) socket.reset();
  return socket;
}

Descriptor reach(const UniqueId& id) {
  Descriptor socket = try_reach(id.ip(), id.port_number());
  expect(static_cast<bool>(socket), "the stranger did not reach rank 0");
  return socket;
}

void say(const Descriptor& socket, const std::string& bytes) {
  // Being closed meanwhile is what a stranger must expect.
  [[maybe_unused]] const ssize_t sent = send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

std::string hello(const UniqueId& id, int rank, int size) {
  Hello hello;
  std::copy(std::begin(id.secret), std::end(id.secret), hello.secret.begin());
  hello.size = size;
  return frame_bytes(FrameType::hello, rank, write_hello(hello));
}

/// The ranks meet while `stranger(id, held)` does what it likes; the last rank comes when it has done so, and what it holds open it
/// holds open until they have met.
template <typename Stranger>
void meet_in_spite_of(Stranger&& stranger, int size = 5) {
  const UniqueId id = loopback_id();
  std::atomic<bool> done{false};
  std::atomic<int> met{0};
  ThreadGroup group(size + 1);
  group.run([&](int rank) {
    if (rank == size) {
      Held held;
      stranger(id, held);
      done.store(true);
      await(
          "the ranks to meet", [&] { return met.load() == size; }, 60 * kSecondNs);
      return;
    }
    if (rank == size - 1)
      await(
          "the stranger", [&] { return done.load(); }, 60 * kSecondNs);
    const auto control = Control::join(id, settings_of(rank, size));
    expect_gathers(*control, rank, size);
    met.fetch_add(1);
  });
}

/// Waits until the other end closes; throws when it does not within `limit_ns`.
void expect_closed(const Descriptor& socket, uint64_t limit_ns) {
  await(
      "a stranger to be turned away",
      [&] {
        char byte = 0;
        const ssize_t n = recv(socket.get(), &byte, 1, MSG_DONTWAIT);
        return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
      },
      limit_ns);
}

/// Says each of the words as a stranger of its own, and hands the sockets to `held`: all must be turned away for what they say. Each one may meet with
/// a moment in which this machine does something else; were they closed for their silence only, all of them would take far longer.
void expect_refused(const UniqueId& id, const std::vector<std::string>& words, Held& held) {
  const uint64_t start = now_ns();
  for (const std::string& word : words) {
    held.push_back(reach(id));
    say(held.back(), word);
    expect_closed(held.back(), 10 * kSecondNs);
  }
  expect(now_ns() - start < words.size() * kSecondNs, "{} strangers were closed in {} ms", words.size(),
         (now_ns() - start) / kMsNs);
}

}  // namespace

TEST_CASE("strangers who say nothing are closed after a while") {
  meet_in_spite_of([](const UniqueId& id, Held& held) {
    for (int i = 0; i < 20; ++i) held.push_back(reach(id));
    const uint64_t start = now_ns();
    for (const Descriptor& socket : held) expect_closed(socket, 10 * kSecondNs);
    expect(now_ns() - start > kSecondNs, "closed after {} ms", (now_ns() - start) / kMsNs);
  });
}

TEST_CASE("a stranger who says its hello byte by byte is closed after the same while") {
  meet_in_spite_of([](const UniqueId& id, Held&) {
    const Descriptor socket = reach(id);
    const std::string bytes = hello(id, 1, 5);
    const uint64_t start = now_ns();
    // It needs 7 seconds for the whole.
    size_t said = 0;
    await(
        "a slow stranger to be turned away",
        [&] {
          if (said < bytes.size() && now_ns() - start > said * 100 * kMsNs)
            say(socket, bytes.substr(said++, 1));
          char byte = 0;
          const ssize_t n = recv(socket.get(), &byte, 1, MSG_DONTWAIT);
          return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
        },
        15 * kSecondNs);
    expect(said < bytes.size(), "it could say all of its {} bytes", said);
  });
}

TEST_CASE("strangers who talk nonsense are closed at once") {
  meet_in_spite_of([](const UniqueId& id, Held& held) {
    std::mt19937_64 random(1);
    std::vector<std::string> words;
    for (const size_t size : {16, 17, 70, 71, 1000, 70000}) {
      for (int i = 0; i < 5; ++i) {
        std::string& bytes = words.emplace_back(size, '\0');
        for (char& c : bytes) c = static_cast<char>(random());
      }
    }
    expect_refused(id, words, held);
  });
}

TEST_CASE("frames that do not belong here, too large ones and other versions are refused") {
  meet_in_spite_of([](const UniqueId& id, Held& held) {
    std::vector<std::string> words;
    for (int type = 1; type <= 19; ++type) {
      words.push_back(frame_bytes(static_cast<FrameType>(type), 1,
                                  std::string(most_payload(static_cast<FrameType>(type)), 'x')));
    }
    std::string huge = frame_bytes(FrameType::entry, 1, "x");
    huge[12] = 0x7f;  // 2 GB announced
    words.push_back(huge);
    std::string version = hello(id, 1, 5);
    version[5] = 9;
    words.push_back(version);
    std::string cut = hello(id, 1, 5);
    cut[15] = 1;  // a hello of one byte
    words.push_back(cut);
    expect_refused(id, words, held);
  });
}

TEST_CASE("strangers who know the protocol, but not the secret") {
  meet_in_spite_of([](const UniqueId& id, Held& held) {
    std::vector<std::string> words;
    for (size_t wrong = 0; wrong < UniqueId::kSecretBytes; ++wrong) {
      UniqueId other = id;
      other.secret[wrong] ^= 1;
      words.push_back(hello(other, 1, 5));
    }
    expect_refused(id, words, held);
  });
}

TEST_CASE("a rank with the wrong secret says that it was reached, but not heard") {
  const UniqueId id = loopback_id();
  UniqueId other = id;
  other.secret[3] ^= 1;
  const auto outcomes = outcomes_of(
      {0, 1}, [&](int rank) { Control::join(rank == 0 ? id : other, settings_of(rank, 2, 400 * kMsNs)); });
  CHECK(contains(outcomes[0].text, "rank 1 did not arrive within 400ms"));
  CHECK(contains(outcomes[1].text,
                 "did not reach rank 0 at " + id.address_text() + " within 400ms: it was reached, but "));
}

TEST_CASE("whoever answers in place of rank 0 must know the secret") {
  const UniqueId id = loopback_id();
  const Descriptor listener = take_listener(id);
  const auto outcomes = outcomes_of({0, 1}, [&](int rank) {
    if (rank == 1) {
      Control::join(id, settings_of(1, 2));
      return;
    }
    Descriptor socket;
    await("rank 1", [&] {
      socket = Descriptor(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      return static_cast<bool>(socket);
    });
    say(socket, frame_bytes(FrameType::welcome, 0, std::string(UniqueId::kSecretBytes, 'x')));
    expect_closed(socket, 10 * kSecondNs);
  });
  CHECK(outcomes[1].code == Result::system_error);
  CHECK(outcomes[1].text ==
        "set-up: whoever listens at " + id.address_text() + " does not know the secret of the unique id");
}

TEST_CASE("a rank that is pushed out before it could say hello comes again") {
  const UniqueId id = loopback_id();
  const Descriptor listener = take_listener(id);
  const auto outcomes = outcomes_of({0, 1}, [&](int rank) {
    if (rank == 1) {
      Control::join(id, settings_of(1, 2));
      return;
    }
    // Plays rank 0: closes the first two connections without a word, and turns the third away with a reason.
    for (int i = 0; i < 3; ++i) {
      Descriptor socket;
      await("rank 1", [&] {
        socket = Descriptor(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        return static_cast<bool>(socket);
      });
      if (i < 2) continue;
      say(socket, frame_bytes(FrameType::error, 0, write_error(Result::unsupported, "so it has come again")));
      expect_closed(socket, 10 * kSecondNs);
    }
  });
  CHECK(outcomes[1].text == "so it has come again");
}

TEST_CASE("10,000 connections during set-up and 10,000 afterwards") {
  constexpr int kSize = 5;
  constexpr int kConnections = 10'000;
  const UniqueId id = loopback_id();
  std::atomic<int> done{0};
  std::atomic<int> serving{0};
  std::atomic<int> heard_after{0};
  std::atomic<int> checked{0};
  std::vector<Heard> heard(kSize);
  ThreadGroup group(kSize + 2);
  group.run([&](int index) {
    if (index >= kSize) {
      std::mt19937_64 random(static_cast<uint64_t>(index));
      Held held;
      const auto flood = [&](bool during) {
        for (int i = 0; i < kConnections / 2; ++i) {
          Descriptor socket = try_reach(id.ip(), id.port_number());
          expect(!during || socket, "connection {} did not reach rank 0 during set-up", i);
          if (!during && socket) heard_after.fetch_add(1);
          if (socket && i % 3 == 0) say(socket, std::string(random() % 100, static_cast<char>(random())));
          if (socket && i % 5 == 0)
            say(socket, frame_bytes(FrameType::hello, 1, std::string(Hello::kBytes, 'x')));
          held.push_back(std::move(socket));
          if (held.size() > 300) held.erase(held.begin());
        }
      };
      flood(true);
      done.fetch_add(1);
      await(
          "the ranks to serve", [&] { return serving.load() == kSize; }, 60 * kSecondNs);
      held.clear();
      flood(false);
      done.fetch_add(1);
      return;
    }
    if (index == kSize - 1)
      await(
          "the first flood", [&] { return done.load() == 2; }, 100 * kSecondNs);
    const auto control = Control::join(id, settings_of(index, kSize));
    expect_gathers(*control, index, kSize);
    control->serve(heard[static_cast<size_t>(index)].events(index), {});
    serving.fetch_add(1);
    await(
        "the second flood", [&] { return done.load() == 4; }, 100 * kSecondNs);
    const SurveyResult result = control->survey(20 * kSecondNs);
    expect(result.answers.size() == kSize, "rank {}: {} answers", index, result.answers.size());
    for (int r = 0; r < kSize; ++r)
      expect(control->state(r) == PeerState::alive, "rank {} is gone for rank {}", r, index);
    checked.fetch_add(1);
    await(
        "the other ranks", [&] { return checked.load() == kSize; }, 60 * kSecondNs);
  });
  // Nobody listens after set-up.
  CHECK(heard_after.load() == 0);
  for (const Heard& h : heard) CHECK(h.report().count == 0);
}

TEST_CASE("ranks that come in the middle of a flood get in") {
  constexpr int kSize = 6;
  const UniqueId id = loopback_id();
  std::atomic<int> met{0};
  ThreadGroup group(kSize + 1);
  group.run([&](int rank) {
    if (rank == kSize) {
      Held held;
      while (met.load() < kSize) {
        held.push_back(try_reach(id.ip(), id.port_number()));
        if (!held.back()) std::this_thread::yield();
        if (held.size() > 600) held.erase(held.begin(), held.begin() + 300);
      }
      return;
    }
    const auto control = Control::join(id, settings_of(rank, kSize));
    expect_gathers(*control, rank, kSize);
    met.fetch_add(1);
    await(
        "the others", [&] { return met.load() == kSize; }, 60 * kSecondNs);
  });
}

TEST_CASE("strangers at the door of an inner rank") {
  // The inner rank's part, played with one expected rank: whatever else comes to its door is turned away.
  const UniqueId id = loopback_id();
  const Descriptor rank_0 = take_listener(id);
  const uint16_t port = listen_at(id.ip(), {}).port;  // free again
  const auto outcomes = outcomes_of({0, 1}, [&](int rank) {
    if (rank == 1) {
      ControlSettings settings = settings_of(1, 3);
      settings.interfaces = "=lo";
      settings.ports = fmt::format("{}", port);
      Control::join(id, settings);
      return;
    }
    Descriptor socket;
    await("rank 1", [&] {
      socket = Descriptor(accept4(rank_0.get(), nullptr, nullptr, SOCK_CLOEXEC));
      return static_cast<bool>(socket);
    });
    // It listens before it says hello.
    await("its hello", [&] {
      char byte = 0;
      return recv(socket.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
    });
    const std::string secret(reinterpret_cast<const char*>(id.secret), sizeof(id.secret));
    say(socket, frame_bytes(FrameType::welcome, 0, secret));
    say(socket, frame_bytes(FrameType::neighbours, 0, write_neighbours({20 * kSecondNs, {}})));
    UniqueId other = id;
    other.secret[0] ^= 1;
    // Nonsense, a wrong secret, a rank that is not one of its own, another size.
    for (const std::string& word :
         {std::string(200, 'x'), hello(other, 2, 3), hello(id, 1, 3), hello(id, 2, 4)}) {
      const Descriptor stranger = try_reach(id.ip(), port);
      expect(static_cast<bool>(stranger), "rank 1 does not listen");
      say(stranger, word);
      // It may say why; then it closes.
      await("a stranger to be turned away", [&] {
        char bytes[256];
        const ssize_t n = recv(stranger.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
        return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
      });
    }
    // The right one is welcome after all that.
    const Descriptor child = try_reach(id.ip(), port);
    say(child, hello(id, 2, 3));
    char bytes[FrameHeader::kBytes + UniqueId::kSecretBytes] = {};
    expect(recv(child.get(), bytes, sizeof(bytes), MSG_WAITALL) == sizeof(bytes), "no welcome came");
    expect(std::string(bytes, sizeof(bytes)) == frame_bytes(FrameType::welcome, 1, secret),
           "another answer came");
    say(socket, frame_bytes(FrameType::error, 0, write_error(Result::aborted, "the end of the test")));
  });
  CHECK(outcomes[1].text == "the end of the test");
}

TEST_CASE("strangers leave no descriptor open") {
  const auto count = [] {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return std::distance(begin(all), end(all));
  };
  const auto before = count();
  {
    const UniqueId id = loopback_id();
    const auto outcomes = outcomes_of({0, 100}, [&](int rank) {
      if (rank == 0) {
        Control::join(id, settings_of(0, 2, 700 * kMsNs));
        return;
      }
      for (int i = 0; i < 100; ++i) {
        const Descriptor socket = try_reach(id.ip(), id.port_number());
        if (socket && i % 2 == 0) say(socket, "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n");
      }
    });
    CHECK(contains(outcomes[0].text, "rank 1 did not arrive within 700ms"));
  }
  CHECK(count() == before);
}
