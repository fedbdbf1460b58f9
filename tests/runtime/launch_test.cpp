// Starting without MPI: which variables are taken, in which order, and what is said about wrong ones. The cases marked [.pmix] run
// under mpirun, the others by themselves.
#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "runtime/bootstrap/launch.h"
#include "runtime/bootstrap/pmix.h"
#include "tests/catch.h"

namespace {

using namespace tutti;

constexpr uint64_t kLimit = 20'000'000'000;

Environment environment_of(const std::vector<std::string>& variables) {
  std::vector<const char*> list;
  for (const std::string& variable : variables) list.push_back(variable.c_str());
  list.push_back(nullptr);
  return Environment(list.data());
}

std::string hex(const UniqueId& id) {
  unsigned char bytes[sizeof(id)];
  std::memcpy(bytes, &id, sizeof(id));
  std::string text;
  for (const unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

bool equal(const UniqueId& a, const UniqueId& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

/// A process with these variables of others; PMIx is missing unless a test gives one.
struct Process {
  std::map<std::string, std::string> variables = {};
  std::vector<std::string> own = {};
  int number = 0;
  std::function<pmix::Shared(const std::string&, const std::function<std::string()>&)> pmix = {};

  Launch launch() const {
    LaunchSources sources;
    sources.variable = [this](const char* name) -> const char* {
      const auto at = variables.find(name);
      return at == variables.end() ? nullptr : at->second.c_str();
    };
    sources.pmix_missing = [this] { return pmix ? std::string() : "PMIX_RANK is not set"; };
    sources.pmix = [this](const std::string& key, uint64_t limit, const std::function<std::string()>& make) {
      CHECK(limit == kLimit);
      return pmix(key, make);
    };
    sources.number = number;
    return find_launch(environment_of(own), kLimit, sources);
  }

  std::string error(Result code = Result::invalid_argument) const {
    try {
      launch();
    } catch (const Error& e) {
      CHECK(e.code() == code);
      return e.what();
    }
    return "no error";
  }
};

Process torchrun(int rank, int size) {
  return {.variables = {{"RANK", std::to_string(rank)},
                        {"WORLD_SIZE", std::to_string(size)},
                        {"MASTER_ADDR", "127.0.0.1"},
                        {"MASTER_PORT", "29500"},
                        {"TORCHELASTIC_RUN_ID", "job-17"}}};
}

Process changed(Process process, const std::string& name, const std::string& value) {
  process.variables[name] = value;
  return process;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("TUTTI_RANK, TUTTI_SIZE and TUTTI_UNIQUE_ID start a rank") {
  const UniqueId id = UniqueId::derive("127.0.0.1", 4000, "key");
  const Process process = {.own = {"TUTTI_RANK=2", "TUTTI_SIZE=3", "TUTTI_UNIQUE_ID=" + hex(id)}};
  const Launch launch = process.launch();
  CHECK(launch.rank == 2);
  CHECK(launch.size == 3);
  CHECK(equal(launch.id, id));
  CHECK(launch.source == "TUTTI_RANK");
}

TEST_CASE("part of Tutti's own variables is an error that names the others") {
  CHECK(contains(Process{.own = {"TUTTI_RANK=0"}}.error(), "not set: TUTTI_SIZE and TUTTI_UNIQUE_ID"));
  CHECK(contains(Process{.own = {"TUTTI_UNIQUE_ID=00"}}.error(), "not set: TUTTI_RANK and TUTTI_SIZE"));
  CHECK(contains(Process{.own = {"TUTTI_RANK=0", "TUTTI_SIZE=2"}}.error(), "not set: TUTTI_UNIQUE_ID"));
  // Even where others would do.
  Process both = torchrun(0, 2);
  both.own = {"TUTTI_SIZE=2"};
  CHECK(contains(both.error(), "not set: TUTTI_RANK and TUTTI_UNIQUE_ID"));
}

TEST_CASE("a rank beyond the size and a malformed id are refused, and the id is not shown") {
  const std::string good = hex(UniqueId::derive("127.0.0.1", 4000, "key"));
  CHECK(contains(Process{.own = {"TUTTI_RANK=3", "TUTTI_SIZE=3", "TUTTI_UNIQUE_ID=" + good}}.error(),
                 "TUTTI_RANK=3: expected an integer from 0 to 2, as TUTTI_SIZE=3"));
  const auto refused = [](const std::string& id) {
    const std::string text =
        Process{.own = {"TUTTI_RANK=0", "TUTTI_SIZE=2", "TUTTI_UNIQUE_ID=" + id}}.error();
    CHECK_FALSE(contains(text, id));
    return text;
  };
  CHECK(contains(refused(good.substr(2)), "expected 256 hexadecimal digits, got 254"));
  CHECK(contains(refused(std::string(256, '7')), "unique id"));
  CHECK_THROWS_AS(unique_id_from_hex(good.substr(1) + "g"), Error);
  CHECK(equal(unique_id_from_hex(good), UniqueId::derive("127.0.0.1", 4000, "key")));
}

TEST_CASE("a unique id makes one communicator") {
  const std::string good = hex(UniqueId::derive("127.0.0.1", 4000, "key"));
  const Process second = {.own = {"TUTTI_RANK=0", "TUTTI_SIZE=2", "TUTTI_UNIQUE_ID=" + good}, .number = 1};
  CHECK(contains(second.error(Result::invalid_usage), "number 2 of this process"));
}

TEST_CASE("torchrun's variables start a rank") {
  const Launch launch = torchrun(1, 4).launch();
  CHECK(launch.rank == 1);
  CHECK(launch.size == 4);
  CHECK(launch.source == "torchrun");
  CHECK(launch.id.address_text() == "127.0.0.1:29501");
  CHECK_NOTHROW(launch.id.check());
}

TEST_CASE("all ranks of torchrun compute the same id, other jobs and communicators another one") {
  const UniqueId id = torchrun(0, 4).launch().id;
  CHECK(equal(id, torchrun(3, 4).launch().id));
  CHECK_FALSE(equal(id, torchrun(0, 5).launch().id));
  CHECK_FALSE(equal(id, changed(torchrun(0, 4), "TORCHELASTIC_RUN_ID", "job-18").launch().id));
  CHECK_FALSE(equal(id, changed(torchrun(0, 4), "TORCHELASTIC_RESTART_COUNT", "1").launch().id));
  Process second = torchrun(0, 4);
  second.number = 1;
  CHECK(second.launch().id.address_text() == "127.0.0.1:29502");
  CHECK(std::memcmp(second.launch().id.secret, id.secret, sizeof(id.secret)) != 0);
}

TEST_CASE("wrong values of torchrun's variables are named") {
  const Process good = torchrun(1, 4);
  CHECK(contains(changed(good, "RANK", "abc").error(), "RANK=abc: expected a whole number from 0 to 3"));
  CHECK(contains(changed(good, "RANK", "4").error(), "RANK=4: expected a whole number from 0 to 3"));
  CHECK(contains(changed(good, "RANK", "-1").error(), "RANK=-1: "));
  CHECK(contains(changed(good, "WORLD_SIZE", "0").error(),
                 "WORLD_SIZE=0: expected a whole number from 1 to 65536"));
  CHECK(contains(changed(good, "WORLD_SIZE", "1e3").error(), "WORLD_SIZE=1e3: "));
  CHECK(contains(changed(good, "MASTER_PORT", "0").error(), "MASTER_PORT=0: "));
  CHECK(contains(changed(good, "MASTER_PORT", "65536").error(), "MASTER_PORT=65536: "));
  CHECK(contains(changed(good, "MASTER_PORT", "65535").error(), "would listen at port 65536"));
  CHECK(contains(changed(good, "RANK", "\x1b[2J").error(), "RANK="));
  CHECK_FALSE(contains(changed(good, "RANK", "\x1b[2J").error(), "\x1b"));
}

TEST_CASE("without any way to start all of them are listed") {
  const std::string nothing = Process{}.error(Result::invalid_usage);
  for (const char* name :
       {"TUTTI_RANK", "TUTTI_SIZE", "TUTTI_UNIQUE_ID", "RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT",
        "PMIX_RANK is not set", "mpirun"}) {
    CHECK(contains(nothing, name));
  }
  // Part of torchrun's variables may be anybody's: it is no error by itself, but what is missing is said.
  Process part = torchrun(0, 2);
  part.variables.erase("MASTER_ADDR");
  part.variables["MASTER_PORT"] = "";
  CHECK(contains(part.error(Result::invalid_usage), "not set: MASTER_ADDR and MASTER_PORT)"));
}

TEST_CASE("PMIx passes the id that rank 0 creates, each communicator under a key of its own") {
  std::string given;
  Process first;
  first.own = {"TUTTI_IFNAME=lo"};
  first.pmix = [&](const std::string& key, const std::function<std::string()>& make) {
    CHECK(key == "tutti.id.0");
    given = make();
    return pmix::Shared{.rank = 0, .size = 2, .value = given};
  };
  const Launch root = first.launch();
  CHECK(root.rank == 0);
  CHECK(root.size == 2);
  CHECK(root.source == "PMIx");
  CHECK(root.id.address_text().rfind("127.0.0.1:", 0) == 0);

  Process second;
  second.number = 3;
  second.pmix = [&](const std::string& key, const std::function<std::string()>&) {
    CHECK(key == "tutti.id.3");
    return pmix::Shared{.rank = 1, .size = 2, .value = given};
  };
  CHECK(equal(second.launch().id, root.id));
  CHECK(second.launch().rank == 1);
  given.resize(100);
  CHECK(contains(second.error(Result::internal_error),
                 "rank 1: PMIx gave a unique id of 100 bytes, expected 128"));
  given.assign(128, 'x');
  CHECK_FALSE(second.error() == "no error");
}

TEST_CASE("torchrun's variables come before PMIx") {
  Process both = torchrun(1, 4);
  both.pmix = [](const std::string&, const std::function<std::string()>&) {
    FAIL("PMIx was asked");
    return pmix::Shared{};
  };
  CHECK(both.launch().source == "torchrun");
}

TEST_CASE("PMIx is asked only where a process manager has left its variables") {
  const auto nothing = [](const char*) -> const char* { return nullptr; };
  CHECK_FALSE(pmix::why_not(nothing).empty());
#ifdef TUTTI_HAVE_PMIX
  CHECK(pmix::why_not(nothing) == "PMIX_NAMESPACE is not set");
  CHECK(pmix::why_not([](const char*) -> const char* { return "1"; }).empty());
#endif
}

#ifdef TUTTI_HAVE_PMIX

TEST_CASE("a value reaches all ranks of a job, again and again", "[.pmix]") {
  std::vector<char> bytes(128);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(7 * i);
  for (int round = 0; round < 5; ++round) {
    bytes[0] = static_cast<char>(round);
    const std::string value(bytes.begin(), bytes.end());
    int made = 0;
    const pmix::Shared shared = pmix::share(fmt::format("test.{}", round), kLimit, [&] {
      ++made;
      return value;
    });
    CHECK(shared.size == 3);
    CHECK(shared.value == value);
    CHECK(made == (shared.rank == 0 ? 1 : 0));
  }
}

TEST_CASE("where rank 0 has no value all ranks learn why", "[.pmix]") {
  const auto share = [] {
    pmix::share("test.none", kLimit,
                []() -> std::string { raise(Result::unsupported, "no network at all"); });
  };
  std::string text;
  try {
    share();
  } catch (const Error& e) {
    text = e.what();
  }
  CHECK(contains(text, "no network at all"));
}

TEST_CASE("a real job is found, with one id for all", "[.pmix]") {
  const Environment environment = environment_of({"TUTTI_IFNAME=lo"});
  const Launch first = find_launch(environment, kLimit);
  const Launch second = find_launch(environment, kLimit);
  CHECK(first.source == "PMIx");
  CHECK(first.size == 3);
  CHECK(first.rank == second.rank);
  CHECK_FALSE(equal(first.id, second.id));
  // Rank 0 shows what it has; the others must have the same.
  const auto bytes = [](const UniqueId& id) { return hex(id); };
  CHECK(pmix::share("test.same", kLimit, [&] { return bytes(first.id) + bytes(second.id); }).value ==
        bytes(first.id) + bytes(second.id));
}

#endif
