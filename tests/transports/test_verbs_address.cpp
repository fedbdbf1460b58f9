// What the verbs transport believes of others and of its devices, and which rails it takes; needs no device.
#include <fmt/format.h>

#include <cstring>
#include <random>

#include "core/error.h"
#include "tests/catch.h"
#include "transports/verbs/address.h"
#include "transports/verbs/devices.h"
#include "transports/verbs/rail_events.h"
#include "transports/verbs/rail_rate.h"
#include "transports/verbs/reach.h"
#include "transports/verbs/verbs.h"

using namespace tutti;
using namespace tutti::verbs;

namespace {

RankAddress example(uint32_t rank, const std::vector<RailSort>& sorts) {
  RankAddress address = {
      .rank = rank, .key = 77, .slots = 0x1000, .slots_bytes = 4096, .mailboxes = 0x8000, .rails = {}};
  for (const RailSort sort : sorts) {
    RailAddress rail;
    rail.gid.fill(static_cast<uint8_t>(rank + 1));
    rail.greeter = 12 + rank;
    rail.slots_rkey = 5;
    rail.mail_rkey = 6;
    rail.mtu = 1024;
    rail.lid = 3;
    rail.sort = sort;
    address.rails.push_back(rail);
  }
  return address;
}

template <typename Call>
std::string why(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

RailInfo rail(const std::string& device, int port, int ports, const std::string& problem = "") {
  RailInfo info;
  info.device = device;
  info.port = port;
  info.name = ports == 1 ? device : device + ":" + std::to_string(port);
  info.problem = problem;
  return info;
}

std::string names(const std::vector<RailInfo>& rails) {
  std::string text;
  for (const RailInfo& each : rails) text += (text.empty() ? "" : " ") + each.name;
  return text;
}

}  // namespace

TEST_CASE("an address comes back as it was, and changed in any bit it is refused") {
  const RankAddress address = example(3, {RailSort::roce2_ipv4, RailSort::infiniband});
  const std::string text = pack(address);
  CHECK(unpack(text) == address);
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string changed = text;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << (bit % 8)));
    CAPTURE(bit);
    CHECK_THROWS_AS(unpack(changed), Error);
  }
  for (size_t bytes = 0; bytes < text.size(); ++bytes) CHECK_THROWS_AS(unpack(text.substr(0, bytes)), Error);
  CHECK_THROWS_AS(unpack(text + "x"), Error);
}

TEST_CASE("an address whose numbers cannot be is refused although its checksum is right") {
  const auto with = [](auto change) {
    RankAddress address = example(0, {RailSort::roce2_ipv4});
    change(address);
    return why([&] { unpack(pack(address)); });
  };
  CHECK(with([](RankAddress&) {}).empty());
  CHECK(contains(with([](RankAddress& a) { a.rails[0].mtu = 8192; }), "MTU 8192"));
  CHECK(contains(with([](RankAddress& a) { a.rails[0].sort = static_cast<RailSort>(9); }), "sort 9"));
  CHECK(contains(with([](RankAddress& a) { a.rails[0].greeter = 1U << 24; }), "queue pair 16777216"));
  CHECK(contains(with([](RankAddress& a) { a.rails[0].port = 0; }), "port 0"));
  CHECK(contains(with([](RankAddress& a) { a.rails.clear(); }), "0 rails"));
  CHECK(contains(with([](RankAddress& a) { a.rails.resize(9, a.rails[0]); }), "9 rails"));
}

TEST_CASE("greetings of strangers, and what is none, are not heard") {
  const Greeting good = {.source = 2, .key = 42, .flags = Greeting::kAsk, .rails = 1};
  const auto heard = [](const Greeting& greeting, size_t bytes = sizeof(Greeting)) {
    std::vector<std::byte> raw(sizeof(Greeting) + 8);
    std::memcpy(raw.data(), &greeting, sizeof(Greeting));
    return parse_greeting(std::span(raw).first(bytes), 42, 4).has_value();
  };
  CHECK(heard(good));
  CHECK(!heard(good, 0));
  CHECK(!heard(good, sizeof(Greeting) - 1));
  CHECK(!heard(good, sizeof(Greeting) + 1));
  const auto with = [&](auto change) {
    Greeting changed = good;
    change(changed);
    return heard(changed);
  };
  CHECK(!with([](Greeting& g) { g.magic = 1; }));
  CHECK(!with([](Greeting& g) { g.key = 43; }));
  CHECK(!with([](Greeting& g) { g.source = 4; }));
  CHECK(!with([](Greeting& g) { g.rails = 0; }));
  CHECK(!with([](Greeting& g) { g.rails = 9; }));

  std::mt19937 random(1);
  for (int i = 0; i < 100'000; ++i) {
    Greeting any;
    std::vector<std::byte> raw(sizeof(Greeting));
    for (std::byte& byte : raw) byte = static_cast<std::byte>(random());
    std::memcpy(&any, raw.data(), sizeof(any));
    any.magic = Greeting::kMagic;
    any.key = 42;
    std::memcpy(raw.data(), &any, sizeof(any));
    const std::optional<Greeting> greeting = parse_greeting(raw, 42, 4);
    if (greeting) REQUIRE((greeting->source < 4 && greeting->rails >= 1 && greeting->rails <= kMostRails));
  }
}

