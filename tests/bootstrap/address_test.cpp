// Interfaces, ports, unique ids, digests and the shape of the graph: what needs no second rank.
#include <arpa/inet.h>
#include <sys/socket.h>

#include <cstring>
#include <queue>
#include <set>

#include "core/error.h"
#include "runtime/bootstrap/control_digest.h"
#include "runtime/bootstrap/control_graph.h"
#include "runtime/bootstrap/unique_id.h"
#include "tests/catch.h"

using namespace tutti;

namespace {

IpAddress ip(const char* text) {
  sockaddr_storage storage{};
  in6_addr v6{};
  in_addr v4{};
  if (inet_pton(AF_INET, text, &v4) == 1) return IpAddress::v4(ntohl(v4.s_addr));
  REQUIRE(inet_pton(AF_INET6, text, &v6) == 1);
  storage.ss_family = AF_INET6;
  auto* name = reinterpret_cast<sockaddr_in6*>(&storage);
  name->sin6_addr = v6;
  name->sin6_scope_id = 2;
  return IpAddress::from(storage);
}

std::vector<NetworkInterface> machine() {
  return {{"lo", true, true, {ip("127.0.0.1"), ip("::1")}},
          {"docker0", true, false, {ip("172.17.0.1")}},
          {"eth0", false, false, {ip("10.0.0.1")}},
          {"eth1", true, false, {ip("fe80::1"), ip("10.0.1.1")}},
          {"ib0", true, false, {ip("10.1.0.1")}},
          {"eth10", true, false, {ip("fd00::1"), ip("fe80::2")}},
          {"wlan0", true, false, {ip("fe80::3")}},
          {"tun0", true, false, {}}};
}

std::string chosen(const std::string& rule) {
  return choose_address(machine(), rule).text();
}

template <typename Call>
std::string error_of(Call&& call, Result code = Result::invalid_argument) {
  try {
    call();
  } catch (const Error& e) {
    CHECK(e.code() == code);
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("TUTTI_IFNAME chooses by preference, exact name or exclusion") {
  CHECK(chosen("") == "10.0.1.1");
  CHECK(chosen("eth") == "10.0.1.1");
  CHECK(chosen("ib,eth") == "10.1.0.1");
  CHECK(chosen("nothing,ib") == "10.1.0.1");
  CHECK(chosen("=eth1") == "10.0.1.1");
  CHECK(chosen("eth10") == "fd00::1");
  CHECK(chosen("wlan0") == "fe80::3%2");
  CHECK(chosen("docker") == "172.17.0.1");
  CHECK(chosen("lo") == "127.0.0.1");
  CHECK(chosen("^eth") == "10.1.0.1");
  CHECK(chosen("^eth1,ib0") == "fe80::3%2");
  CHECK(chosen("^=eth1") == "10.1.0.1");
  CHECK(chosen("^eth,ib,wlan") == "172.17.0.1");
  CHECK(chosen("^eth,ib,wlan,docker") == "127.0.0.1");
}

TEST_CASE("a rule that nothing fits lists the interfaces there are") {
  const std::string list =
      "lo (up, 127.0.0.1), docker0 (up, 172.17.0.1), eth0 (down, 10.0.0.1), eth1 (up, 10.0.1.1), ib0 (up, "
      "10.1.0.1), "
      "eth10 (up, fd00::1), wlan0 (up, fe80::3%2), tun0 (up, no address)";
  for (const std::string rule : {"=eth", "=eth0", "bond", "tun0", "^lo,docker,eth,ib,wlan"}) {
    CHECK(error_of([&] { chosen(rule); }) ==
          "TUTTI_IFNAME is '" + rule +
              "', but no interface that is up and has an address fits; there are: " + list);
  }
}

TEST_CASE("a machine with nothing but loopback uses it, by IPv4 where there is that") {
  CHECK(choose_address({{"lo", true, true, {ip("::1"), ip("127.0.0.1")}}}, "").text() == "127.0.0.1");
  CHECK(choose_address({{"lo", true, true, {ip("::1")}}}, "").text() == "::1");
  CHECK(choose_address(
            {{"eth0", true, false, {ip("fe80::1"), ip("fd00::7")}}, {"lo", true, true, {ip("::1")}}}, "")
            .text() == "fd00::7");
  CHECK(error_of(
            [] {
              choose_address({{"lo", false, true, {}}}, "");
            },
            Result::system_error) ==
        "no network interface is up, not even loopback; there are: lo (down, no address)");
}

TEST_CASE("addresses as text") {
  CHECK(ip("10.0.0.1").text_with(40123) == "10.0.0.1:40123");
  CHECK(ip("fd00::1").text_with(1) == "[fd00::1]:1");
  CHECK(ip("fe80::1").text_with(1) == "[fe80::1%2]:1");
  CHECK(ip("127.1.2.3").is_loopback());
  CHECK(ip("::1").is_loopback());
  CHECK_FALSE(ip("128.0.0.1").is_loopback());
}

TEST_CASE("port ranges") {
  CHECK(parse_port_range("").first == 0);
  CHECK(parse_port_range("5000").first == 5000);
  CHECK(parse_port_range("5000").last == 5000);
  CHECK(parse_port_range("5000-5001").last == 5001);
  for (const std::string text :
       {"0", "-", "5-", "-5", "6-5", "65536", "1-65536", "1-2-3", "a", "5 6", "+5"}) {
    CHECK(error_of([&] { parse_port_range(text); }) ==
          "TUTTI_PORT_RANGE is '" + text +
              "', expected a port from 1 to 65535 or a range such as 50000-50100");
  }
}

TEST_CASE("listening takes the first free port of the range, and says when none is") {
  const IpAddress loopback = ip("127.0.0.1");
  const Listener any = listen_at(loopback, {});
  REQUIRE(any.port != 0);
  const PortRange only{any.port, any.port};
  CHECK(error_of([&] { listen_at(loopback, only); }, Result::system_error) ==
        "listening at port " + std::to_string(any.port) +
            " of 127.0.0.1 (TUTTI_PORT_RANGE): Address already in use");
  const PortRange wide{any.port, static_cast<uint16_t>(std::min(65535, any.port + 200))};
  const Listener next = listen_at(loopback, wide);
  CHECK(next.port > any.port);
  CHECK(next.port <= wide.last);
}

TEST_CASE("unique ids say where rank 0 is, and differ") {
  const UniqueId id = UniqueId::create("=lo", "");
  id.check();
  CHECK(id.address_text() == "127.0.0.1:" + std::to_string(id.port_number()));
  const UniqueId other = UniqueId::create("=lo", "");
  CHECK(std::memcmp(id.secret, other.secret, sizeof(id.secret)) != 0);
  CHECK(std::memcmp(id.name, other.name, sizeof(id.name)) != 0);
  CHECK(id.port_number() != other.port_number());
  CHECK(id.has_secret(id.secret));
  CHECK_FALSE(id.has_secret(other.secret));
  CHECK_FALSE(id.has_secret(std::string_view("short")));
  CHECK(take_listener(id));
  CHECK_FALSE(take_listener(id));
}

TEST_CASE("bytes that are no unique id are refused") {
  UniqueId id = UniqueId::create("=lo");
  id.magic[7] ^= 1;
  CHECK(error_of([&] { id.check(); }) ==
        "the unique id was not made by tutti_unique_id_create (or was not copied whole: it has 128 bytes)");
  UniqueId zeros{};
  CHECK(error_of([&] { zeros.check(); }) != "no error");
}

TEST_CASE("derived ids depend on port and key alone") {
  const UniqueId a = UniqueId::derive("127.0.0.1", 5000, "job");
  a.check();
  CHECK(a.address_text() == "127.0.0.1:5000");
  const auto same = [&](const UniqueId& b) {
    return std::memcmp(a.secret, b.secret, sizeof(a.secret)) == 0 &&
           std::memcmp(a.name, b.name, sizeof(a.name)) == 0;
  };
  CHECK(same(UniqueId::derive("127.0.0.1", 5000, "job")));
  CHECK(same(UniqueId::derive("127.0.0.2", 5000, "job")));
  CHECK_FALSE(same(UniqueId::derive("127.0.0.1", 5001, "job")));
  CHECK_FALSE(same(UniqueId::derive("127.0.0.1", 5000, "jobs")));
  CHECK(std::memcmp(a.secret, a.name, sizeof(a.name)) != 0);
  CHECK(error_of([] { UniqueId::derive("127.0.0.1", 0, "job"); }) != "no error");
  CHECK(error_of([] { UniqueId::derive("no.such.host.invalid", 1, "job"); }, Result::system_error)
            .starts_with("the address of rank 0's host 'no.such.host.invalid' is not known: "));
}

TEST_CASE("ids that nobody joins keep a bounded number of sockets, the youngest ones") {
  const UniqueId oldest = UniqueId::create("=lo");
  const UniqueId second = UniqueId::create("=lo");
  for (size_t i = 0; i + 1 < kMostWaiting; ++i) UniqueId::create("=lo");
  CHECK_FALSE(take_listener(oldest));
  CHECK(take_listener(second));
}

TEST_CASE("digests are compared line by line") {
  CHECK(digest_difference("a=1\nb=2\n", 0, "a=1\nb=2\n", 3).empty());
  CHECK(digest_difference("a=1\nb=2\n", 0, "a=1\nb=3\n", 3) ==
        "b is '2' on rank 0 but '3' on rank 3; it must be equal on all ranks");
  CHECK(digest_difference("a=1\n", 0, "a=1\nb=3\n", 3).find("b is ") == 0);
  CHECK(digest_difference("a=1\nb=3\n", 0, "a=1\n", 3).find("b is ") == 0);
  CHECK(digest_hash("a=1\n") != digest_hash("a=2\n"));
}

TEST_CASE("the graph: few connections, both ends agree, and no single rank holds it together") {
  for (int size = 1; size <= 70; ++size) {
    std::vector<std::set<int>> edges(static_cast<size_t>(size));
    for (int r = 0; r < size; ++r) {
      const std::vector<int> neighbours = neighbours_of(r, size);
      edges[static_cast<size_t>(r)] = {neighbours.begin(), neighbours.end()};
      CHECK(edges[static_cast<size_t>(r)].size() == neighbours.size());
      CHECK(neighbours.size() <= 9);
    }
    for (int a = 0; a < size; ++a) {
      for (const int b : edges[static_cast<size_t>(a)]) CHECK(edges[static_cast<size_t>(b)].count(a) == 1);
    }
    for (int dead = -1; dead < size; ++dead) {
      const int start = dead == 0 ? 1 : 0;
      if (start >= size) continue;
      std::set<int> seen = {start};
      std::queue<int> next({start});
      for (; !next.empty(); next.pop()) {
        for (const int b : edges[static_cast<size_t>(next.front())]) {
          if (b != dead && seen.insert(b).second) next.push(b);
        }
      }
      CHECK(seen.size() == static_cast<size_t>(size - (dead >= 0 ? 1 : 0)));
    }
  }
}
