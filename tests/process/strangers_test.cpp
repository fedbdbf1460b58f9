// Processes that connect to the local socket at which the ranks of a node meet, and do not belong there: the ranks meet all the
// same. (Strangers at the address of rank 0: tests/bootstrap.)
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <utility>

#include "core/descriptor.h"
#include "runtime/bootstrap/message.h"
#include "runtime/bootstrap/rendezvous.h"
#include "tests/catch.h"
#include "tests/process/support/forked.h"

namespace {

using tutti::Descriptor;
using tutti::MessageHeader;
using tutti::MessageType;

tutti::UniqueId internal(const tutti_unique_id_t& id) {
  tutti::UniqueId unique{};
  std::memcpy(&unique, &id, sizeof(unique));
  return unique;
}

/// Where rank 0 listens.
std::pair<sockaddr_un, socklen_t> address_of(const tutti_unique_id_t& id) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string name = "tutti-";
  for (const unsigned char byte : internal(id).name) name += fmt::format("{:02x}", byte);
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  return {address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())};
}

/// Connects as a rank would; waits until rank 0 listens. Empty when it does not, or no longer.
Descriptor connect_to(const tutti_unique_id_t& id, int64_t patience_ns) {
  const auto [address, size] = address_of(id);
  const uint64_t start = tutti::now_ns();
  do {
    Descriptor socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0) return socket;
    sleep_ms(1);
  } while (tutti::now_ns() - start < static_cast<uint64_t>(patience_ns));
  return {};
}