TEST_CASE("the user says which rails, by name, by port, or which not") {
  const std::vector<RailInfo> all = {rail("a0", 1, 1), rail("b0", 1, 2), rail("b0", 2, 2, "the port is down"),
                                     rail("c0", 1, 1)};
  CHECK(names(choose_rails(all, "")) == "a0 b0:1 c0");
  CHECK(names(choose_rails(all, "c0,a0")) == "c0 a0");
  CHECK(names(choose_rails(all, "a0:1")) == "a0");
  CHECK(names(choose_rails(all, "^a0")) == "b0:1 c0");
  CHECK(names(choose_rails(all, "^a0,c0")) == "b0:1");
  CHECK(why([&] { choose_rails(all, "b0:2"); }) == "TUTTI_IB_HCA: b0:2 cannot be used: the port is down");
  CHECK(why([&] { choose_rails(all, "d0"); }) ==
        "TUTTI_IB_HCA: there is no 'd0'; there is a0, b0:1, b0:2, c0");
  CHECK(why([&] { choose_rails({}, "d0"); }) == "TUTTI_IB_HCA: there is no 'd0'; there are no RDMA devices");
  CHECK(contains(why([&] { choose_rails(all, ","); }), "names no device"));
  CHECK(why([&] { choose_rails(all, "a0,c0,a0:1"); }) == "TUTTI_IB_HCA: a0 is there twice");
  std::vector<RailInfo> nine;
  std::string nine_names;
  for (int i = 0; i < 9; ++i) {
    nine.push_back(rail(fmt::format("a{}", i), 1, 1));
    nine_names += fmt::format("{},", nine.back().name);
  }
  CHECK(why([&] { choose_rails(nine, nine_names); }) == "TUTTI_IB_HCA: 9 rails; expected at most 8");
  CHECK(choose_rails(nine, "").size() == 9);
  CHECK(why([&] { choose_rails({}, ""); }) ==
        "there is no RDMA device that can be used: this machine has none");
  CHECK(why([&] { choose_rails(all, "^a0,b0:1,c0"); }) ==
        "there is no RDMA device that can be used; b0:2: the port is down");
}

TEST_CASE("rails on different InfiniBand networks do not reach each other") {
  RankAddress one = example(0, {RailSort::infiniband});
  RankAddress other = example(1, {RailSort::infiniband});
  other.rails[0].gid = one.rails[0].gid;
  other.rails[0].gid[15] = 9;
  CHECK(why_not(one, other).empty());
  one.rails[0].gid[7] = 9;
  CHECK(why_not(one, other) ==
        "rail 0 of rank 0 is InfiniBand of subnet 101:101:101:109::, that of rank 1 InfiniBand of subnet "
        "101:101:101:101::: TUTTI_IB_GID_INDEX and TUTTI_IB_HCA say which to use");
}

TEST_CASE("two ranks reach each other where their rails are of the same sorts, and all see that alike") {
  using enum RailSort;
  const std::vector<std::string> addresses = {pack(example(0, {roce2_ipv4, roce2_ipv4})),
                                              pack(example(1, {roce2_ipv4})), pack(example(2, {roce2_ipv6})),
                                              ""};
  const Reach reach(addresses);
  CHECK(reach.why_not(0, 1).empty());
  CHECK(reach.why_not(0, 2) ==
        "rail 0 of rank 0 is RoCE v2 over IPv4, that of rank 2 RoCE v2 over IPv6: TUTTI_IB_GID_INDEX and "
        "TUTTI_IB_HCA say which to use");
  CHECK(reach.why_not(0, 3) == "rank 3 has no RDMA device that can be used");
  for (int a = 0; a < 4; ++a) {
    for (int b = 0; b < 4; ++b) {
      CHECK(reach.reaches(a, b) == reach.reaches(b, a));
      CHECK(reach.reaches(a, b) == reach.why_not(a, b).empty());
    }
  }
  CHECK_THROWS_AS(Reach({"nonsense"}), Error);
}

