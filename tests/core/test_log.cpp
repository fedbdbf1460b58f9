// The log: format, levels, files, one write per message, and that it neither throws nor disturbs.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/log.h"
#include "core/thread_group.h"
#include "tests/catch.h"
#include "tests/core/child.h"

using namespace tutti;

namespace {

struct Counted {
  int* formatted;
};
struct Unformattable {};

/// A folder that is gone afterwards, with the log reset to its start.
class LogFolder {
 public:
  LogFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "tutti-log-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~LogFolder() {
    configure_log(Level::warn);
    set_log_rank(-1);
    std::filesystem::remove_all(path_);
  }
  LogFolder(const LogFolder&) = delete;
  LogFolder& operator=(const LogFolder&) = delete;

  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

/// Puts a socket that keeps message boundaries in the place of standard error: each write(2) is one message.
class CapturedStderr {
 public:
  CapturedStderr() : saved_(dup(STDERR_FILENO)) {
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
    dup2(ends[0], STDERR_FILENO);
    close(ends[0]);
    reader_ = ends[1];
  }
  ~CapturedStderr() {
    restore();
    close(reader_);
    close(saved_);
  }
  CapturedStderr(const CapturedStderr&) = delete;
  CapturedStderr& operator=(const CapturedStderr&) = delete;

  std::vector<std::string> writes() {
    restore();
    std::vector<std::string> all;
    char buffer[8192];
    for (ssize_t n = 0; (n = recv(reader_, buffer, sizeof buffer, 0)) > 0;) {
      all.emplace_back(buffer, static_cast<size_t>(n));
    }
    return all;
  }

 private:
  void restore() { dup2(saved_, STDERR_FILENO); }

  int saved_;
  int reader_ = -1;
};

}  // namespace

template <>
struct fmt::formatter<Counted> : fmt::formatter<int> {
  template <typename Context>
  auto format(const Counted& counted, Context& context) const {
    return fmt::formatter<int>::format(++*counted.formatted, context);
  }
};

template <>
struct fmt::formatter<Unformattable> : fmt::formatter<int> {
  template <typename Context>
  auto format(const Unformattable&, Context& context) const -> decltype(context.out()) {
    throw std::runtime_error("cannot be formatted");
  }
};

TEST_CASE("a line names the rank and the level") {
  const LogFolder folder;
  configure_log(Level::debug, folder.file("log"));
  log(Level::warn, "no rank yet");
  set_log_rank(3);
  log(Level::error, "lost rank {}", 7);
  log(Level::warn, "{} of {}", 1, "two");
  log(Level::info, "plain");
  {
    const ScopedLogRank outer(5);
    const ScopedLogRank inner(0);
    log(Level::debug, "as a thread");
  }
  log(Level::info, "back again");
  CHECK(lines_of(folder.file("log")) == std::vector<std::string>{
                                            "tutti: warning: no rank yet",
                                            "tutti[rank 3] error: lost rank 7",
                                            "tutti[rank 3] warning: 1 of two",
                                            "tutti[rank 3] info: plain",
                                            "tutti[rank 0] debug: as a thread",
                                            "tutti[rank 3] info: back again",
                                        });
}

TEST_CASE("a level lets through itself and what is graver") {
  const Level levels[] = {Level::off, Level::error, Level::warn, Level::info, Level::debug};
  for (const Level threshold : levels) {
    const LogFolder folder;
    configure_log(threshold, folder.file("log"));
    size_t expected = 0;
    for (const Level level : levels) {
      const bool on = level != Level::off && level <= threshold;
      CAPTURE(static_cast<int>(threshold), static_cast<int>(level));
      CHECK(log_enabled(level) == on);
      log(level, "message");
      expected += on ? 1 : 0;
    }
    CHECK(lines_of(folder.file("log")).size() == expected);
  }
}

TEST_CASE("a message that is off is not formatted") {
  const LogFolder folder;
  int formatted = 0;
  configure_log(Level::warn, folder.file("log"));
  log(Level::info, "{}", Counted{&formatted});
  CHECK(formatted == 0);
  log(Level::warn, "{}", Counted{&formatted});
  CHECK(formatted == 1);
}

TEST_CASE("every line of a message has the prefix, and a message is one write") {
  const LogFolder folder;
  configure_log(Level::warn);
  set_log_rank(2);
  CapturedStderr captured;
  log(Level::warn, "one");
  log(Level::warn, "two\nlines");
  log(Level::warn, "closed\n");
  log(Level::warn, "{}", "");
  CHECK(captured.writes() == std::vector<std::string>{
                                 "tutti[rank 2] warning: one\n",
                                 "tutti[rank 2] warning: two\ntutti[rank 2] warning: lines\n",
                                 "tutti[rank 2] warning: closed\n",
                                 "tutti[rank 2] warning: \n",
                             });
}

