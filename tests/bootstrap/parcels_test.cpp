// Parcels among the ranks of a node: ranks as threads and as processes, descriptors, sizes, failures and strangers.
#include "runtime/bootstrap/parcels.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <random>

#include "runtime/bootstrap/local_socket.h"
#include "runtime/bootstrap/message.h"
#include "runtime/bootstrap/parcel_pieces.h"
#include "tests/bootstrap/support.h"
#include "tests/catch.h"
#include "tests/process/support/forked.h"

namespace {

using namespace control_test;

constexpr int kMessage = static_cast<int>(kMaxMessageText);

/// A file in memory of `size` bytes, by which it can be told from others.
Descriptor file_of(size_t size) {
  Descriptor file(memfd_create("parcel", MFD_CLOEXEC));
  expect(file && ftruncate(file.get(), static_cast<off_t>(size)) == 0, "memfd_create: {}", strerror(errno));
  return file;
}

size_t size_of(const Descriptor& file) {
  struct stat about {};
  expect(fstat(file.get(), &about) == 0, "fstat of {}: {}", file.get(), strerror(errno));
  return static_cast<size_t>(about.st_size);
}

/// What local rank `place` gives in that round.
std::string bytes_of(int place, int round, size_t size) {
  std::string bytes(size, '\0');
  std::mt19937 random(static_cast<unsigned>(1000 * round + place));
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

Parcel parcel_of(int place, int round, size_t bytes, size_t descriptors) {
  Parcel parcel = {bytes_of(place, round, bytes), {}};
  for (size_t i = 0; i < descriptors; ++i)
    parcel.descriptors.push_back(file_of(10'000 * static_cast<size_t>(place) + i));
  return parcel;
}

void expect_parcel(const Parcel& got, int place, int round, size_t bytes, size_t descriptors) {
  expect(got.bytes == bytes_of(place, round, bytes), "the {} bytes of local rank {} are not its {} bytes",
         got.bytes.size(), place, bytes);
  expect(got.descriptors.size() == descriptors, "{} descriptors of local rank {}, expected {}",
         got.descriptors.size(), place, descriptors);
  for (size_t i = 0; i < descriptors; ++i) {
    const size_t wanted = 10'000 * static_cast<size_t>(place) + i;
    expect(size_of(got.descriptors[i]) == wanted, "descriptor {} of local rank {} has size {}, expected {}",
           i, place, size_of(got.descriptors[i]), wanted);
    expect((fcntl(got.descriptors[i].get(), F_GETFD) & FD_CLOEXEC) != 0, "descriptor {} survives exec", i);
  }
}

struct Load {
  size_t bytes;
  size_t descriptors;
};

/// One exchange in which local rank p gives loads[p].
void exchange_loads(ParcelExchange& parcels, int place, int round, const std::vector<Load>& loads) {
  const auto own = static_cast<size_t>(place);
  const std::vector<Parcel> all =
      parcels.exchange(parcel_of(place, round, loads[own].bytes, loads[own].descriptors));
  expect(all.size() == loads.size(), "{} parcels, expected {}", all.size(), loads.size());
  for (size_t p = 0; p < loads.size(); ++p)
    expect_parcel(all[p], static_cast<int>(p), round, loads[p].bytes, loads[p].descriptors);
}

/// Each rank is a process.
void exchange_by_processes(const std::vector<Load>& loads, int rounds) {
  const UniqueId id = loopback_id();
  Forked ranks;
  for (int place = 0; place < static_cast<int>(loads.size()); ++place) {
    ranks.start([&, place] {
      ParcelExchange parcels(id, place, static_cast<int>(loads.size()), kPatientNs);
      for (int round = 0; round < rounds; ++round) exchange_loads(parcels, place, round, loads);
    });
  }
  ranks.expect_all_good();
}

MessageHeader header_of(MessageType type, int rank, int size, int code = 0) {
  MessageHeader header;
  header.type = type;
  header.rank = rank;
  header.size = size;
  header.code = code;
  return header;
}

MessageHeader hello_of(const UniqueId& id, int place, int size) {
  MessageHeader header = header_of(MessageType::hello, place, size);
  std::memcpy(header.secret, id.secret, sizeof(header.secret));
  return header;
}

std::string name_of_round(const UniqueId& id, int round) {
  return local_name(id, "parcels-") + fmt::format("-{}", round);
}

/// Connects as a rank would to local rank 0, as soon as that listens.
Descriptor reach(const UniqueId& id, int round = 0) {
  Descriptor socket;
  await("local rank 0 to listen", [&] {
    socket = connect_locally(name_of_round(id, round));
    return static_cast<bool>(socket);
  });
  return socket;
}

/// A rank that is played by the test: it has said hello.
Descriptor come_as(const UniqueId& id, int place, int size) {
  Descriptor socket = reach(id);
  expect(send_message(socket.get(), hello_of(id, place, size), "", {}), "the hello: {}", strerror(errno));
  return socket;
}

/// The next message that comes there.
Parsed hear(const Descriptor& socket) {
  expect(readable(socket.get(), 20'000), "nothing came within 20 s");
  return receive_message(socket.get());
}

/// What the ranks of an exchange of `size` experience, of which those not in `played` are real and `play` is the rest.
std::vector<Outcome> outcomes_with(int size, const std::vector<int>& real, uint64_t limit_ns,
                                   const std::function<void(const UniqueId&)>& play) {
  const UniqueId id = loopback_id();
  std::vector<int> all = real;
  all.push_back(-1);
  std::vector<Outcome> outcomes = outcomes_of(all, [&](int place) {
    if (place < 0) {
      play(id);
      return;
    }
    ParcelExchange(id, place, size, limit_ns).exchange(parcel_of(place, 0, 100, 2));
  });
  CHECK(outcomes.back().text.empty());
  outcomes.pop_back();
  return outcomes;
}

void check_all(const std::vector<Outcome>& outcomes, Result code, const std::string& text) {
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.code == code);
    CHECK(outcome.text == text);
  }
}

size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

}  // namespace

TEST_CASE("threads exchange parcels, round after round") {
  const size_t before = open_descriptors();
  for (const int size : {1, 2, 5}) {
    const UniqueId id = loopback_id();
    ThreadGroup group(size);
    group.run([&](int place) {
      ParcelExchange parcels(id, place, size, kPatientNs);
      for (int round = 0; round < 20; ++round) {
        std::vector<Load> loads;
        for (int p = 0; p < size; ++p)
          loads.push_back({static_cast<size_t>((p + round) % 3) * 50, static_cast<size_t>((p * round) % 4)});
        exchange_loads(parcels, place, round, loads);
      }
    });
    take_listener(id);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("processes exchange parcels, round after round") {
  exchange_by_processes({{10, 1}}, 3);
  exchange_by_processes({{10, 1}, {0, 0}}, 20);
  exchange_by_processes({{0, 3}, {20, 0}, {1, 1}, {0, 0}, {500, 2}}, 20);
}

TEST_CASE("another exchange of the same ranks begins at the first round again") {
  const UniqueId id = loopback_id();
  ThreadGroup group(3);
  group.run([&](int place) {
    for (int time = 0; time < 50; ++time) {
      ParcelExchange parcels(id, place, 3, kPatientNs);
      exchange_loads(parcels, place, time, {{10, 1}, {20, 1}, {30, 1}});
    }
  });
}

TEST_CASE("parcels of more than one message") {
  const auto k = static_cast<size_t>(kMessage);
  exchange_by_processes({{1 << 20, 0}, {k, 0}, {k + 1, 0}, {k - 1, 1}}, 2);
  exchange_by_processes({{(1 << 20) + 5, 40}, {0, 300}, {3 * k, 129}}, 2);
  exchange_by_processes({{0, 128}, {0, kMostParcelDescriptors}}, 1);
}

TEST_CASE("the descriptors are of the same files, and the own ones come back") {
  constexpr int kSize = 3;
  const UniqueId id = loopback_id();
  Forked ranks;
  for (int place = 0; place < kSize; ++place) {
    ranks.start([&, place] {
      ParcelExchange parcels(id, place, kSize, kPatientNs);
      Parcel mine = {"", {}};
      mine.descriptors.push_back(file_of(kSize));
      const int own = mine.descriptors[0].get();
      const std::vector<Parcel> all = parcels.exchange(std::move(mine));
      expect(all[static_cast<size_t>(place)].descriptors.at(0).get() == own, "the own descriptor is another");
      const char letter = static_cast<char>('a' + place);
      for (const Parcel& parcel : all)
        expect(pwrite(parcel.descriptors.at(0).get(), &letter, 1, place) == 1, "pwrite: {}", strerror(errno));
      parcels.exchange({});
      char text[kSize + 1] = {};
      expect(pread(own, text, kSize, 0) == kSize, "pread: {}", strerror(errno));
      expect(std::string(text) == "abc", "the file has '{}'", text);
    });
  }
  ranks.expect_all_good();
}

TEST_CASE("more descriptors than a user may have on their way") {
  const UniqueId id = loopback_id();
  Forked ranks;
  ranks.start([&] {
    // The kernel's limit holds for users without privileges.
    if (geteuid() == 0) static_cast<void>(!setresuid(54321, 54321, 54321));
    Parcel mine = {"", {}};
    const Descriptor file = file_of(7);
    for (size_t i = 0; i < kMostParcelDescriptors; ++i) {
      mine.descriptors.emplace_back(fcntl(file.get(), F_DUPFD_CLOEXEC, 400));
      expect(static_cast<bool>(mine.descriptors.back()), "copy {}: {}", i, strerror(errno));
    }
    const rlimit few = {200, 200};
    expect(setrlimit(RLIMIT_NOFILE, &few) == 0, "setrlimit: {}", strerror(errno));
    ParcelExchange(id, 0, 2, kPatientNs).exchange(std::move(mine));
  });
  ranks.start([&] {
    const Descriptor socket = come_as(id, 1, 2);
    send_message(socket.get(), header_of(MessageType::parcel, 1, 1), "", {});
    expect(readable(socket.get(), 20'000), "nothing came within 20 s");
    sleep_ms(50);  // in which local rank 0 comes to the limit
    for (int k = 0; k < 4; ++k) {
      const Message piece = hear(socket).message;
      expect(piece.header.code == k && piece.descriptors.size() == kMaxMessageDescriptors,
             "piece {} with {} descriptors, expected piece {}", piece.header.code, piece.descriptors.size(),
             k);
    }
    send_message(socket.get(), header_of(MessageType::ready, 1, 0), "", {});
    expect(hear(socket).message.header.type == MessageType::go, "no go");
  });
  ranks.expect_all_good();
}

TEST_CASE("a rank that has no room for the descriptors says so to all") {
  constexpr int kSize = 3;
  const UniqueId id = loopback_id();
  Forked ranks;
  for (int place = 0; place < kSize; ++place) {
    ranks.start([&, place] {
      const rlimit few = {50, 50};
      if (place == 2) expect(setrlimit(RLIMIT_NOFILE, &few) == 0, "setrlimit: {}", strerror(errno));
      try {
        ParcelExchange(id, place, kSize, kPatientNs).exchange(parcel_of(place, 0, 0, place == 1 ? 100 : 0));
      } catch (const Error& e) {
        expect(e.code() == Result::system_error, "{}", e.what());
        expect(
            contains(e.what(), "local rank 2 cannot take what local rank 0 sent: more descriptors than this"),
            "another text: {}", e.what());
        return;
      }
      expect(false, "local rank {} has not failed", place);
    });
  }
  ranks.expect_all_good();
}

TEST_CASE("missing ranks are named by all") {
  check_all(outcomes_with(4, {0, 2}, 400 * kMsNs, [](const UniqueId&) {}), Result::timeout,
            "parcels: local ranks 1, 3 did not come within 400ms (of 4 ranks of the node)");
  const auto outcomes = outcomes_with(3, {1, 2}, 400 * kMsNs, [](const UniqueId&) {});
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.code == Result::timeout);
    CHECK(contains(outcome.text, "local rank 0 did not come within 400ms (this is local rank "));
    CHECK(outcome.ns < 10 * kSecondNs);
  }
}

TEST_CASE("a rank that comes and does not send everything is named by all") {
  const auto outcomes = outcomes_with(3, {0, 2}, 400 * kMsNs, [](const UniqueId& id) {
    const Descriptor socket = come_as(id, 1, 3);
    expect(send_message(socket.get(), header_of(MessageType::parcel, 1, 2), "first half", {}), "the piece");
    const Parsed parsed = hear(socket);
    expect(parsed.message.header.type == MessageType::error, "it was not told");
  });
  check_all(outcomes, Result::timeout,
            "parcels: local rank 1 came, but did not send everything within 400ms (of 3 ranks of the node)");
}

TEST_CASE("a rank that comes late learns of the failure before it came") {
  const UniqueId id = loopback_id();
  std::atomic<bool> failed{false};
  const auto outcomes = outcomes_of({0, 1, 2}, [&](int place) {
    if (place == 2) await("the failure", [&] { return failed.load(); });
    try {
      ParcelExchange(id, place, 3, kPatientNs).exchange(parcel_of(place, 0, 0, place == 1 ? 513 : 1));
    } catch (const Error&) {
      failed.store(true);
      throw;
    }
  });
  check_all(
      outcomes, Result::invalid_argument,
      "the parcel of local rank 1 has 0 bytes and 513 descriptors, at most 67108864 and 512 are allowed");
}

TEST_CASE("a parcel of local rank 0 that is too large is refused at all") {
  const UniqueId id = loopback_id();
  const auto outcomes = outcomes_of({0, 1, 2}, [&](int place) {
    ParcelExchange(id, place, 3, kPatientNs).exchange(parcel_of(place, 0, 0, place == 0 ? 513 : 1));
  });
  check_all(
      outcomes, Result::invalid_argument,
      "the parcel of local rank 0 has 0 bytes and 513 descriptors, at most 67108864 and 512 are allowed");
}

TEST_CASE("a malformed parcel is an error at all ranks, with the same text") {
  const std::vector<std::vector<MessageHeader>> conversations = {
      {header_of(MessageType::parcel, 1, 2, 1)},                                        // not the first
      {header_of(MessageType::parcel, 2, 1)},                                           // another's
      {header_of(MessageType::parcel, 1, 0)},                                           // of none
      {header_of(MessageType::parcel, 1, 1 << 30)},                                     // too many
      {header_of(MessageType::parcel, 1, -5, -7)},                                      //
      {header_of(MessageType::parcel, 1, 3), header_of(MessageType::parcel, 1, 4, 1)},  // changes its mind
      {header_of(MessageType::parcel, 1, 1), header_of(MessageType::parcel, 1, 1, 1)},  // one too many
      {header_of(MessageType::go, 1, 1)},
  };
  for (const auto& conversation : conversations) {
    const UniqueId id = loopback_id();
    std::atomic<bool> told{false};
    auto outcomes = outcomes_of({0, 1, 2}, [&](int place) {
      if (place == 1) {
        const Descriptor socket = come_as(id, 1, 3);
        for (const MessageHeader& header : conversation) send_message(socket.get(), header, "x", {});
        const Parsed parsed = hear(socket);
        expect(parsed.message.header.type == MessageType::error, "it was not told: {}", parsed.problem);
        told.store(true);
        return;
      }
      // Nothing is given out before it comes.
      if (place == 2) await("the error", [&] { return told.load(); });
      ParcelExchange(id, place, 3, kPatientNs).exchange({});
    });
    outcomes.erase(outcomes.begin() + 1);
    const MessageHeader& last = conversation.back();
    CHECK(outcomes[0].code == Result::internal_error);
    CHECK(contains(outcomes[0].text,
                   fmt::format("local rank 1 sent a message of type {}, piece {} of {} of the parcel "
                               "of local rank {}",
                               static_cast<int>(last.type), last.code, last.size, last.rank)));
    CHECK(outcomes[1].code == outcomes[0].code);
    CHECK(outcomes[1].text == outcomes[0].text);
  }
}

TEST_CASE("bytes that are no message, from a rank that has come") {
  const auto outcomes = outcomes_with(3, {0, 2}, kPatientNs, [&](const UniqueId& id) {
    const Descriptor socket = come_as(id, 1, 3);
    send(socket.get(), "nonsense", 8, MSG_NOSIGNAL);
    expect(hear(socket).message.header.type == MessageType::error, "it was not told");
  });
  check_all(
      outcomes, Result::system_error,
      "parcels: local rank 0 cannot take what local rank 1 sent: a message of 8 bytes, expected at least 40");
}

TEST_CASE("an error with a code that does not exist is an internal one") {
  const auto outcomes = outcomes_with(2, {0}, kPatientNs, [](const UniqueId& id) {
    const Descriptor socket = come_as(id, 1, 2);
    send_message(socket.get(), header_of(MessageType::error, 0, 0, 4711), "so it says", {});
    expect(hear(socket).problem == kClosed, "it is spoken to");
  });
  check_all(outcomes, Result::internal_error, "so it says");
}

TEST_CASE("ranks that do not agree on their number") {
  const UniqueId id = loopback_id();
  const auto outcomes = outcomes_of(
      {0, 1, 2}, [&](int place) { ParcelExchange(id, place, place == 1 ? 4 : 3, kPatientNs).exchange({}); });
  check_all(outcomes, Result::mismatch,
            "parcels: local rank 1 says that its node has 4 ranks; local rank 0 says 3");
}

TEST_CASE("a second rank of the same place is turned away without harm") {
  const auto outcomes = outcomes_with(3, {0, 2}, kPatientNs, [](const UniqueId& id) {
    const Descriptor first = come_as(id, 1, 3);
    const Descriptor second = come_as(id, 1, 3);
    const Parsed parsed = hear(second);
    expect(parsed.message.text == "local rank 1 has come to this exchange twice", "it hears: {} {}",
           parsed.message.text, parsed.problem);
    send_message(first.get(), header_of(MessageType::parcel, 1, 1), "x", {});
    for (const int owner : {0, 2}) {
      const Message message = hear(first).message;
      expect(message.header.type == MessageType::parcel && message.header.rank == owner, "not that parcel");
    }
    send_message(first.get(), header_of(MessageType::ready, 1, 0), "", {});
    expect(hear(first).message.header.type == MessageType::go, "no go");
  });
  check_all(outcomes, Result::success, "");
  const UniqueId id = loopback_id();
  const Descriptor taken = listen_locally(name_of_round(id, 0));
  CHECK_THROWS_WITH(ParcelExchange(id, 0, 2, kPatientNs).exchange({}),
                    "local rank 0 has come to this exchange twice");
}

TEST_CASE("a process that is killed before all have come is a loss at all ranks") {
  for (const int said : {0, 1, 2}) {
    const UniqueId id = loopback_id();
    Shared<std::atomic<int>> dead(1);
    Forked ranks;
    for (const int place : {0, 2}) {
      ranks.start([&, place] {
        if (place == 2) await("the death of local rank 1", [&] { return dead[0].load() != 0; });
        try {
          ParcelExchange(id, place, 3, kPatientNs).exchange(parcel_of(place, 0, 100, 2));
        } catch (const Error& e) {
          expect(e.code() == Result::peer_lost, "{}", e.what());
          // Once it has said all, its end may be seen later.
          const char* text = said < 2 ? "parcels: local rank 1 ended before all had come"
                                      : "parcels: local rank 1 ended before";
          expect(contains(e.what(), text), "{}", e.what());
          return;
        }
        expect(false, "local rank {} has not failed", place);
      });
    }
    const size_t victim = ranks.start([&] {
      const Descriptor socket = come_as(id, 1, 3);
      for (int k = 0; k < said; ++k)
        send_message(socket.get(), header_of(MessageType::parcel, 1, 2, k), "half", {});
      kill(getpid(), SIGKILL);
    });
    CHECK(ranks.wait_for(victim, 20 * kSecond));
    dead[0].store(1);
    ranks.expect_all_good(120 * kSecond, {victim});
  }
}

TEST_CASE("a rank that ends while the parcels are given out is a loss at all ranks") {
  for (const int heard : {0, 1, 2}) {
    const auto outcomes = outcomes_with(3, {0, 2}, kPatientNs, [&](const UniqueId& id) {
      const Descriptor socket = come_as(id, 1, 3);
      send_message(socket.get(), header_of(MessageType::parcel, 1, 1), "x", {});
      expect(readable(socket.get(), 20'000), "nothing came within 20 s");
      for (int k = 0; k < heard; ++k) hear(socket);
    });
    check_all(outcomes, Result::peer_lost, "parcels: local rank 1 ended before it had everything");
  }
}

TEST_CASE("the end of local rank 0 is a loss") {
  for (const bool in_the_middle : {false, true}) {
    const auto outcomes = outcomes_with(2, {1}, kPatientNs, [&](const UniqueId& id) {
      Descriptor listener = listen_locally(name_of_round(id, 0));
      const Descriptor socket(accept(listener.get(), nullptr, nullptr));
      listener.reset();
      if (!in_the_middle) return;
      expect(hear(socket).message.header.type == MessageType::hello, "no hello");
      send_message(socket.get(), header_of(MessageType::parcel, 0, 2), "half", {});
    });
    check_all(outcomes, Result::peer_lost,
              "parcels: local rank 1 lost local rank 0 while waiting for the parcels");
  }
}

TEST_CASE("a rank that is pushed out before it could say hello brings its parcel again") {
  const auto outcomes = outcomes_with(2, {1}, kPatientNs, [](const UniqueId& id) {
    const Descriptor listener = listen_locally(name_of_round(id, 0));
    Descriptor(accept(listener.get(), nullptr, nullptr)).reset();
    const Descriptor again(accept(listener.get(), nullptr, nullptr));
    expect(hear(again).message.header.type == MessageType::hello, "no hello");
    const Message parcel = hear(again).message;
    expect(parcel.text.size() == 100 && parcel.descriptors.size() == 2, "{} bytes, {} descriptors",
           parcel.text.size(), parcel.descriptors.size());
    send_message(again.get(), error_header(Result::unsupported), "so it has come again", {});
  });
  check_all(outcomes, Result::unsupported, "so it has come again");
}

TEST_CASE("strangers at the door of an exchange") {
  const size_t before = open_descriptors();
  {
    std::vector<Descriptor> held;
    const UniqueId id = loopback_id();
    std::atomic<bool> over{false};
    ThreadGroup group(4);
    group.run([&](int place) {
      if (place < 3) {
        // The last one comes when all strangers have been there.
        if (place == 2) await("the strangers", [&] { return over.load(); });
        ParcelExchange parcels(id, place, 3, kPatientNs);
        for (int round = 0; round < 2; ++round)
          exchange_loads(parcels, place, round, {{1, 1}, {2, 2}, {3, 3}});
        return;
      }
      for (int i = 0; i < 80; ++i) held.push_back(reach(id));  // say nothing
      for (const size_t size : {1, 39, 40, 41, 1000, 16424, 16425, 60000}) {
        held.push_back(reach(id));
        const std::string bytes(size, '\x74');
        send(held.back().get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        expect(hear(held.back()).problem == kClosed, "{} bytes were answered", size);
      }
      for (size_t wrong = 0; wrong < UniqueId::kSecretBytes; ++wrong) {
        UniqueId other = id;
        other.secret[wrong] ^= 1;
        held.push_back(come_as(other, 2, 3));
        expect(hear(held.back()).problem == kClosed, "a wrong secret was answered");
      }
      for (const MessageType type : {MessageType::table, MessageType::ready, MessageType::go,
                                     MessageType::parcel, MessageType::error}) {
        MessageHeader header = hello_of(id, 2, 3);
        header.type = type;
        held.push_back(reach(id));
        send_message(held.back().get(), header, "", {});
        expect(hear(held.back()).problem == kClosed, "no hello was answered");
      }
      held.push_back(reach(id));
      send_message(held.back().get(), hello_of(id, 2, 3), "", std::vector<int>(100, 0));
      expect(hear(held.back()).problem == kClosed, "a hello with descriptors was answered");
      over.store(true);
    });
    take_listener(id);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("no message confuses the assembly of a parcel") {
  const Descriptor file = file_of(1);
  int whole = 0;
  int refused = 0;
  for (unsigned seed = 0; seed < 3000; ++seed) {
    std::mt19937 random(seed);
    ParcelAssembly assembly;
    std::string bytes;
    int taken = 0;
    const int pieces = static_cast<int>(random() % 4) + 1;
    while (!assembly.whole()) {
      Message piece;
      piece.header = header_of(MessageType::parcel, 3, pieces, taken);
      if (random() % 8 == 0) {
        const int changed = static_cast<int>(random() % 4);
        const auto value = static_cast<int32_t>(random() % 2 == 0 ? random() : random() % 5);
        if (changed == 0) piece.header.type = static_cast<MessageType>(value);
        if (changed == 1) piece.header.rank = value;
        if (changed == 2) piece.header.size = value;
        if (changed == 3) piece.header.code = value;
      }
      piece.text = std::string(random() % 10, 'x');
      const std::string text = piece.text;
      const MessageHeader header = piece.header;
      const bool fits = header.type == MessageType::parcel && header.rank == 3 && header.code == taken &&
                        (taken == 0 ? header.size > 0 && header.size <= 4096 : header.size == pieces);
      try {
        assembly.take(std::move(piece), 3, 0);
      } catch (const Error& e) {
        CHECK(e.code() == Result::internal_error);
        CHECK_FALSE(fits);
        refused += 1;
        break;
      }
      CHECK(fits);
      if (header.size != pieces) break;  // it announces another number, as it may
      taken += 1;
      bytes += text;
      CHECK(assembly.whole() == (taken == pieces));
    }
    if (assembly.whole() && taken == pieces) {
      CHECK(assembly.parcel().bytes == bytes);
      whole += 1;
    }
  }
  CHECK(whole > 100);
  CHECK(refused > 100);
  ParcelAssembly greedy;
  for (int k = 0; k < 5; ++k) {
    Message piece;
    piece.header = header_of(MessageType::parcel, 0, 100, k);
    for (size_t i = 0; i < kMaxMessageDescriptors; ++i) piece.descriptors.emplace_back(dup(file.get()));
    if (k < 4) {
      greedy.take(std::move(piece), 0, 1);
    } else {
      CHECK_THROWS_AS(greedy.take(std::move(piece), 0, 1), Error);
    }
  }
}