TEST_CASE("a device that is not there is refused by name") {
  const auto made = [](const std::string& rails, int rank = 0) {
    std::vector<std::byte> slots(64);
    return why([&] {
      make_verbs_transport(
          {.rank = rank, .ranks = 2, .slots = slots.data(), .slots_bytes = 64, .rails = rails});
    });
  };
  CHECK(made("nosuch0").starts_with("TUTTI_IB_HCA: there is no 'nosuch0'"));
  CHECK(made("^nosuch0").starts_with("TUTTI_IB_HCA: there is no 'nosuch0'"));
  CHECK(made("", 2) == "verbs transport: rank 2 of 2");
}

namespace {

ibv_async_event said(ibv_event_type type, int port) {
  ibv_async_event event = {};
  event.event_type = type;
  event.element.port_num = port;
  return event;
}

}  // namespace

TEST_CASE("an event matters to the rail of its port, and one of the device to all") {
  CHECK(kind_of(said(IBV_EVENT_PORT_ERR, 2), 2) == DeviceEvent::port_down);
  CHECK(kind_of(said(IBV_EVENT_PORT_ERR, 1), 2) == DeviceEvent::other);
  CHECK(kind_of(said(IBV_EVENT_PORT_ACTIVE, 2), 2) == DeviceEvent::port_up);
  CHECK(kind_of(said(IBV_EVENT_PORT_ACTIVE, 3), 2) == DeviceEvent::other);
  CHECK(kind_of(said(IBV_EVENT_GID_CHANGE, 2), 2) == DeviceEvent::address_change);
  CHECK(kind_of(said(IBV_EVENT_LID_CHANGE, 2), 2) == DeviceEvent::address_change);
  CHECK(kind_of(said(IBV_EVENT_GID_CHANGE, 1), 2) == DeviceEvent::other);
  CHECK(kind_of(said(IBV_EVENT_DEVICE_FATAL, 0), 2) == DeviceEvent::device_failure);
  CHECK(kind_of(said(IBV_EVENT_SM_CHANGE, 2), 2) == DeviceEvent::other);
  CHECK(name_of(IBV_EVENT_PORT_ERR) == "IBV_EVENT_PORT_ERR");
  CHECK(contains(name_of(IBV_EVENT_SM_CHANGE), ibv_event_type_str(IBV_EVENT_SM_CHANGE)));
}

TEST_CASE("a rail is down until its port is up, and for good when its device has failed") {
  RailCondition condition;
  RailStatistics told;
  CHECK(condition.is_up());
  condition.note(DeviceEvent::address_change);
  condition.note(DeviceEvent::other);
  CHECK(condition.is_up());
  condition.note(DeviceEvent::port_down);
  CHECK(!condition.is_up());
  condition.tell(told);
  CHECK(!told.is_up);
  condition.note(DeviceEvent::port_down);
  condition.note(DeviceEvent::port_up);
  CHECK(condition.is_up());
  condition.note(DeviceEvent::device_failure);
  condition.note(DeviceEvent::port_up);
  CHECK(!condition.is_up());
  condition.tell(told);
  CHECK(told.port_downs == 2);
  CHECK(told.port_ups == 2);
  CHECK(told.address_changes == 1);
  CHECK(told.device_failures == 1);
}

TEST_CASE("what an event means says whether peers still find the rail") {
  CHECK(meaning_of(DeviceEvent::address_change, "10.1.0.1", true) ==
        "10.1.0.1, by which peers reach it, is gone");
  CHECK(meaning_of(DeviceEvent::address_change, "10.1.0.1", false) ==
        "10.1.0.1, by which peers reach it, is as before");
}

TEST_CASE("a rail's rate follows what is measured, and is tried anew when that is old") {
  constexpr uint64_t kStart = 5'000'000'000;
  RailRate rate;
  CHECK(rate.ns_per_byte(kStart, true) == 0);
  CHECK(rate.ns_per_byte(kStart, false) == 0);
  rate.measure(1000, 8000, kStart);
  CHECK(rate.ns_per_byte(kStart, true) == 8);
  rate.measure(1000, 16000, kStart + 1);
  CHECK(rate.ns_per_byte(kStart + 1, true) == 9);
  const uint64_t old = kStart + 2 + RailRate::kOldNs;
  CHECK(rate.ns_per_byte(old - 1, true) == 9);
  CHECK(rate.ns_per_byte(old, true) == 0);
  // One try at a time: while it lasts, what was known counts.
  CHECK(rate.ns_per_byte(old, false) == 9);
  rate.measure(1000, 2000, old);
  CHECK(rate.ns_per_byte(old, true) == 2);
}
