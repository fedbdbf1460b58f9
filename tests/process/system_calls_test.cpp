// No operation makes a system call while its ranks run and arrive within the spin budget: strace looks at two ranks, each on a
// core of its own.
#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tests/catch.h"

namespace {

/// Why this cannot be looked at here; "" when it can.
std::string what_is_missing() {
  cpu_set_t usable;
  if (sched_getaffinity(0, sizeof(usable), &usable) != 0 || CPU_COUNT(&usable) < 2)
    return "fewer than 2 cores";
  if (std::system("strace -V >/dev/null 2>&1") != 0) return "strace is not installed";
  if (std::system("strace -o /dev/null true >/dev/null 2>&1") != 0)
    return "strace cannot attach to a process";
  return "";
}

/// By process: the names of the system calls between the two calls of getppid that have no other between them. Lines of
/// strace -f look like "1234  getppid() = 5".
std::map<std::string, std::vector<std::string>> calls_between_marks(const std::string& path) {
  std::map<std::string, std::vector<std::string>> between;
  std::map<std::string, int> marks;
  std::ifstream lines(path);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string process;
    std::string call;
    words >> process >> call;
    if (call.rfind("getppid(", 0) == 0) {
      // The first of all is made by every forked rank when it starts.
      if (++marks[process] == 2) between[process];
    } else if (marks[process] == 2 && call != "<...") {  // not the rest of one whose beginning was listed
      between[process].push_back(call);
    }
  }
  for (const auto& [process, count] : marks) {
    if (count != 3) between.erase(process);
  }
  return between;
}

}  // namespace

TEST_CASE("operations make no system call while ranks arrive in time") {
  const std::string missing = what_is_missing();
  if (!missing.empty()) {
    std::printf("SKIPPED: %s\n", missing.c_str());
    return;
  }
  const std::string trace =
      (std::filesystem::temp_directory_path() / ("tutti-system-calls-" + std::to_string(getpid()))).string();
  // A rank that the system keeps off its core for a second makes the other one yield: so there are some attempts.
  std::map<std::string, std::vector<std::string>> between;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const std::string command = "strace -f -o " + trace + " " + TUTTI_FAST_PATH_RANKS;
    REQUIRE(std::system(command.c_str()) == 0);
    between = calls_between_marks(trace);
    std::filesystem::remove(trace);
    REQUIRE(between.size() == 2);
    size_t calls = 0;
    for (const auto& [process, list] : between) calls += list.size();
    if (calls == 0) break;
  }
  for (const auto& [process, list] : between) CHECK(list == std::vector<std::string>{});
}
