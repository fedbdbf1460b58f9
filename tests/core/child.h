// Runs a hidden test case of this executable in a process of its own, with an environment of its own: for what
// is decided once per process.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tests/catch.h"

struct ChildResult {
  int status;          // exit status; -1 where a signal ended the child
  std::string output;  // what it wrote to standard error
};

/// `environment` replaces every variable: "NAME=value" each.
inline ChildResult run_test_case(const std::string& name, std::vector<std::string> environment) {
  std::vector<std::string> arguments = {"child", name, "-o", "/dev/null"};
  std::vector<char*> argv;
  std::vector<char*> envp;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  for (std::string& variable : environment) envp.push_back(variable.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    execve("/proc/self/exe", argv.data(), envp.data());
    _exit(127);
  }
  close(ends[1]);
  ChildResult result{-1, ""};
  char buffer[4096];
  for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;) {
    result.output.append(buffer, static_cast<size_t>(n));
  }
  close(ends[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  if (WIFEXITED(status)) result.status = WEXITSTATUS(status);
  return result;
}