TEST_CASE("%r gives each rank a file of its own") {
  const LogFolder folder;
  configure_log(Level::warn, folder.file("log-%r-%r"));
  log(Level::warn, "from no rank");
  ThreadGroup group(3);
  group.run([](int index) {
    const ScopedLogRank rank(index);
    log(Level::warn, "from {}", index);
  });
  CHECK(lines_of(folder.file("log-none-none")) == std::vector<std::string>{"tutti: warning: from no rank"});
  for (int i = 0; i < 3; ++i) {
    const std::string number = std::to_string(i);
    CHECK(lines_of(folder.file("log-" + number + "-" + number)) ==
          std::vector<std::string>{"tutti[rank " + number + "] warning: from " + number});
  }
}

TEST_CASE("lines of many threads stay whole, and a file is appended to") {
  constexpr int kThreads = 8;
  constexpr int kLines = 500;
  const LogFolder folder;
  std::ofstream(folder.file("log")) << "earlier\n";
  configure_log(Level::warn, folder.file("log"));
  ThreadGroup group(kThreads);
  group.run([&](int index) {
    const ScopedLogRank rank(index);
    group.barrier();
    for (int i = 0; i < kLines; ++i)
      log(Level::warn, "line {} {}", i, std::string(static_cast<size_t>(i), 'x'));
  });
  const std::vector<std::string> lines = lines_of(folder.file("log"));
  REQUIRE(lines.size() == kThreads * kLines + 1);
  CHECK(lines[0] == "earlier");
  std::map<std::string, int> next;  // by prefix: the lines of one thread come in its order
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::string prefix = lines[i].substr(0, lines[i].find("line"));
    const int number = next[prefix]++;
    const std::string expected =
        prefix + "line " + std::to_string(number) + " " + std::string(static_cast<size_t>(number), 'x');
    REQUIRE(lines[i] == expected);
  }
  CHECK(next.size() == kThreads);
}

TEST_CASE("a file that cannot be opened is said once, and the message still arrives") {
  const LogFolder folder;
  configure_log(Level::warn, folder.file("missing/log"));
  CapturedStderr captured;
  log(Level::warn, "first");
  log(Level::warn, "second");
  const std::vector<std::string> writes = captured.writes();
  REQUIRE(writes.size() == 3);
  CHECK(writes[0].starts_with("tutti: error: cannot open the log file "));
  CHECK(writes[0].ends_with("missing/log: No such file or directory; using standard error\n"));
  CHECK(writes[1] == "tutti: warning: first\n");
  CHECK(writes[2] == "tutti: warning: second\n");
}

TEST_CASE("logging keeps errno and never throws") {
  const LogFolder folder;
  configure_log(Level::warn, folder.file("missing/log"));
  CapturedStderr captured;
  errno = EDOM;
  log(Level::warn, "fails to open its file");
  CHECK(errno == EDOM);
  log(Level::warn, "{}", Unformattable{});
  CHECK(captured.writes().back() == "tutti: error: a log message could not be formatted\n");
}

TEST_CASE("log one message of each level", "[.child-log]") {
  set_log_rank(1);
  log(Level::error, "e");
  log(Level::warn, "w");
  log(Level::info, "i");
  log(Level::debug, "d");
}

TEST_CASE("TUTTI_LOG and TUTTI_LOG_FILE are obeyed from the first message on") {
  const std::string child = "log one message of each level";
  const std::string e = "tutti[rank 1] error: e\n";
  const std::string w = "tutti[rank 1] warning: w\n";
  const std::string i = "tutti[rank 1] info: i\n";
  const std::string d = "tutti[rank 1] debug: d\n";
  CHECK(run_test_case(child, {}).output == e + w);
  CHECK(run_test_case(child, {"TUTTI_LOG=off"}).output == "");
  CHECK(run_test_case(child, {"TUTTI_LOG=error"}).output == e);
  CHECK(run_test_case(child, {"TUTTI_LOG=debug"}).output == e + w + i + d);
  CHECK(run_test_case(child, {"TUTTI_LOG=loud"}).output == e + w);  // malformed: as if unset
  CHECK(run_test_case(child, {"TUTTI_CREDITS=99"}).output == e + w);

  const LogFolder folder;
  CHECK(run_test_case(child, {"TUTTI_LOG=info", "TUTTI_LOG_FILE=" + folder.file("%r.log")}).output == "");
  CHECK(lines_of(folder.file("1.log")).size() == 3);
}