void send_bytes(const Descriptor& socket, const std::vector<unsigned char>& bytes) {
  send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

MessageHeader hello(int rank, int size) {
  MessageHeader header;
  header.rank = rank;
  header.size = size;
  return header;
}

tutti::Meeting meeting(int rank, int size, uint64_t limit_ns) {
  tutti::Meeting m;
  m.rank = rank;
  m.most = size;
  m.limit_ns = limit_ns;
  for (int r = 0; r < size; ++r) m.ranks.push_back(r);
  return m;
}

void join_node(const tutti_unique_id_t& id, int rank, int size) {
  const auto node = tutti::meet(internal(id), meeting(rank, size, 60 * kSecond));
  expect(node->ranks() == size, "rank {} has met {} ranks, not {}", rank, node->ranks(), size);
}

/// Meeting must fail with `wanted` and that text.
void expect_no_meeting(const tutti_unique_id_t& id, const tutti::Meeting& m, tutti::Result wanted,
                       const std::string& part) {
  try {
    tutti::meet(internal(id), m);
  } catch (const tutti::Error& e) {
    expect(e.code() == wanted, "rank {}: {}", m.rank, e.what());
    expect(std::string(e.what()).find(part) != std::string::npos, "rank {}: '{}' is not in: {}", m.rank, part,
           e.what());
    return;
  }
  expect(false, "rank {} has met somebody", m.rank);
}

/// The ranks meet while `stranger(id)` does what it likes; the last rank comes late, so that it has time to.
template <typename Stranger>
void meet_in_spite_of(Stranger&& stranger, int size = 3) {
  const tutti_unique_id_t id = make_id();
  Forked group;
  Shared<std::atomic<int>> done(1);
  for (int rank = 0; rank < size; ++rank) {
    group.start([&, rank] {
      const uint64_t start = tutti::now_ns();
      while (rank == size - 1 && done[0].load() == 0 && tutti::now_ns() - start < 20'000'000'000) sleep_ms(1);
      join_node(id, rank, size);
    });
  }
  group.start([&] {
    std::vector<Descriptor> held;
    stranger(id, held);
    done[0].store(1);
    sleep_ms(300);  // what it holds open, it holds open while the ranks meet
  });
  group.expect_all_good();
}

using Held = std::vector<Descriptor>;

Descriptor reach(const tutti_unique_id_t& id) {
  Descriptor socket = connect_to(id, 20 * kSecond);
  expect(static_cast<bool>(socket), "the stranger did not reach the set-up socket");
  return socket;
}

}  // namespace

TEST_CASE("strangers who say nothing") {
  meet_in_spite_of([](const tutti_unique_id_t& id, Held& held) {
    for (int i = 0; i < 20; ++i) held.push_back(reach(id));
  });
}

TEST_CASE("strangers who talk nonsense") {
  meet_in_spite_of([](const tutti_unique_id_t& id, Held& held) {
    for (const size_t size : {1, 7, 39, 40, 41, 1000, 16424, 16425, 60000, 150000}) {
      for (const unsigned char fill : {0x00, 0x74, 0xff}) {
        Descriptor socket = reach(id);
        send_bytes(socket, std::vector<unsigned char>(size, fill));
        held.push_back(std::move(socket));
      }
    }
  });
}

TEST_CASE("strangers who know the protocol, but not the secret") {
  meet_in_spite_of([](const tutti_unique_id_t& id, Held& held) {
    for (const int rank : {-1, 0, 1, 2, 3, 1 << 30}) {
      for (const int size : {3, 2, -1}) {
        Descriptor socket = reach(id);
        tutti::send_message(socket.get(), hello(rank, size), "TUTTI_ALGO=ring\n", {0, 1});
        held.push_back(std::move(socket));
      }
    }
  });
}

TEST_CASE("strangers with the secret, but the wrong message or the wrong descriptors") {
  meet_in_spite_of([](const tutti_unique_id_t& id, Held& held) {
    for (const MessageType type :
         {MessageType::table, MessageType::ready, MessageType::go, MessageType::error}) {
      MessageHeader header = hello(1, 3);
      header.type = type;
      std::memcpy(header.secret, internal(id).secret, sizeof(header.secret));
      Descriptor socket = reach(id);
      tutti::send_message(socket.get(), header, "", {});
      held.push_back(std::move(socket));
    }
    for (const size_t count : {0, 1, 3, 100, 128}) {
      MessageHeader header = hello(1, 3);
      std::memcpy(header.secret, internal(id).secret, sizeof(header.secret));
      Descriptor socket = reach(id);
      tutti::send_message(socket.get(), header, "", std::vector<int>(count, 1));
      held.push_back(std::move(socket));
    }
  });
}

TEST_CASE("thousands of connections, one after the other") {
  meet_in_spite_of([](const tutti_unique_id_t& id, Held&) {
    for (int i = 0; i < 3000; ++i) {
      const Descriptor socket = connect_to(id, kSecond);
      if (i % 3 == 0 && socket) send_bytes(socket, {1, 2, 3});
    }
  });
}

TEST_CASE("a flood of connections while the ranks meet") {
  const tutti_unique_id_t id = make_id();
  constexpr int kSize = 5;
  Forked group;
  Shared<std::atomic<int>> met(1);
  for (int rank = 0; rank < kSize; ++rank) {
    group.start([&, rank] {
      sleep_ms(rank * 50);
      join_node(id, rank, kSize);
      met[0].fetch_add(1);
    });
  }
  for (int flood = 0; flood < 2; ++flood) {
    group.start([&] {
      Held held;
      const uint64_t start = tutti::now_ns();
      while (met[0].load() < kSize && tutti::now_ns() - start < 60'000'000'000) {
        held.push_back(connect_to(id, 10 * kMs));
        if (held.size() > 200) held.erase(held.begin());
      }
    });
  }
  group.expect_all_good();
}

TEST_CASE("a rank that is pushed out before it could say hello comes again") {
  // Plays rank 0: closes the first connection without a word, and turns the second away with a reason.
  const tutti_unique_id_t id = make_id();
  Forked group;
  group.start([&] {
    const auto [address, size] = address_of(id);
    const Descriptor listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    expect(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0, "bind");
    expect(listen(listener.get(), 10) == 0, "listen");
    Descriptor(accept(listener.get(), nullptr, nullptr)).reset();
    const Descriptor again(accept(listener.get(), nullptr, nullptr));
    MessageHeader header;
    header.type = MessageType::error;
    header.code = TUTTI_UNSUPPORTED;
    tutti::send_message(again.get(), header, "so it has come again", {});
    sleep_ms(100);
  });
  group.start([&] {
    expect_no_meeting(id, meeting(1, 2, 60 * kSecond), tutti::Result::unsupported, "so it has come again");
  });
  group.expect_all_good(60 * kSecond);
}

TEST_CASE("strangers leave no descriptor open in rank 0") {
  const tutti_unique_id_t id = make_id();
  Forked group;
  group.start([&] {
    const auto count = [] {
      const std::filesystem::directory_iterator all("/proc/self/fd");
      return std::distance(begin(all), end(all));
    };
    const auto before = count();
    expect_no_meeting(id, meeting(0, 2, 500 * kMs), tutti::Result::timeout, "rank 1 did not arrive");
    expect(count() == before, "{} descriptors are open, {} before", count(), before);
  });
  group.start([&] {
    Held held;
    for (int i = 0; i < 30; ++i) {
      Descriptor socket = reach(id);
      tutti::send_message(socket.get(), hello(1, 2), "",
                          std::vector<int>(static_cast<size_t>(i % 4) * 40, 1));
      held.push_back(std::move(socket));
    }
  });
  group.expect_all_good(60 * kSecond);
}
